//! What a subscriber is to get, and which encoding that comes to.

use super::FrameInfo;

/// Most encodings of a track: what browsers send by simulcast.
pub const MAX_ENCODINGS: usize = 3;

/// A part of a track that can be decoded alone: everything of one encoding up to a spatial and a temporal layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layer {
    /// Which encoding, in the order in which the publisher announced them.
    pub encoding: u8,
    /// The highest spatial layer, from 0.
    pub spatial: u8,
    /// The highest temporal layer, from 0.
    pub temporal: u8,
}

impl Layer {
    /// Everything of an encoding: no codec numbers more layers than 8.
    pub const fn all_of(encoding: u8) -> Self {
        Self { encoding, spatial: 7, temporal: 7 }
    }

    /// Whether a frame of the encoding is part of it.
    pub(crate) fn includes(&self, frame: &FrameInfo) -> bool {
        frame.spatial <= self.spatial && frame.temporal <= self.temporal
    }
}

/// What a sender is to get of its track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The largest encoding, all of it.
    #[default]
    Largest,
    /// The smallest encoding that fills a picture of so many pixels without being enlarged by more than an eighth; the largest if none does.
    Covering {
        /// In pixels.
        width: u16,
        /// In pixels.
        height: u16,
    },
    /// Just this.
    Layer(Layer),
    /// Nothing, for now: the next picture is a keyframe of what it gets then.
    Nothing,
}

/// An encoding to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) encoding: u8,
    /// In pixels, both ways.
    pub(crate) size: (u16, u16),
}

impl Candidate {
    fn area(&self) -> (u32, u8) {
        (u32::from(self.size.0) * u32::from(self.size.1), self.encoding)
    }

    /// Whether it is large enough to be shown at that size.
    pub(crate) fn covers(&self, width: u16, height: u16) -> bool {
        // The picture is shown whole, so that it is large enough once it is one way.
        let enough = |has: u16, wants: u16| u32::from(has) * 9 >= u32::from(wants) * 8;
        enough(self.size.0, width) || enough(self.size.1, height)
    }
}

/// What `target` comes to with these encodings, and a bit for each of them that is no larger: what a receiver may begin with until the target comes.
pub(crate) fn resolve(target: Target, candidates: impl Iterator<Item = Candidate> + Clone) -> Option<(Layer, u8)> {
    let largest = || candidates.clone().max_by_key(Candidate::area);
    let layer = match target {
        Target::Nothing => return None,
        Target::Largest => Layer::all_of(largest()?.encoding),
        Target::Covering { width, height } => {
            let covering = candidates.clone().filter(|candidate| candidate.covers(width, height)).min_by_key(Candidate::area);
            Layer::all_of(covering.or_else(largest)?.encoding)
        }
        Target::Layer(layer) => layer,
    };
    let area = candidates.clone().find(|candidate| candidate.encoding == layer.encoding).map(|candidate| candidate.area());
    let smaller = candidates.filter(|candidate| area.is_none_or(|area| candidate.area() < area));
    let begin = smaller.fold(1 << layer.encoding, |mask, candidate| mask | 1 << candidate.encoding);
    Some((layer, begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_comes_to_the_encoding_that_fits_it() {
        let all = [(0, (320, 180)), (1, (640, 360)), (2, (1280, 720))];
        let reversed = [(0, (1280, 720)), (1, (640, 360)), (2, (320, 180))];
        let upright = [(0, (180, 320)), (1, (360, 640)), (2, (720, 1280))];
        let covering = |width, height| Target::Covering { width, height };
        let table = [
            ("the largest", Target::Largest, &all[..], Some((2, 0b111))),
            ("the largest of what comes", Target::Largest, &all[..2], Some((1, 0b011))),
            ("the largest, announced first", Target::Largest, &reversed, Some((0, 0b111))),
            ("a small tile", covering(200, 112), &all, Some((0, 0b001))),
            ("a tile just larger than one", covering(360, 202), &all, Some((0, 0b001))),
            ("a tile of half", covering(640, 360), &all, Some((1, 0b011))),
            ("a full screen", covering(3840, 2160), &all, Some((2, 0b111))),
            ("a wide tile for an upright picture", covering(720, 405), &upright, Some((1, 0b011))),
            ("a small tile, announced last", covering(200, 112), &reversed, Some((2, 0b100))),
            ("a layer", Target::Layer(Layer { encoding: 1, spatial: 0, temporal: 0 }), &all, Some((1, 0b011))),
            ("a layer that does not come", Target::Layer(Layer::all_of(2)), &all[..2], Some((2, 0b111))),
            ("nothing", Target::Nothing, &all, None),
            ("the largest of none", Target::Largest, &[], None),
        ];
        for (what, target, sizes, expected) in table {
            let candidates = sizes.iter().map(|&(encoding, size)| Candidate { encoding, size });
            assert_eq!(resolve(target, candidates).map(|(layer, begin)| (layer.encoding, begin)), expected, "{what}");
        }
    }
}
