//! Where a media thread runs.

/// The cores this process may use; none if that can't be told.
pub(crate) fn cores() -> Vec<usize> {
    // SAFETY: a C array of integers, for which zeroes are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is writable for its size. Fails on machines with more cores than it has bits.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return Vec::new();
    }
    // SAFETY: below the number of bits in the set.
    (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Keeps the calling thread on one of [`cores`]. If the kernel refuses, it moves about as before.
pub(crate) fn stay_on(core: usize) {
    // SAFETY: a C array of integers, for which zeroes are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cores` gives numbers below the number of bits in the set; `set` is readable for its size.
    unsafe {
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_told_to() {
        let all = cores();
        assert!(!all.is_empty());
        let last = all[all.len() - 1];
        let within = std::thread::spawn(move || {
            stay_on(last);
            cores()
        });
        assert_eq!(within.join().unwrap(), [last]);
        assert_eq!(cores(), all, "and no other thread with it");
    }
}
