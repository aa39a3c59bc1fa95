//! How fast cells run, and how fast they could: cases, the machine's own limits, and the time between.
//!
//! ```text
//! FLOPs      infer, step   2·T·B·G·H·(I + H)        train   three times that
//! bound      Σ over phases of max(FLOPs / peak, bytes / bandwidth of a working set of that size)
//! fraction   bound / time
//! ```
//!
//! The bound is a roofline (Williams, Waterman & Patterson 2009): peak and bandwidths are measured ([`Machine`]), with as many
//! threads as the case has, in turns with the case ([`Workload::measure_in_turns`]). It leaves out gate functions and the meeting of threads, which no machine does for nothing: 1 is out of
//! reach. A training pass is forward and BPTT to the gradients of weights, inputs and initial state. A [`Series`] measures cases along
//! one size and puts each beside its neighbours.
//!
//! ```
//! use ifog::bench::{Case, Effort, Machine, Pass, Workload};
//! use ifog::{Cell, Level};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let case = Case { pass: Pass::Infer, cell: Cell::Lstm, batch: 8, steps: 4, input: 32, hidden: 32, threads: 1 };
//! let level = Level::detect()?;
//! let mut workload = Workload::new(case, level)?;
//! workload.check()?;
//! let measured = workload.measure_in_turns(Effort::SMOKE, &mut Machine::new(level))?;
//! assert!(measured.timing.min <= measured.timing.median && measured.fraction() > 0.0);
//! # Ok(())
//! # }
//! ```

mod case;
mod machine;
mod series;
mod timing;
mod turns;
mod workload;

pub use case::{Case, Pass};
pub use machine::Machine;
pub use series::{Axis, CLIFF, LinearFit, Point, Series};
pub use timing::{Effort, Timing};
pub use turns::Measured;
pub use workload::{BenchError, Workload, fill};
