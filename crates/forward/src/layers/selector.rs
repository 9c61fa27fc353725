//! Which packets a subscriber gets: between encodings at keyframes only, between layers up at a frame that allows it and down at any picture.

#[cfg(test)]
mod tests;

use super::{Dependencies, FrameInfo, Layer, MAX_ENCODINGS};

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
    /// The frames sent, by the dependency descriptor's numbers: the newest, and a bit for each of those up to it, the lowest for itself.
    newest: u16,
    sent: u128,
    /// The highest spatial layer that its encoding has.
    top: u8,
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

    /// The encoding of which a keyframe is needed: to go over to it, or to a higher spatial layer of it, which publishers hardly ever let one do elsewhere.
    pub(crate) fn awaits(&self) -> Option<u8> {
        let target = self.target?;
        let has = |current: Layer| current.encoding == target.encoding && current.spatial >= target.spatial.min(self.top);
        (!self.current.is_some_and(has)).then_some(target.encoding)
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

    /// A frame is sent.
    fn note(&mut self, frame: &FrameInfo) {
        let Some(Dependencies { number, .. }) = frame.dependencies.filter(|_| frame.starts) else { return };
        let ahead = number.wrapping_sub(self.newest);
        let before = if self.sent == 0 { 0 } else { self.sent.checked_shl(u32::from(ahead)).unwrap_or(0) };
        (self.newest, self.sent) = (number, before | 1);
    }

    /// What becomes of a packet that is newer than every one of its encoding before.
    pub(crate) fn choose(&mut self, encoding: u8, frame: &FrameInfo) -> Choice {
        let Some(target) = self.target else {
            self.current = None;
            return Choice::Other;
        };
        match &mut self.current {
            Some(current) if current.encoding == encoding => {
                self.top = self.top.max(frame.spatial);
                if frame.starts && target.encoding == encoding && *current != target {
                    let decodable = frame.dependencies.is_some_and(|it| can_decode(self.newest, self.sent, &it));
                    settle(current, &target, frame, self.top, decodable);
                }
                if !current.includes(frame) {
                    return Choice::Skip;
                }
                self.note(frame);
                Choice::Forward
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
                (self.sent, self.top) = (0, frame.spatial);
                self.note(frame);
                Choice::Begin
            }
        }
    }
}

/// Whether all that a frame needs is among the frames sent.
fn can_decode(newest: u16, sent: u128, frame: &Dependencies) -> bool {
    let ahead = frame.number.wrapping_sub(newest);
    let Some(needs) = frame.needs else { return false };
    // Bit 0 of what was sent becomes that of the frame before.
    match u32::from(ahead.wrapping_sub(1)) {
        by @ 0..128 => needs & !(sent << by) == 0,
        _ => needs == 0,
    }
}

/// Moves towards the target where `frame` allows it; `top`: the highest spatial layer there is; `decodable`: all that its descriptor says it needs was sent.
fn settle(current: &mut Layer, target: &Layer, frame: &FrameInfo, top: u8, decodable: bool) {
    // A picture that has begun goes on as it was.
    if frame.spatial == 0 {
        current.spatial = current.spatial.min(target.spatial);
        current.temporal = current.temporal.min(target.temporal);
    }
    if frame.keyframe {
        (current.spatial, current.temporal) = (target.spatial, target.temporal);
        return;
    }
    if let Some(dependencies) = &frame.dependencies {
        if decodable {
            switch(current, target, top, dependencies.switches);
        }
        return;
    }
    let follows = |layer: u8, now: u8, wanted: u8| layer <= wanted && now.checked_add(1) == Some(layer);
    if frame.sync && follows(frame.temporal, current.temporal, target.temporal) {
        current.temporal = frame.temporal;
    }
    if frame.opens && frame.temporal <= current.temporal {
        current.temporal = target.temporal;
    }
    if frame.intra && follows(frame.spatial, current.spatial, target.spatial) {
        current.spatial = frame.spatial;
    }
}

/// The highest of the layers that `switches` allows, up to the target, if it is above what there is. Layers may be called higher than there are any.
fn switch(current: &mut Layer, target: &Layer, top: u8, switches: u32) {
    for spatial in (current.spatial.min(top)..=target.spatial.min(top).min(3)).rev() {
        for temporal in (current.temporal..=target.temporal.min(7)).rev() {
            if switches >> (spatial * 8 + temporal) & 1 == 1 {
                (current.spatial, current.temporal) = (current.spatial.max(spatial), temporal);
                return;
            }
        }
    }
}
