//! A case with its weights, data and buffers.

use std::time::Duration;

use ifog_kernels::{
    Backprop, Cell, Infer, Input, Level, PackedCell, Record, Shape, ShapeError, Stepper, Tape,
    Team, Threads, Uses,
};

use super::timing::time;
use super::{Case, Effort, Pass, Timing};
use crate::cost::{MemoryError, reserve};
use crate::network::{matrix, matrix_mut};
use crate::pool::{Pool, PoolError, pin};

/// A case that is ready to run.
#[derive(Debug)]
pub struct Workload {
    case: Case,
    level: Level,
    pool: Pool,
    buffers: Buffers,
    cell: PackedCell<f32>,
}

/// Why a case cannot be run, or may not be timed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A size is 0 or too large.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// More memory than the machine has.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The threads.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// It computes something else than the portable level: a figure for it would mean nothing.
    #[error(
        "{cell}: {what} differ from the portable level by {error:.1e} of the largest, more than {bound:.0e}: do not use \
         this level, and report it"
    )]
    Wrong {
        /// The cell.
        cell: Cell,
        /// Outputs or gradients.
        what: &'static str,
        /// The largest difference.
        error: f32,
        /// The largest that rounding explains.
        bound: f32,
    },
}

#[derive(Debug)]
struct Buffers {
    x: Vec<f32>,
    h: Vec<f32>,
    c: Vec<f32>,
    out: Vec<f32>,
    dout: Vec<f32>,
    dx: Vec<f32>,
    gradient: Vec<f32>,
    tape: Option<Tape<f32>>,
    scratch: Vec<f32>,
}

impl Workload {
    /// Packs weights of a trained cell's size, and makes the buffers of the pass.
    ///
    /// # Errors
    /// A size is 0 or too large for the memory, or the threads cannot be started.
    pub fn new(case: Case, level: Level) -> Result<Self, BenchError> {
        let shape = Shape::new(case.cell, case.input, case.hidden)?;
        reserve(bytes(&case, shape))?;
        let pool = Pool::pinned(case.threads)?;
        let train = case.pass == Pass::Train;
        let uses = Uses {
            dense_input: true,
            backward: train,
        };
        let mut cell = PackedCell::new(level, shape, uses)?;
        let weights = fill(shape.param_len(), 1.0 / (case.hidden as f32).sqrt());
        cell.pack(shape.split(&weights)?);
        let (steps, batch) = (case.steps, case.batch);
        let too_large = || ShapeError::TooLarge("the case");
        let rows = steps.checked_mul(batch).ok_or_else(too_large)?;
        let len = |width: usize| rows.checked_mul(width).ok_or_else(too_large);
        let state = batch * case.hidden;
        let backward = match train {
            true => cell.backward_scratch_len(batch, pool.install(Threads::current)),
            false => 0,
        };
        let when_training = |len: usize| vec![0.0; if train { len } else { 0 }];
        let buffers = Buffers {
            x: fill(len(case.input)?, 1.0),
            h: vec![0.0; state],
            c: vec![0.0; if case.cell.has_memory() { state } else { 0 }],
            out: vec![0.0; if train { 0 } else { len(case.hidden)? }],
            dout: if train {
                fill(len(case.hidden)?, 1.0)
            } else {
                Vec::new()
            },
            dx: when_training(len(case.input)?),
            gradient: when_training(shape.param_len()),
            tape: match train {
                true => Some(Tape::new(shape, steps, batch)?),
                false => None,
            },
            scratch: vec![0.0; cell.forward_scratch_len(steps, batch).max(backward)],
        };
        Ok(Self {
            case,
            level,
            pool,
            buffers,
            cell,
        })
    }

    /// The case.
    pub fn case(&self) -> Case {
        self.case
    }

    /// Times calls of the pass.
    pub fn measure(&mut self, effort: Effort) -> Timing {
        self.with_call(|call| Timing::of(effort, call))
    }

