//! One step of one row, for streams: [`forward_body`] where all is known that a stream has no use for, so that what is left
//! is little more than the products and the gates.

use super::forward::{
    CellForward, Forward, ForwardWeights, Init, InputProduct, Phase, Work, forward_body, input_body,
};
use crate::packed::GateMatrix;
use crate::simd::Simd;
use crate::tile::Rows;

/// The memory of a stream. The states are of whole vectors, so that no store is masked: what a masked store has written
/// cannot be read before it has reached the cache.
#[derive(Clone, Copy)]
pub struct Stream<E> {
    /// H in whole vectors.
    pub(crate) hidden: usize,
    /// `[I]`.
    pub(crate) x: *const E,
    pub(crate) h_before: *const E,
    pub(crate) h: *mut E,
    /// `[units]`, takes a copy of h.
    pub(crate) out: *mut E,
    /// H.
    pub(crate) units: usize,
    /// LSTM only.
    pub(crate) c: *mut E,
    /// r ⊙ h; GRU reset-before only.
    pub(crate) rh: *mut E,
    /// Takes x W + b in panel order; GRU reset-after only.
    pub(crate) xw: *mut E,
    /// A row in panel order.
    pub(crate) bias: *const E,
    /// b_hn; GRU reset-after only.
    pub(crate) bias_hidden: *const E,
    /// [`Forward::turn`].
    pub(crate) turn: usize,
}

/// # Safety
/// The pointers of `stream` are valid for a step of the weights' shape, and nobody else uses them.
#[inline(always)]
pub(crate) unsafe fn step_body<S: Simd, C: CellForward, const PAIRS: bool>(
    s: S,
    stream: &Stream<S::Elem>,
    w: &GateMatrix<S::Elem>,
    u: &GateMatrix<S::Elem>,
) {
    let (w, u) = (w.weights(), u.weights());
    let (init, w) = if C::FUSES {
        (Init::Bias(stream.bias), Some(w))
    } else {
        let product = InputProduct {
            left: Rows::flat(stream.x, 0),
            out: Rows::flat(stream.xw, 0),
            bias: stream.bias,
        };
        // SAFETY: passed on from the caller.
        unsafe { input_body::<S, PAIRS>(s, &product, w, 0..1, (0, 1)) };
        let base = stream.xw.cast_const();
        (Init::Rows { base, stride: 0 }, None)
    };
    let args = Forward {
        batch: 1,
        hidden: stream.hidden,
        init,
        x: stream.x,
        x_stride: 0,
        gates: core::ptr::null_mut(),
        width: 0,
        h0: stream.h_before,
        h0_stride: 0,
        h: stream.h,
        h_stride: 0,
        c: stream.c,
        c_step: 0,
        rh: stream.rh,
        rh_step: 0,
        bias_hidden: stream.bias_hidden,
        turn: stream.turn,
    };
    let work = Work {
        steps: 0..1,
        rows: 0..1,
        share: (0, 1),
        phase: Phase::All,
    };
    // SAFETY: passed on from the caller.
    unsafe {
        forward_body::<S, C, PAIRS>(s, &args, ForwardWeights { u, w }, work);
        copy(s, stream.h, stream.out, stream.units);
    }
}

/// Inlined: a call for a few vectors is what a small step has no time for.
///
/// # Safety
/// `from` is readable and `to` writable for `len` elements.
#[inline(always)]
unsafe fn copy<S: Simd>(s: S, from: *const S::Elem, to: *mut S::Elem, len: usize) {
    let whole = len - len % S::LANES;
    // SAFETY: the caller vouches for `len` elements.
    unsafe {
        for at in (0..whole).step_by(S::LANES) {
            s.store(to.add(at), s.load(from.add(at)));
        }
        for at in whole..len {
            *to.add(at) = *from.add(at);
        }
    }
}
