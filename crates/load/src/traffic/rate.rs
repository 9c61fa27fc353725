//! How large the next frame is.

use switchyard_netem::Random;

/// An encoder's frame sizes: they vary with the picture, nearly lognormally around a target, and what was too much is paid back over the next frames.
#[derive(Clone, Debug)]
pub(super) struct RateControl {
    /// Bytes a frame in the long run.
    target: f64,
    /// The smallest frame.
    least: f64,
    /// Frames over which too much or too little is paid back.
    horizon: f64,
    /// The standard deviation of a frame's logarithm, beside that of the picture's activity.
    spread: f64,
    /// Bytes beyond the target so far.
    debt: f64,
    /// How much is going on in the picture: a slow process with mean 0 and deviation 1.
    activity: f64,
}

/// How much of the activity stays from frame to frame: it changes within some 50 frames.
const ACTIVITY_KEPT: f64 = 0.98;
/// The activity's part in a frame's logarithm.
const ACTIVITY_SPREAD: f64 = 0.15;
/// A keyframe is this many times the target, and up to [`KEYFRAME_VARIES`] more.
const KEYFRAME_LEAST: f64 = 5.0;
const KEYFRAME_VARIES: f64 = 3.0;
/// A delta frame is never less than this part of the target: what moves has to be said.
const DELTA_LEAST: f64 = 0.15;
/// Nor more than this multiple: rate control steps in while a frame is encoded.
const DELTA_MOST: f64 = 4.0;

impl RateControl {
    pub(super) fn new(target: f64, least: usize, horizon: f64, spread: f64) -> Self {
        Self { target, least: least as f64, horizon: horizon.max(1.0), spread, debt: 0.0, activity: 0.0 }
    }

    /// Bytes of the next frame that refers to earlier ones; `part` of an average one's are its share.
    pub(super) fn delta(&mut self, random: &mut Random, part: f64) -> usize {
        let target = self.target * part;
        // The variance stays at 1.
        self.activity = ACTIVITY_KEPT * self.activity + (1.0 - ACTIVITY_KEPT * ACTIVITY_KEPT).sqrt() * random.normal();
        let wanted = target * lognormal(ACTIVITY_SPREAD * self.activity + self.spread * random.normal());
        let paid_back = wanted - self.debt / self.horizon;
        self.spend(paid_back.clamp(DELTA_LEAST * target, DELTA_MOST * target), target)
    }

    /// Bytes of the next keyframe, in place of a frame of that share. While much is owed it is coarser.
    pub(super) fn keyframe(&mut self, random: &mut Random, part: f64) -> usize {
        let thrift = (1.0 - self.debt / (4.0 * self.horizon * self.target)).clamp(0.3, 1.0);
        self.spend(self.target * (KEYFRAME_LEAST + KEYFRAME_VARIES * random.fraction()) * thrift, self.target * part)
    }

    fn spend(&mut self, bytes: f64, share: f64) -> usize {
        let bytes = bytes.max(self.least).round();
        self.debt += bytes - share;
        bytes as usize
    }
}

/// Nearly e^x, and exactly the same on every platform; x is far from −8.
pub(super) fn lognormal(x: f64) -> f64 {
    let root = (1.0 + x / 8.0).max(0.0);
    let square = root * root;
    let fourth = square * square;
    fourth * fourth
}
