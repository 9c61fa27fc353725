use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn the_window_is_at_least_as_wide_as_promised() {
    for highest in 10_000..10_130u64 {
        let mut window = ReplayWindow::<4>::default();
        window.insert(highest).unwrap();
        let oldest = highest - 3 * WORD;
        assert_eq!(window.insert(oldest), Ok(()));
        assert_eq!(window.insert(oldest), Err(ReplayError::Used));
        assert_eq!(window.check(highest - 4 * WORD), Err(ReplayError::TooOld));
        assert_eq!(window.highest(), Some(highest));
    }
}

#[test]
fn a_leap_forgets_what_it_leaves_behind() {
    let mut window = ReplayWindow::<2>::default();
    for index in 0..128 {
        window.insert(index).unwrap();
    }
    window.insert(u64::MAX).unwrap();
    assert_eq!(window.check(u64::MAX), Err(ReplayError::Used));
    assert_eq!(window.check(u64::MAX - 1), Ok(()));
    assert_eq!(window.check(127), Err(ReplayError::TooOld));
}

proptest! {
    #[test]
    fn nothing_is_used_twice_and_nothing_within_the_window_is_refused(
        steps in prop::collection::vec((0u64..300, any::<bool>()), 1..600),
    ) {
        let mut window = ReplayWindow::<3>::default();
        let mut used = BTreeSet::new();
        let mut at = 1000u64;
        for (step, forward) in steps {
            at = if forward { at + step } else { at.saturating_sub(step) };
            let highest = used.last().copied();
            match window.insert(at) {
                Ok(()) => prop_assert!(used.insert(at), "{at} used twice"),
                Err(ReplayError::Used) => prop_assert!(used.contains(&at)),
                Err(ReplayError::TooOld) => prop_assert!(highest.is_some_and(|highest| highest - at > 2 * WORD)),
            }
            prop_assert_eq!(window.highest(), used.last().copied());
        }
    }
}
