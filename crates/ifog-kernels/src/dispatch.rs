//! From a [`Level`] to the machine code made for it: every entry of the crate, in one list.
//!
//! The feature list of a level is written here and nowhere else. Each kernel gets one concrete
//! function per element type and level, compiled in this crate, so that a profile shows
//! `lstm::forward::avx512` and an embedder does not compile it again.

use core::ops::Range;

use crate::cells::backward::{Backward, backward_body};
use crate::cells::forward::{
    Forward, ForwardWeights, InputProduct, Weights, Work, forward_body, input_body,
};
use crate::cells::gru::Gru;
use crate::cells::gru_after::GruAfter;
use crate::cells::lstm::Lstm;
use crate::cells::rnn::Rnn;
use crate::cells::step::{Stream, step_body};
use crate::element::{Element, sealed::Vectors};
use crate::level::{Kind, Level};
use crate::machine::{MOST_LANES, multiply_add_body, read_body};
use crate::math::{exp_body, sigmoid_body, tanh_body};
use crate::microkernel::{Ahead, MAX_ROWS, Microkernel, Tile, most_rows, tile_body};
use crate::outer::{Outer, outer_body};
use crate::pack::{Lanes, Packed};
use crate::packed::GateMatrix;
use crate::product::{Multiply, multiply_body};
use crate::scatter::scatter_body;
use crate::simd::{Microkernels, Simd};

