//! Which packets a subscriber gets: between encodings at keyframes only, between temporal layers up at a frame that allows it and down at any.

#[cfg(test)]
mod tests;

use super::{FrameInfo, Layer, MAX_ENCODINGS};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It is the next of what is being sent.
    Forward,
    /// What is sent begins anew with it, or goes on with another encoding.
    Begin,
    /// It is of the encoding being sent and left out on purpose.
    Skip,
    /// It is of another encoding.
    Other,
    /// Nothing can be sent before a keyframe comes.
    Awaits,
}

/// One subscription's layers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Selector {
    target: Option<Layer>,
    /// A bit for each encoding that may be sent until the target's comes.
    begin: u8,
    current: Option<Layer>,
}

impl Selector {
    /// What is to be sent, and with which encodings it may begin.
    pub(crate) fn set_target(&mut self, target: Option<(Layer, u8)>) {
        self.target = target.map(|(layer, _)| layer);
        self.begin = target.map_or(0, |(_, begin)| begin);
    }

    /// What is being sent.
    pub(crate) fn current(&self) -> Option<Layer> {
        self.current
    }

    /// What is to be sent.
    #[cfg(test)]
    pub(crate) fn target(&self) -> Option<Layer> {
        self.target
    }

    /// What comes next is another stream: it begins with a keyframe.
    pub(crate) fn reset(&mut self) {
        self.current = None;
    }

    /// The encoding of which a keyframe is needed.
    pub(crate) fn awaits(&self) -> Option<u8> {
        let target = self.target?.encoding;
        (self.current.is_none_or(|current| current.encoding != target)).then_some(target)
    }

    /// The encodings that have to be looked at, in this order.
    pub(crate) fn wants(&self) -> impl Iterator<Item = u8> + use<> {
        let first = self.current.or(self.target).map(|layer| layer.encoding);
        let second = self.target.map(|layer| layer.encoding).filter(|&encoding| Some(encoding) != first);
        let begin = if self.current.is_none() { self.begin } else { 0 };
        let others = (0..MAX_ENCODINGS as u8)
            .filter(move |&encoding| begin >> encoding & 1 == 1 && Some(encoding) != first && Some(encoding) != second);
        first.into_iter().chain(second).chain(others)
    }

    /// What becomes of a packet that is newer than every one of its encoding before.
    pub(crate) fn choose(&mut self, encoding: u8, frame: &FrameInfo) -> Choice {
        let Some(target) = self.target else {
            self.current = None;
            return Choice::Other;
        };
        match &mut self.current {
            Some(current) if current.encoding == encoding => {
                if frame.starts && target.encoding == encoding {
                    settle(current, &target, frame);
                }
                if current.includes(frame) { Choice::Forward } else { Choice::Skip }
            }
            current => {
                let wanted = encoding == target.encoding || current.is_none() && self.begin >> encoding & 1 == 1;
                if !wanted {
                    return Choice::Other;
                }
                if !frame.keyframe {
                    return if current.is_none() { Choice::Awaits } else { Choice::Other };
                }
                let layer = if encoding == target.encoding { target } else { Layer::all_of(encoding) };
                *current = Some(layer);
                Choice::Begin
            }
        }
    }
}

/// Moves towards the target where `frame` allows it.
fn settle(current: &mut Layer, target: &Layer, frame: &FrameInfo) {
    current.temporal = current.temporal.min(target.temporal);
    if frame.keyframe {
        current.temporal = target.temporal;
    } else if frame.sync && frame.temporal == current.temporal + 1 && frame.temporal <= target.temporal {
        current.temporal = frame.temporal;
    }
}
