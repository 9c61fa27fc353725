//! Has memory fetched before it is needed, while something else is done.

/// Bytes that come together.
const LINE: usize = 64;

/// What [`switchyard_forward::Wire::fetch`] asks for.
#[inline]
pub fn fetch(at: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast()) };
    }
    // Elsewhere it is not stable in Rust yet (`std::hint::prefetch_read`).
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, len, LINE);
}