/// The list: `$then` makes something of it, for elements of type `$e`. The bodies say what those that are unsafe ask for.
macro_rules! entries {
    ($then:ident, $e:ty) => {
        $then! {
            $e;
            [] exp = exp_body(values: &mut [$e]);
            [] sigmoid = sigmoid_body(values: &mut [$e]);
            [] tanh = tanh_body(values: &mut [$e]);
            [] multiply_add_chains = multiply_add_body(rounds: usize, values: &mut [$e; MOST_LANES]);
            [] read_passes = read_body(data: &[$e], passes: usize, sum: &mut [$e; MOST_LANES]);
            [unsafe] product = multiply_body(packed: &Packed<$e>, args: &Multiply<$e>, rows: Range<usize>, panels: Range<usize>);
            [unsafe] input_product = input_body[false](args: &InputProduct<$e>, w: Weights<'_, $e>, rows: Range<usize>, share: (usize, usize));
            [unsafe] rnn_forward = forward_body[Rnn, false](args: &Forward<$e>, weights: ForwardWeights<'_, $e>, work: Work);
            [unsafe] lstm_forward = forward_body[Lstm, false](args: &Forward<$e>, weights: ForwardWeights<'_, $e>, work: Work);
            [unsafe] lstm_pairs_forward = forward_body[Lstm, true](args: &Forward<$e>, weights: ForwardWeights<'_, $e>, work: Work);
            [unsafe] gru_forward = forward_body[Gru, false](args: &Forward<$e>, weights: ForwardWeights<'_, $e>, work: Work);
            [unsafe] gru_after_forward = forward_body[GruAfter, false](args: &Forward<$e>, weights: ForwardWeights<'_, $e>, work: Work);
            [unsafe] gru_after_pairs_forward = forward_body[GruAfter, true](args: &Forward<$e>, weights: ForwardWeights<'_, $e>, work: Work);
            [unsafe] rnn_step = step_body[Rnn, false](stream: &Stream<$e>, w: &GateMatrix<$e>, u: &GateMatrix<$e>);
            [unsafe] lstm_step = step_body[Lstm, false](stream: &Stream<$e>, w: &GateMatrix<$e>, u: &GateMatrix<$e>);
            [unsafe] lstm_pairs_step = step_body[Lstm, true](stream: &Stream<$e>, w: &GateMatrix<$e>, u: &GateMatrix<$e>);
            [unsafe] gru_step = step_body[Gru, false](stream: &Stream<$e>, w: &GateMatrix<$e>, u: &GateMatrix<$e>);
            [unsafe] gru_after_step = step_body[GruAfter, false](stream: &Stream<$e>, w: &GateMatrix<$e>, u: &GateMatrix<$e>);
            [unsafe] gru_after_pairs_step = step_body[GruAfter, true](stream: &Stream<$e>, w: &GateMatrix<$e>, u: &GateMatrix<$e>);
            [unsafe] rnn_backward = backward_body[Rnn](args: &Backward<$e>, weights: Weights<'_, $e>, work: Work);
            [unsafe] lstm_backward = backward_body[Lstm](args: &Backward<$e>, weights: Weights<'_, $e>, work: Work);
            [unsafe] gru_backward = backward_body[Gru](args: &Backward<$e>, weights: Weights<'_, $e>, work: Work);
            [unsafe] gru_after_backward = backward_body[GruAfter](args: &Backward<$e>, weights: Weights<'_, $e>, work: Work);
            [unsafe] outer = outer_body(args: &Outer<$e>, panels: Range<usize>, rows: (usize, usize), scratch: *mut $e);
            [unsafe] scatter = scatter_body(args: &Outer<$e>, ids: *const u32, out: *mut $e, vectors: Range<usize>);
        }
    };
}

/// The trait that names the entries.
macro_rules! declare {
    ($e:ty; $([$($unsafe:tt)?] $name:ident = $body:ident$([$($of:tt)+])?($($arg:ident: $ty:ty),+);)*) => {
        /// The entries of an element type.
        pub trait Entries: Sized {
            $($($unsafe)? fn $name(level: Level, $($arg: $ty),+);)*
        }
    };
}

entries!(declare, Self);

/// What each level enables: the only place that says so.
macro_rules! portable {
    ($($item:tt)*) => { $($item)* };
}
macro_rules! avx2 {
    ($($item:tt)*) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        $($item)*
    };
}
macro_rules! avx512 {
    ($($item:tt)*) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512vl")]
        $($item)*
    };
}

/// One trait method, which runs `$body(simd, …)` at the level; unsafe if the body is.
macro_rules! entry {
    ($e:ty, [$($unsafe:tt)?] $name:ident, $body:ident$([$($of:tt)+])?, $($arg:ident: $ty:ty),+) => {
        $($unsafe)? fn $name(level: Level, $($arg: $ty),+) {
            portable! {
                #[inline(never)]
                $($unsafe)? fn portable(s: <$e as Vectors>::Portable, $($arg: $ty),+) {
                    // SAFETY: passed on.
                    $($unsafe)? { $body$(::<_, $($of)+>)?(s, $($arg),+) }
                }
            }
            portable! {
                #[inline(never)]
                $($unsafe)? fn scalar_fma(s: <$e as Vectors>::ScalarFma, $($arg: $ty),+) {
                    // SAFETY: passed on.
                    $($unsafe)? { $body$(::<_, $($of)+>)?(s, $($arg),+) }
                }
            }
            avx2! {
                #[inline(never)]
                $($unsafe)? fn avx2(s: <$e as Vectors>::Avx2, $($arg: $ty),+) {
                    // SAFETY: passed on.
                    $($unsafe)? { $body$(::<_, $($of)+>)?(s, $($arg),+) }
                }
            }
            avx512! {
                #[inline(never)]
                $($unsafe)? fn avx512(s: <$e as Vectors>::Avx512, $($arg: $ty),+) {
                    // SAFETY: passed on.
                    $($unsafe)? { $body$(::<_, $($of)+>)?(s, $($arg),+) }
                }
            }
            // SAFETY: a `Level` exists only where the machine has its features, which is what the token and
            // the function of that level ask for; the rest is passed on.
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

/// The microkernels of one level and element type: a function for each number of rows and vectors of a tile.
///
/// With a token `$wide` of vectors of twice the width, two vectors side by side are one of those: the same numbers in the same places,
/// and on a processor that begins as many operations on wide vectors as on narrow ones in a cycle, half the time.
macro_rules! microkernels {
    ($level:ident, $token:ty, $e:ty $(, $wide:ty)?) => {
        impl Microkernels for $token {
            type Elem = $e;

            #[inline(always)]
            fn microkernel(rows: usize, vectors: usize, ahead: Ahead) -> Microkernel<$e> {
                $(
                    const { assert!(<$wide as Simd>::LANES == 2 * <$token as Simd>::LANES) };
                    if vectors.is_multiple_of(2) {
                        return <$wide>::microkernel(rows, vectors / 2, ahead);
                    }
                )?
                $level! {
                    unsafe fn run<const MR: usize, const NV: usize, const AHEAD: u8>(
                        tile: &Tile<$e>,
                    ) {
                        // SAFETY: whoever has the token may call it, on a tile of MR rows.
                        unsafe {
                            tile_body::<$token, MR, NV, AHEAD>(Simd::assume_supported(), tile)
                        }
                    }
                }
                /// The table is as long for every level; beyond the most rows it repeats.
                const fn most(rows: usize, vectors: usize) -> usize {
                    let most = most_rows(<$token as Simd>::ACCUMULATORS, vectors);
                    if rows < most { rows } else { most }
                }
                /// Without prefetch there are no microkernels for it to compile.
                const fn fetched(of: Ahead) -> u8 {
                    match <$token as Simd>::FETCHES {
                        true => of as u8,
                        false => Ahead::Nothing as u8,
                    }
                }
                /// Nor those that are left to wide vectors.
                const fn own(vectors: usize) -> usize {
                    let wide: &[usize] = &[$(<$wide as Simd>::LANES)?];
                    if vectors % 2 == 0 && !wide.is_empty() { 1 } else { vectors }
                }
                macro_rules! of {
                    ($nv:expr, $ahead:ident) => {
                        [
                            run::<{ most(1, $nv) }, $nv, { fetched(Ahead::$ahead) }>,
                            run::<{ most(2, $nv) }, $nv, { fetched(Ahead::$ahead) }>,
                            run::<{ most(3, $nv) }, $nv, { fetched(Ahead::$ahead) }>,
                            run::<{ most(4, $nv) }, $nv, { fetched(Ahead::$ahead) }>,
                            run::<{ most(5, $nv) }, $nv, { fetched(Ahead::$ahead) }>,
                            run::<{ most(6, $nv) }, $nv, { fetched(Ahead::$ahead) }>,
                            run::<{ most(7, $nv) }, $nv, { fetched(Ahead::$ahead) }>,
                            run::<{ most(8, $nv) }, $nv, { fetched(Ahead::$ahead) }>,
                        ]
                    };
                }
                static TABLE: [[Microkernel<$e>; MAX_ROWS]; 7] = [
                    of!(1, Nothing),
                    of!({ own(2) }, Nothing),
                    of!(3, Nothing),
                    of!({ own(4) }, Nothing),
                    of!(3, Next),
                    of!({ own(4) }, Next),
                    of!({ own(4) }, SamePanel),
                ];
                debug_assert!(
                    rows <= most_rows(<$token as Simd>::ACCUMULATORS, vectors),
                    "{rows} rows of {vectors} vectors"
                );
                let of = match (ahead, vectors) {
                    (Ahead::Next, 3 | 4) => vectors + 1,
                    (Ahead::SamePanel, 4) => 6,
                    _ => vectors - 1,
                };
                TABLE[of][rows - 1]
            }
        }
    };
}

microkernels!(portable, <f32 as Vectors>::Portable, f32);
microkernels!(portable, <f64 as Vectors>::Portable, f64);
microkernels!(portable, <f32 as Vectors>::ScalarFma, f32);
microkernels!(portable, <f64 as Vectors>::ScalarFma, f64);
#[cfg(target_arch = "x86_64")]
microkernels!(avx2, <f32 as Vectors>::Avx2, f32);
#[cfg(target_arch = "x86_64")]
microkernels!(avx2, <f64 as Vectors>::Avx2, f64);
#[cfg(target_arch = "x86_64")]
microkernels!(avx512, <f32 as Vectors>::Avx512, f32);
#[cfg(target_arch = "x86_64")]
microkernels!(avx512, <f64 as Vectors>::Avx512, f64);
#[cfg(target_arch = "x86_64")]
microkernels!(
    avx512,
    <<f32 as Vectors>::Avx512 as Simd>::Narrow,
    f32,
    <f32 as Vectors>::Avx512
);
#[cfg(target_arch = "x86_64")]
microkernels!(
    avx512,
    <<f64 as Vectors>::Avx512 as Simd>::Narrow,
    f64,
    <f64 as Vectors>::Avx512
);

/// The entries of one element type.
macro_rules! implement {
    ($e:ty; $([$($unsafe:tt)?] $name:ident = $body:ident$([$($of:tt)+])?($($arg:ident: $ty:ty),+);)*) => {
        impl Entries for $e {
            $(entry!($e, [$($unsafe)?] $name, $body$([$($of)+])?, $($arg: $ty),+);)*
        }
    };
}

// Two modules are two units of code generation, for two cores.
mod single {
    use super::*;

    entries!(implement, f32);
}
mod double {
    use super::*;

    entries!(implement, f64);
}

/// The level to use for a cell of `hidden` units. Half a vector of units is left to the level of vectors of half the
/// width altogether: its steps are shorter.
pub(crate) fn level_for<E: Element>(level: Level, hidden: usize) -> Level {
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 if hidden <= <E as Vectors>::Avx2::LANES => Level(Kind::Avx2),
        _ => level,
    }
}

/// Elements of the vectors in packed panels. There are twice as many operations on vectors of half the width in a cycle.
pub(crate) fn panel_lanes<E: Element>(level: Level) -> Lanes {
    let whole = lanes::<E>(level);
    let narrow = match level.0 {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => <<E as Vectors>::Avx512 as Simd>::Narrow::LANES,
        _ => whole,
    };
    Lanes { whole, narrow }
}

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
