//! Temporal layers: which frames a receiver can do without.

/// Temporal layers of one encoding at most: what browsers send.
pub(super) const MAX_LAYERS: u8 = 3;

/// A frame's place among the layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// The layer, 0 the lowest.
    pub(super) layer: u8,
    /// It refers to the lowest layer only, so that a receiver can go up here.
    pub(super) sync: bool,
    /// No other frame refers to it.
    pub(super) leaf: bool,
    /// Its part of an average frame's bytes.
    pub(super) part: f64,
}

const fn place(layer: u8, sync: bool, leaf: bool, part: f64) -> Place {
    Place { layer, sync, leaf, part }
}

/// The patterns of libwebrtc with one, two and three layers, and how it divides the bitrate: 60 and 40 %; 40, 20 and 40 %.
const PATTERNS: [&[Place]; MAX_LAYERS as usize] = [
    &[place(0, false, false, 1.0)],
    &[place(0, false, false, 1.2), place(1, true, true, 0.8)],
    &[place(0, false, false, 1.6), place(2, true, true, 0.8), place(1, true, false, 0.8), place(2, false, true, 0.8)],
];

/// Goes through a pattern, which begins anew with each keyframe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Temporal {
    pattern: &'static [Place],
    next: usize,
}

impl Temporal {
    /// With so many layers, 1 to [`MAX_LAYERS`].
    pub(super) fn new(layers: u8) -> Self {
        Self { pattern: PATTERNS[usize::from(layers.clamp(1, MAX_LAYERS)) - 1], next: 0 }
    }

    /// The next frame's place.
    pub(super) fn advance(&mut self, keyframe: bool) -> Place {
        let at = if keyframe { 0 } else { self.next };
        self.next = (at + 1) % self.pattern.len();
        self.pattern[at]
    }
}
