//! What is known of the processor beside its instructions.

/// Whether it fetches a panel as fast as it can come, without being asked: one of AMD. A Xeon wants to be asked (Emerald Rapids,
/// `docs/performance-intel.md`).
#[cfg(all(feature = "std", target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn sees_panels_coming() -> bool {
    use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
    const UNKNOWN: u8 = 2;
    static AMD: AtomicU8 = AtomicU8::new(UNKNOWN);
    match AMD.load(Relaxed) {
        UNKNOWN => {
            let amd = is_amd();
            AMD.store(u8::from(amd), Relaxed);
            amd
        }
        amd => amd == 1,
    }
}

#[cfg(all(feature = "std", target_arch = "x86_64"))]
#[cold]
fn is_amd() -> bool {
    let vendor = core::arch::x86_64::__cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes) == [*b"Auth", *b"enti", *b"cAMD"]
}

#[cfg(not(all(feature = "std", target_arch = "x86_64")))]
pub(crate) fn sees_panels_coming() -> bool {
    false
}
