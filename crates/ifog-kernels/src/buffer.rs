//! A zeroed heap buffer whose first element stands on a cache line.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};

use crate::element::Element;
use crate::matrix::ShapeError;

/// A fixed-length `[E]` aligned to 64 bytes, so that a full vector never straddles two lines.
pub(crate) struct AlignedVec<E> {
    lines: Vec<Line>,
    len: usize,
    _elements: core::marker::PhantomData<E>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl<E: Element> AlignedVec<E> {
    /// `len` zeros.
    ///
    /// # Errors
    /// They do not fit in memory; `what` names them.
    pub(crate) fn zeros(len: usize, what: &'static str) -> Result<Self, ShapeError> {
        let bytes = len.checked_mul(size_of::<E>());
        // What a Vec may hold, less the line that the last element may not fill.
        let most = isize::MAX as usize - size_of::<Line>();
        match bytes.filter(|bytes| *bytes <= most) {
            Some(bytes) => {
                let count = bytes.div_ceil(size_of::<Line>());
                let mut lines = room(count).map_err(|_| ShapeError::TooLarge(what))?;
                lines.resize(count, Line([0; 64]));
                collapse(&mut lines);
                Ok(Self {
                    lines,
                    len,
                    _elements: core::marker::PhantomData,
                })
            }
            None => Err(ShapeError::TooLarge(what)),
        }
    }
}

/// What is in it would fill screens.
impl<E> fmt::Debug for AlignedVec<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements", self.len)
    }
}

impl<E> Clone for AlignedVec<E> {
    fn clone(&self) -> Self {
        // Without room the copy asks again, and ends as every copy does that does not fit.
        let mut lines = room(self.lines.len()).unwrap_or_default();
        lines.extend_from_slice(&self.lines);
        collapse(&mut lines);
        Self {
            lines,
            len: self.len,
            _elements: core::marker::PhantomData,
        }
    }
}

/// Room for exactly so many lines, which will be on huge pages where they are not used memory of the heap.
///
/// # Errors
/// The system does not have it.
fn room(lines: usize) -> Result<Vec<Line>, TryReserveError> {
    let mut room = Vec::new();
    room.try_reserve_exact(lines)?;
    advise(room.spare_capacity_mut(), Advice::HugePages);
    Ok(room)
}

/// Huge pages for memory of the heap that has been used before.
fn collapse(lines: &mut [Line]) {
    let start = lines.as_mut_ptr().cast();
    // SAFETY: the same lines, of which nothing is written.
    let lines = unsafe { core::slice::from_raw_parts_mut(start, lines.len()) };
    advise(lines, Advice::Collapse);
}

/// What the system is told about memory.
#[derive(Clone, Copy)]
enum Advice {
    /// To back it with huge pages when it is first touched. MADV_HUGEPAGE.
    HugePages = 14,
    /// To do so now with what has been touched. MADV_COLLAPSE, since Linux 6.1.
    Collapse = 25,
}

/// Weights of more than a few MiB are more pages than the processor knows by heart: at H = 1024, steps of a batch of 1 took 458 µs
/// on small pages and 316 µs on huge ones (Zen 4). That the system refuses is no error.
#[cfg(all(feature = "std", target_os = "linux"))]
fn advise(lines: &mut [MaybeUninit<Line>], advice: Advice) {
    use core::ffi::{c_int, c_void};
    const HUGE: usize = 2 << 20;
    const PAGE: usize = 4096;
    // Of the C library, which `std` is linked with.
    unsafe extern "C" {
        fn madvise(start: *mut c_void, len: usize, advice: c_int) -> c_int;
    }
    let bytes = size_of_val(lines);
    if bytes < 2 * HUGE {
        return;
    }
    let skip = lines.as_ptr().align_offset(PAGE) * size_of::<Line>();
    // SAFETY: the whole pages of a living allocation; the advice changes how they are backed, not what they hold.
    unsafe {
        let start = lines.as_mut_ptr().cast::<u8>().add(skip);
        madvise(start.cast(), (bytes - skip) / PAGE * PAGE, advice as c_int);
    }
}

#[cfg(not(all(feature = "std", target_os = "linux")))]
fn advise(_lines: &mut [MaybeUninit<Line>], _advice: Advice) {}

impl<E: Element> Deref for AlignedVec<E> {
    type Target = [E];
    fn deref(&self) -> &[E] {
        // SAFETY: `lines` owns at least `len` elements of initialised bytes, aligned for E, and every
        // bit pattern is an f32 or f64.
        unsafe { core::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<E: Element> DerefMut for AlignedVec<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
