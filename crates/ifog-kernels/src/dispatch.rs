//! From a [`Level`] to the machine code made for it: every entry of the crate, in one list.
//!
//! The feature list of a level is written here and nowhere else. Each kernel gets one concrete
//! function per element type and level, compiled in this crate, so that a profile shows
//! `lstm::forward::avx512` and an embedder does not compile it again.

use core::ops::Range;

use crate::cells::backward::{Backward, backward_body};
use crate::cells::forward::{Forward, Weights, Work, forward_body};
use crate::cells::gru::Gru;
use crate::cells::gru_after::GruAfter;
use crate::cells::lstm::Lstm;
use crate::cells::rnn::Rnn;
use crate::element::{Element, sealed::Vectors};
use crate::level::{Kind, Level};
use crate::math::{exp_body, sigmoid_body, tanh_body};
use crate::outer::{Outer, outer_body, scatter_body};
use crate::pack::Packed;
use crate::product::{Product, product_body};
use crate::simd::Simd;

/// The entries of an element type.
pub trait Entries: Sized {
    fn exp(level: Level, values: &mut [Self]);
    fn sigmoid(level: Level, values: &mut [Self]);
    fn tanh(level: Level, values: &mut [Self]);
    fn product(
        level: Level,
        packed: &Packed<Self>,
        args: &Product<Self>,
        rows: Range<usize>,
        panels: Range<usize>,
    );
    fn rnn_forward(level: Level, args: &Forward<Self>, weights: Weights<'_, Self>, work: Work);
    fn lstm_forward(level: Level, args: &Forward<Self>, weights: Weights<'_, Self>, work: Work);
    fn gru_forward(level: Level, args: &Forward<Self>, weights: Weights<'_, Self>, work: Work);
    fn gru_after_forward(
        level: Level,
        args: &Forward<Self>,
        weights: Weights<'_, Self>,
        work: Work,
    );
    fn rnn_backward(level: Level, args: &Backward<Self>, weights: Weights<'_, Self>, work: Work);
    fn lstm_backward(level: Level, args: &Backward<Self>, weights: Weights<'_, Self>, work: Work);
    fn gru_backward(level: Level, args: &Backward<Self>, weights: Weights<'_, Self>, work: Work);
    fn gru_after_backward(
        level: Level,
        args: &Backward<Self>,
        weights: Weights<'_, Self>,
        work: Work,
    );
    fn outer(
        level: Level,
        args: &Outer<Self>,
        panels: Range<usize>,
        rows: (usize, usize),
        scratch: *mut Self,
    );
    fn scatter(
        level: Level,
        args: &Outer<Self>,
        ids: *const u32,
        out: *mut Self,
        vectors: Range<usize>,
    );
}

/// One trait method, which runs `$body(simd, …)` at the level.
macro_rules! entry {
    ($e:ty, $name:ident, $body:ident$([$cell:ty])?, $($arg:ident: $ty:ty),+) => {
        fn $name(level: Level, $($arg: $ty),+) {
            #[inline(never)]
            fn portable(s: <$e as Vectors>::Portable, $($arg: $ty),+) {
                $body$(::<_, $cell>)?(s, $($arg),+);
            }
            #[inline(never)]
            fn scalar_fma(s: <$e as Vectors>::ScalarFma, $($arg: $ty),+) {
                $body$(::<_, $cell>)?(s, $($arg),+);
            }
            #[cfg(target_arch = "x86_64")]
            #[inline(never)]
            #[target_feature(enable = "avx2,fma")]
            fn avx2(s: <$e as Vectors>::Avx2, $($arg: $ty),+) {
                $body$(::<_, $cell>)?(s, $($arg),+);
            }
            #[cfg(target_arch = "x86_64")]
            #[inline(never)]
            #[target_feature(enable = "avx2,fma,avx512f,avx512dq")]
            fn avx512(s: <$e as Vectors>::Avx512, $($arg: $ty),+) {
                $body$(::<_, $cell>)?(s, $($arg),+);
            }
            // SAFETY: a `Level` exists only where the machine has its features, which is what the token and
            // the function of that level ask for.
            unsafe {
                match level.0 {
                    Kind::Portable => portable(Simd::assume_supported(), $($arg),+),
                    Kind::ScalarFma => scalar_fma(Simd::assume_supported(), $($arg),+),
                    #[cfg(target_arch = "x86_64")]
                    Kind::Avx2 => avx2(Simd::assume_supported(), $($arg),+),
                    #[cfg(target_arch = "x86_64")]
                    Kind::Avx512 => avx512(Simd::assume_supported(), $($arg),+),
                }
            }
        }
    };
}

/// The whole list for one element type.
macro_rules! entries {
    ($e:ty) => {
        impl Entries for $e {
            entry!($e, exp, exp_body, values: &mut [$e]);
            entry!($e, sigmoid, sigmoid_body, values: &mut [$e]);
            entry!($e, tanh, tanh_body, values: &mut [$e]);
            entry!($e, product, product_body, packed: &Packed<$e>, args: &Product<$e>, rows: Range<usize>, panels: Range<usize>);
            entry!($e, rnn_forward, forward_body[Rnn], args: &Forward<$e>, weights: Weights<'_, $e>, work: Work);
            entry!($e, lstm_forward, forward_body[Lstm], args: &Forward<$e>, weights: Weights<'_, $e>, work: Work);
            entry!($e, gru_forward, forward_body[Gru], args: &Forward<$e>, weights: Weights<'_, $e>, work: Work);
            entry!($e, gru_after_forward, forward_body[GruAfter], args: &Forward<$e>, weights: Weights<'_, $e>, work: Work);
            entry!($e, rnn_backward, backward_body[Rnn], args: &Backward<$e>, weights: Weights<'_, $e>, work: Work);
            entry!($e, lstm_backward, backward_body[Lstm], args: &Backward<$e>, weights: Weights<'_, $e>, work: Work);
            entry!($e, gru_backward, backward_body[Gru], args: &Backward<$e>, weights: Weights<'_, $e>, work: Work);
            entry!($e, gru_after_backward, backward_body[GruAfter], args: &Backward<$e>, weights: Weights<'_, $e>, work: Work);
            entry!($e, outer, outer_body, args: &Outer<$e>, panels: Range<usize>, rows: (usize, usize), scratch: *mut $e);
            entry!($e, scatter, scatter_body, args: &Outer<$e>, ids: *const u32, out: *mut $e, vectors: Range<usize>);
        }
    };
}

entries!(f32);
entries!(f64);

/// Elements in a vector of the level.
pub(crate) fn lanes<E: Element>(level: Level) -> usize {
    match level.0 {
        Kind::Portable => <E as Vectors>::Portable::LANES,
        Kind::ScalarFma => <E as Vectors>::ScalarFma::LANES,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => <E as Vectors>::Avx2::LANES,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => <E as Vectors>::Avx512::LANES,
    }
}
