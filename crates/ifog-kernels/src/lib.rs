//! Recurrent cells on the CPU: RNN, LSTM and GRU, forward and backpropagation through time, with the same bits on
//! every machine that has a fused multiply-add.
//!
//! # The mathematics
//!
//! T steps, B rows, I inputs, H hidden units, G gates. Row vectors: a = x W + h U + b with W `[I, G·H]`, U `[H, G·H]`,
//! b `[G·H]`; σ is the logistic function, ⊙ elementwise.
//!
//! ```text
//! RNN              h' = tanh(a)
//!
//! LSTM             i = σ(a_i)   f = σ(a_f)   o = σ(a_o)   g = tanh(a_g)
//! gates i f o g    c' = f ⊙ c + i ⊙ g        h' = o ⊙ tanh(c')
//!
//! GRU              z = σ(a_z)   r = σ(a_r)   h~ = tanh(x W_h + (r ⊙ h) U_h + b_h)
//! gates z r h~     h' = (1 − z) ⊙ h + z ⊙ h~
//!
//! GRU, reset after r = σ(a_r)   z = σ(a_z)   n = tanh(x W_n + b_in + r ⊙ (h U_n + b_hn))
//! gates r z n      h' = (1 − z) ⊙ n + z ⊙ h
//! ```
//!
//! ```
//! use ifog_kernels::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (steps, batch) = (5, 2);
//! let shape = Shape::new(Cell::Lstm, 3, 4)?;
//! let params = vec![0.1f32; shape.param_len()];
//!
//! let uses = Uses { dense_input: true, backward: false };
//! let mut cell = PackedCell::new(Level::detect()?, shape, uses)?;
//! cell.pack(shape.split(&params)?);
//!
//! let x = vec![1.0f32; steps * batch * 3];
//! let (mut h, mut c) = (vec![0.0; batch * 4], vec![0.0; batch * 4]);
//! let mut out = vec![0.0; steps * batch * 4];
//! let mut scratch = vec![0.0; cell.forward_scratch_len(steps, batch)];
//! cell.infer(
//!     Infer {
//!         steps,
//!         batch,
//!         input: Input::Dense(MatRef::new(&x, steps * batch, 3)?),
//!         h: &mut h,
//!         c: &mut c,
//!         out: MatMut::new(&mut out, steps * batch, 4)?,
//!         scratch: &mut scratch,
//!     },
//!     Threads::SINGLE,
//! );
//! assert_eq!(h[..], out[(steps - 1) * batch * 4..]);
//! # Ok(())
//! # }
//! ```
//!
//! Training records a [`Tape`] ([`PackedCell::forward`]) and runs it backwards ([`PackedCell::backward`]):
//!
//! ```
//! use ifog_kernels::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (steps, batch, threads) = (5, 2, Threads::SINGLE);
//! let shape = Shape::new(Cell::Gru, 3, 4)?;
//! let params = vec![0.1f64; shape.param_len()];
//! let mut cell = PackedCell::new(Level::detect()?, shape, Uses { dense_input: true, backward: true })?;
//! cell.pack(shape.split(&params)?);
//!
//! let x = vec![1.0f64; steps * batch * 3];
//! let input = Input::Dense(MatRef::new(&x, steps * batch, 3)?);
//! let mut tape = Tape::new(shape, steps, batch)?;
//! let h = vec![0.0; batch * 4];
//! let mut scratch = vec![0.0; cell.forward_scratch_len(steps, batch)];
//! cell.forward(Record { steps, batch, input, h: &h, c: &[], tape: &mut tape, scratch: &mut scratch }, threads);
//!
//! // The loss is the sum of all outputs: its gradient is 1 everywhere.
//! let dout = vec![1.0; steps * batch * 4];
//! let mut dh = vec![0.0; batch * 4];
//! let mut gradient = vec![0.0; shape.param_len()];
//! let mut scratch = vec![0.0; cell.backward_scratch_len(batch, threads)];
//! cell.backward(
//!     Backprop {
//!         input,
//!         tape: &mut tape,
//!         dout: MatRef::new(&dout, steps * batch, 4)?,
//!         dh: &mut dh,
//!         dc: &mut [],
//!         grads: shape.split_mut(&mut gradient)?,
//!         dx: None,
//!         scratch: &mut scratch,
//!     },
//!     threads,
//! );
//! assert!(gradient.iter().any(|g| *g != 0.0));
//! # Ok(())
//! # }
//! ```
//!
//! # Weights from elsewhere
//!
//! A flat buffer is W `[I, G·H]`, U `[H, G·H]`, b, each by rows ([`Shape::split`]): column g·H + j belongs to unit j of gate g, the
//! gates in the order above. PyTorch has the transposes, `weight_ih` `[G·H, I]` and `weight_hh` `[G·H, H]`, and two biases, of which
//! only the sum matters but in one place:
//!
//! ```text
//!                    PyTorch   b
//! RNN                          bias_ih + bias_hh
//! LSTM               i f g o   bias_ih + bias_hh; the last two gates change places, in W, U and b
//! GRU, reset after   r z n     sums for r and z, then bias_ih of n, then bias_hh of n: 4·H elements
//! GRU                none: nn.GRU resets after the product
//! ```
//!
//! ```
//! /// `[4·H, K]` of an nn.LSTM to `[K, 4·H]`.
//! fn transposed(theirs: &[f32], k: usize, hidden: usize) -> Vec<f32> {
//!     let mut ours = Vec::new();
//!     for column in 0..k {
//!         // i, f, o, g out of i, f, g, o.
//!         for gate in [0, 1, 3, 2] {
//!             let units = gate * hidden..(gate + 1) * hidden;
//!             ours.extend(units.map(|row| theirs[row * k + column]));
//!         }
//!     }
//!     ours
//! }
//! assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 2, 1), [1.0, 3.0, 7.0, 5.0, 2.0, 4.0, 8.0, 6.0]);
//! ```
//!
//! # The same bits everywhere
//!
//! Every output element is one accumulator: it starts at the bias, runs over the inputs and then over the hidden units by
//! fused multiply-add. Gate functions are one polynomial each with IEEE division ([`math`]). Weight gradients reduce over
//! the last step first. So AVX2, AVX-512 and scalar code with FMA agree to the bit; so do any number of threads, a row in
//! any batch, one call of T steps and T calls of one, and a window cut into pieces. The portable level without FMA
//! rounds once more per product. `IFOG_ISA=portable|scalar-fma|avx2|avx512` forces a level, and [`Level::detect`] fails if
//! the machine lacks it. A thread whose host has set it to flush subnormal numbers to zero, as audio hosts do, or to round in
//! another direction, is outside the contract. A NaN is a NaN everywhere; which one is not promised.
//!
//! # Features
//!
//! * `std` (default): detection of the instruction set at run time. Without it the crate is `no_std` with `alloc`, and uses
//!   the level that the build was made for: the bits of all others where that is AVX2 or AVX-512, and portable ones else, as `core` has
//!   no fused multiply-add.
//! * `rayon`: threads, in the pool of the caller ([`Threads::current`]).
//! * `bytemuck`: weights straight from bytes (`Shape::split_bytes`).
//!
//! There is no required dependency. With one thread calls allocate nothing once their buffers exist; `unsafe` stays in this crate.
//! A target needs compare-and-swap of pointers (`target_has_atomic = "ptr"`).
//!
//! Unoptimised, the kernels keep nothing in registers and are many times slower. The workspace that embeds them wants for its
//! debug builds:
//!
//! ```toml
//! [profile.dev.package.ifog-kernels]
//! opt-level = 3
//! ```

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod bptt;
mod buffer;
mod caches;
mod cell;
mod cells;
mod dispatch;
mod element;
mod gradients;
mod input;
mod level;
pub mod machine;
pub mod math;
mod matrix;
mod meeting;
mod microkernel;
mod outer;
mod pack;
mod packed;
mod parallel;
mod planted;
mod product;
#[cfg(feature = "std")]
mod rehearsal;
mod row;
mod scatter;
mod sequence;
mod simd;
mod split;
mod stepper;
mod tape;
#[cfg(feature = "std")]
mod team;
mod tile;
mod vectorize;

pub use bptt::Backprop;
pub use cell::{Cell, Params, ParamsMut, Shape};
pub use element::Element;
pub use input::{Input, TokenTable};
pub use level::{Level, LevelError};
pub use matrix::{MatMut, MatRef, ShapeError};
pub use outer::{accumulate_outer, outer_scratch_len};
pub use packed::{PackedCell, Uses};
pub use parallel::Threads;
#[cfg(ifog_planted)]
pub use planted::{Bug, plant};
pub use product::PackedMatrix;
pub use sequence::{Infer, Record};
pub use stepper::Stepper;
pub use tape::Tape;
#[cfg(feature = "std")]
pub use team::Team;
pub use vectorize::Vectorize;
