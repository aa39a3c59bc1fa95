//! A zeroed heap buffer whose first element stands on a cache line.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

use crate::element::Element;

/// A fixed-length `[E]` aligned to 64 bytes, so that a full vector never straddles two lines.
#[derive(Clone, Debug)]
pub(crate) struct AlignedVec<E> {
    lines: Vec<Line>,
    len: usize,
    _elements: core::marker::PhantomData<E>,
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl<E: Element> AlignedVec<E> {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let lines = (len * size_of::<E>()).div_ceil(size_of::<Line>());
        Self {
            lines: vec![Line([0; 64]); lines],
            len,
            _elements: core::marker::PhantomData,
        }
    }
}

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
