//! What is measured, and what it would take at the limit of the machine.

use ifog_kernels::Cell;

use super::Machine;
use crate::pool::PoolError;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// A sequence without a tape.
    Infer,
    /// One step a call, the state carried.
    Step,
    /// Forward, and BPTT to the gradients of weights, inputs and initial state.
    Train,
}

/// A cell at work, in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// What a call does.
    pub pass: Pass,
    /// The cell.
    pub cell: Cell,
    /// B; 1 for a step.
    pub batch: usize,
    /// T; 1 for a step.
    pub steps: usize,
    /// I.
    pub input: usize,
    /// H.
    pub hidden: usize,
    /// Threads; at least 1.
    pub threads: usize,
}

impl Pass {
    /// `infer`, `step`, `train`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Step => "step",
            Self::Train => "train",
        }
    }
}

impl Case {
    /// FLOPs of a call.
    pub fn flops(&self) -> f64 {
        let forward = self.rows() * self.columns() * (self.input + self.hidden) as f64 * 2.0;
        match self.pass {
            Pass::Infer | Pass::Step => forward,
            Pass::Train => 3.0 * forward,
        }
    }

    /// Seconds below which no implementation in f32 can be on this machine.
    ///
    /// # Errors
    /// The machine cannot be measured with so many threads.
    pub fn bound(&self, machine: &mut Machine) -> Result<f64, PoolError> {
        let (w, u) = (self.matrix(self.input), self.matrix(self.hidden));
        let peak = machine.peak(self.threads)?;
        // A product of all rows with a matrix reads it once; the recurrence reads U at every step.
        let mut product = |bytes: f64, rows: f64| {
            let flops = rows * bytes / 2.0;
            let bandwidth = machine.bandwidth(bytes, self.threads)?;
            Ok::<_, PoolError>((flops / peak).max(bytes / bandwidth))
        };
        let recurrence = product(u, self.batch as f64)? * self.steps as f64;
        Ok(match self.pass {
            Pass::Step => product(w + u, self.batch as f64)?,
            Pass::Infer => product(w, self.rows())? + recurrence,
            // Forward; dA Uᵀ at every step; dX, dW and dU over the window.
            Pass::Train => {
                2.0 * recurrence + 3.0 * product(w, self.rows())? + product(u, self.rows())?
            }
        })
    }

    fn rows(&self) -> f64 {
        (self.steps * self.batch) as f64
    }

    fn columns(&self) -> f64 {
        (self.cell.gates() * self.hidden) as f64
    }

    /// Bytes of a matrix `[k, G·H]`.
    fn matrix(&self, k: usize) -> f64 {
        4.0 * k as f64 * self.columns()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn flops_of_the_definition() {
        let case = Case {
            pass: Pass::Train,
            cell: Cell::GruAfter,
            batch: 3,
            steps: 5,
            input: 7,
            hidden: 11,
            threads: 1,
        };
        assert_eq!(case.flops(), (3 * 2 * 5 * 3 * 3 * 11 * (7 + 11)) as f64);
    }

    /// At a batch that no bandwidth limits, the bound of a pass is its FLOPs at the peak.
    #[test]
    fn a_large_batch_is_bound_by_the_peak() {
        for pass in [Pass::Infer, Pass::Train] {
            let case = Case {
                pass,
                cell: Cell::Lstm,
                batch: 512,
                steps: 2,
                input: 40,
                hidden: 64,
                threads: 1,
            };
            let mut machine = Machine::assumed(100e9, 50e9);
            let bound = case.bound(&mut machine).unwrap();
            assert!(
                (bound / (case.flops() / 100e9) - 1.0).abs() < 1e-12,
                "{bound}"
            );
        }
    }

    /// One row: 2 FLOPs for 4 bytes, so the bandwidth decides.
    #[test]
    fn a_single_row_is_bound_by_reading_u() {
        let case = Case {
            pass: Pass::Infer,
            cell: Cell::Lstm,
            batch: 1,
            steps: 1000,
            input: 1,
            hidden: 64,
            threads: 1,
        };
        let mut machine = Machine::assumed(100e9, 50e9);
        let reading = 1000.0 * 4.0 * 4.0 * 64.0 * 64.0 / 50e9;
        let bound = case.bound(&mut machine).unwrap();
        assert!(bound > reading && bound < 1.02 * reading, "{bound}");
    }
}
