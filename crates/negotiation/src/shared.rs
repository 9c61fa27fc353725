//! What many sessions say alike, kept once: clients are of a few browsers, which describe themselves in the same words.

use std::sync::{Arc, Mutex, PoisonError};

use crate::description::Streams;
use crate::profile::Body;

/// How many of each kind are kept: the browsers in use with what their users send and receive, several times over. Of more the oldest are forgotten: whoever says that has it alone.
const MAX_KEPT: usize = 64;

/// What the sessions of one server say and were told alike: codecs and header extensions, as they are parsed and as they are written. Some 10 KiB of a
/// browser's.
#[derive(Default)]
pub struct Shared {
    bodies: Kept<Body>,
    streams: Kept<Streams>,
}

impl std::fmt::Debug for Shared {
    /// What is kept is nobody's state.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// The same, shared with whoever else says it.
    pub(crate) fn body(&self, body: &Arc<Body>) -> Arc<Body> {
        self.bodies.share(body, |one, other| one.profile == other.profile)
    }

    /// The same, shared with whoever else says it.
    pub(crate) fn streams(&self, streams: &Arc<Streams>) -> Arc<Streams> {
        self.streams.share(streams, Streams::eq)
    }
}

struct Kept<T>(Mutex<Vec<Arc<T>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Kept<T> {
    fn share(&self, new: &Arc<T>, is_same: impl Fn(&T, &T) -> bool) -> Arc<T> {
        // Whatever panicked, the list is whole.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.iter().find(|known| Arc::ptr_eq(known, new) || is_same(known, new)) {
            return Arc::clone(known);
        }
        if kept.len() == MAX_KEPT {
            kept.retain(|known| Arc::strong_count(known) > 1);
        }
        if kept.len() == MAX_KEPT {
            // Nobody takes all places for what nobody else says.
            kept.remove(0);
        }
        kept.push(Arc::clone(new));
        Arc::clone(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(kept: &Kept<usize>, value: usize) -> Arc<usize> {
        kept.share(&Arc::new(value), usize::eq)
    }

    #[test]
    fn what_is_the_same_is_one_and_what_is_new_takes_the_place_of_what_nobody_says_or_of_the_oldest() {
        let kept = Kept::default();
        let first = share(&kept, 0);
        assert!(Arc::ptr_eq(&first, &share(&kept, 0)));
        let others: Vec<_> = (1..MAX_KEPT).map(|value| share(&kept, value)).collect();
        drop(others);
        let beyond = share(&kept, MAX_KEPT);
        assert_eq!(kept.0.lock().unwrap().len(), 2, "nobody says the others");
        assert!(Arc::ptr_eq(&first, &share(&kept, 0)) && Arc::ptr_eq(&beyond, &share(&kept, MAX_KEPT)));
        let others: Vec<_> = (0..MAX_KEPT).map(|value| share(&kept, MAX_KEPT + 1 + value)).collect();
        assert_eq!(kept.0.lock().unwrap().len(), MAX_KEPT);
        assert!(!Arc::ptr_eq(&first, &share(&kept, 0)), "the oldest");
        assert!(Arc::ptr_eq(&others[MAX_KEPT - 1], &share(&kept, 2 * MAX_KEPT)));
    }
}