    /// How long so many calls take, for a harness that counts them itself.
    pub fn time(&mut self, repeats: u64) -> Duration {
        self.with_call(|call| time(repeats, call))
    }

    /// Seconds of a call, of so many.
    pub(super) fn seconds(&mut self, calls: u64) -> f64 {
        self.time(calls).as_secs_f64() / calls as f64
    }

    /// The level.
    pub(super) fn level(&self) -> Level {
        self.level
    }

    pub(super) fn with_call<R: Send>(
        &mut self,
        run: impl FnOnce(&mut dyn FnMut()) -> R + Send,
    ) -> R {
        let Self {
            case,
            pool,
            buffers,
            cell,
            ..
        } = self;
        pool.install(|| match case.pass {
            Pass::Step => {
                // `new` packs for dense inputs.
                let stepper = cell.stepper().unwrap_or_else(|error| panic!("{error}"));
                if case.threads == 1 {
                    return run(&mut stepping(stepper, buffers));
                }
                let this = Pool::this_thread();
                let team = Team::new(case.threads, move |helper| pin(this + helper));
                match team {
                    Ok(team) => run(&mut stepping(stepper.with_team(&team), buffers)),
                    // The pool has started as many.
                    Err(error) => panic!("{error}"),
                }
            }
            Pass::Infer => run(&mut || infer(cell, case, buffers)),
            Pass::Train => run(&mut || train(cell, case, buffers)),
        })
    }

    /// Compares what is about to be timed with the portable level, on a short window of as many rows as take a moment.
    ///
    /// # Errors
    /// They differ by more than rounding can explain.
    pub fn check(&self) -> Result<(), BenchError> {
        let case = Case {
            steps: self.case.steps.min(2),
            batch: self.case.batch.min(13),
            ..self.case
        };
        let results =
            [self.level, Level::PORTABLE].map(|level| Self::new(case, level).map(Self::results));
        let [ours, theirs] = results;
        let (ours, theirs) = (ours?, theirs?);
        for ((what, ours), (_, theirs)) in ours.into_iter().zip(theirs) {
            let largest = theirs
                .iter()
                .fold(f32::MIN_POSITIVE, |max, v| max.max(v.abs()));
            let differences = ours
                .iter()
                .zip(&theirs)
                .map(|(a, b)| (a - b).abs() / largest);
            // A NaN is a difference, too.
            let error = differences.fold(0.0, |max: f32, e| if e <= max { max } else { e });
            let bound = 1e-4;
            if error > bound || error.is_nan() {
                return Err(BenchError::Wrong {
                    cell: case.cell,
                    what,
                    error,
                    bound,
                });
            }
        }
        Ok(())
    }

