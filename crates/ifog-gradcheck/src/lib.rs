//! Checks an analytic gradient against central differences and names the worst coordinate.
//!
//! # The mathematics
//!
//! For a loss `f: ℝⁿ → ℝ` and a claimed gradient `g`, each coordinate `k` is compared with
//!
//! ```text
//! D(h) = (f(x + h e_k) − f(x − h e_k)) / 2h  =  ∂f/∂x_k  +  h²/6 · f'''  +  O(h⁴)
//! ```
//!
//! Two errors pull the step `h` in opposite directions. *Truncation* is `h²·f'''/6`. *Rounding*: at
//! best each value of `f` is the `f64` nearest to the true one, off by `ε|f|/2` with `ε = 2⁻⁵²`, so the
//! quotient is off by up to `ε|f|/2h`. With `|f| ≈ f''' ≈ 1` the sum is smallest at
//! `h = (3ε/2)^(1/3) ≈ 7e-6`, the `ε^(1/3)` rule of Nocedal and Wright, *Numerical Optimization*,
//! 2nd edition, section 8.1, and is then about 3e-11. Hence the default step 1e-5 and the default bound
//! 1e-8, which leaves two to three decades for longer computations, whose rounding adds up.
//!
//! Errors are normalised by tensor: `max_k |g_k − D_k| / max_k(|g_k|, |D_k|)`. The ratio of each
//! single pair would be dominated by coordinates whose gradient is all but zero, where `D` is
//! mostly rounding.
//!
//! **The closure computes in `f64`.** In `f32`, `ε = 1.2e-7` and the best step leaves relative errors
//! of about 8e-3 on a small LSTM: no bug smaller than that can be seen, and correct code can fail.
//! Make the cell generic over its element type, check the `f64` instance, and compare the `f32` gradient with
//! the `f64` gradient directly.
//!
//! # Example
//!
//! ```
//! use ifog_gradcheck::Check;
//!
//! // One unit of a vanilla RNN over two steps: h' = tanh(w x + u h), h0 = 0, loss h2² / 2.
//! let inputs = [0.7, -0.4];
//! let loss = |p: &[f64]| {
//!     let h1 = (p[0] * inputs[0]).tanh();
//!     let h2 = (p[0] * inputs[1] + p[1] * h1).tanh();
//!     0.5 * h2 * h2
//! };
//!
//! // Its backpropagation through time, by hand.
//! let (w, u) = (0.5, -1.2);
//! let h1 = (w * inputs[0]).tanh();
//! let h2 = (w * inputs[1] + u * h1).tanh();
//! let da2 = h2 * (1.0 - h2 * h2);
//! let da1 = da2 * u * (1.0 - h1 * h1);
//! let gradient = [da2 * inputs[1] + da1 * inputs[0], da2 * h1];
//!
//! let report = Check::new(loss).named(&[("w", 0..1), ("u", 1..2)]).run(&[w, u], &gradient)?;
//! report.assert(); // panics with the table if a tensor is out of bound
//!
//! // The same with the carry through time forgotten.
//! let forgotten = [da2 * inputs[1], da2 * h1];
//! let report = Check::new(loss).named(&[("w", 0..1), ("u", 1..2)]).run(&[w, u], &forgotten)?;
//! assert!(!report.ok());
//! assert_eq!(report.worst().name, "w");
//! # Ok::<(), ifog_gradcheck::InputError>(())
//! ```
//!
//! # Large models
//!
//! A full check costs two evaluations of `f` a coordinate. [`Check::sample`] checks some coordinates of each tensor;
//! [`directional`] projects the whole gradient on one direction for two evaluations in all.
//!
//! # Limits
//!
//! `f` must be three times differentiable within `h` of `x`: a ReLU, a clipped value or a maximum
//! whose kink lies closer than that fails a correct gradient. `f` must be a function: dropout and
//! shuffling need a fixed seed inside the closure ([`InputError::NotDeterministic`]).

#![forbid(unsafe_code)]

mod check;
mod difference;
mod directional;
mod error;
mod random;
mod report;

pub use check::Check;
pub use directional::{Directional, directional};
pub use error::InputError;
pub use random::rademacher;
pub use report::{Report, TensorReport};