    /// What one call computes.
    fn results(mut self) -> [(&'static str, Vec<f32>); 3] {
        self.measure(Effort::SMOKE);
        let Buffers {
            mut out,
            dx,
            gradient,
            tape,
            ..
        } = self.buffers;
        if let Some(tape) = tape {
            let output = tape.output();
            out = (0..output.rows())
                .flat_map(|row| output.row(row).to_vec())
                .collect();
        }
        [("outputs", out), ("dx", dx), ("gradients", gradient)]
    }
}

/// About what a case needs of memory.
fn bytes(case: &Case, shape: Shape) -> u128 {
    let times = |a: u128, b: usize| a.saturating_mul(b as u128);
    let rows = times(case.steps as u128, case.batch);
    let mut floats = times(rows, case.input + case.hidden);
    // h, c and the product of a step's inputs.
    let state = times(case.batch as u128, 2 * case.hidden + shape.columns());
    floats = floats.saturating_add(state);
    // A weight as it is, and packed.
    let mut copies = 2;
    if case.pass == Pass::Train {
        // Gradients of rows and weights, and weights packed for BPTT.
        floats = floats.saturating_mul(2);
        let tape = Tape::<f32>::floats(shape, case.steps, case.batch);
        floats = floats.saturating_add(tape.map_or(u128::MAX, |floats| floats as u128));
        copies = 4;
    }
    let floats = floats.saturating_add(times(copies, shape.param_len()));
    times(floats, size_of::<f32>())
}

fn stepping<'a>(
    mut stepper: Stepper<'a, f32>,
    Buffers { x, out, .. }: &'a mut Buffers,
) -> impl FnMut() + 'a {
    move || {
        stepper
            .step(x, out)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

fn infer(cell: &PackedCell<f32>, case: &Case, buffers: &mut Buffers) {
    let rows = case.steps * case.batch;
    cell.infer(
        Infer {
            steps: case.steps,
            batch: case.batch,
            input: Input::Dense(matrix(&buffers.x, rows, case.input)),
            h: &mut buffers.h,
            c: &mut buffers.c,
            out: matrix_mut(&mut buffers.out, rows, case.hidden),
            scratch: &mut buffers.scratch,
        },
        Threads::current(),
    );
}

fn train(cell: &PackedCell<f32>, case: &Case, buffers: &mut Buffers) {
    let Some(tape) = &mut buffers.tape else {
        unreachable!("made for the training pass");
    };
    let (rows, shape) = (case.steps * case.batch, cell.shape());
    let input = Input::Dense(matrix(&buffers.x, rows, case.input));
    buffers.h.fill(0.0);
    buffers.c.fill(0.0);
    cell.forward(
        Record {
            steps: case.steps,
            batch: case.batch,
            input,
            h: &buffers.h,
            c: &buffers.c,
            tape,
            scratch: &mut buffers.scratch,
        },
        Threads::current(),
    );
    buffers.gradient.fill(0.0);
    let grads = shape.split_mut(&mut buffers.gradient);
    cell.backward(
        Backprop {
            input,
            tape,
            dout: matrix(&buffers.dout, rows, case.hidden),
            dh: &mut buffers.h,
            dc: &mut buffers.c,
            grads: grads.unwrap_or_else(|error| panic!("{error}")),
            dx: Some(matrix_mut(&mut buffers.dx, rows, case.input)),
            scratch: &mut buffers.scratch,
        },
        Threads::current(),
    );
}

/// Numbers in ±`scale` that repeat after a prime.
pub fn fill(len: usize, scale: f32) -> Vec<f32> {
    (0..len)
        .map(|k| ((k * 7919 % 997) as f32 / 498.0 - 1.0) * scale)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn every_pass_of_every_cell_computes_what_the_portable_level_computes() {
        for cell in Cell::ALL {
            for pass in [Pass::Infer, Pass::Step, Pass::Train] {
                let one = pass == Pass::Step;
                let case = Case {
                    pass,
                    cell,
                    batch: if one { 1 } else { 5 },
                    steps: if one { 1 } else { 3 },
                    input: 21,
                    hidden: 37,
                    threads: 2,
                };
                Workload::new(case, Level::best()).unwrap().check().unwrap();
            }
        }
    }

    #[test]
    fn sizes_without_sense_are_refused() {
        let case = Case {
            pass: Pass::Infer,
            cell: Cell::Lstm,
            batch: usize::MAX,
            steps: 2,
            input: 1,
            hidden: 1,
            threads: 1,
        };
        assert!(Workload::new(case, Level::best()).is_err());
        assert!(
            Workload::new(
                Case {
                    batch: 1,
                    hidden: 0,
                    ..case
                },
                Level::best()
            )
            .is_err()
        );
        for (batch, hidden) in [(1 << 58, 8), (1, 1_000_000), (1, 1 << 40)] {
            for pass in [Pass::Infer, Pass::Train] {
                let case = Case {
                    pass,
                    batch,
                    hidden,
                    ..case
                };
                assert!(Workload::new(case, Level::best()).is_err(), "{case:?}");
            }
        }
    }
}
