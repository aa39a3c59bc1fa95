//! Training on a task until its criterion, with fresh sequences in every step.

use std::collections::VecDeque;

use ifog_kernels::{Cell, Level, Threads};

use super::norm_limit::NormLimit;
use super::{Sequences, Source, Targets, Task};
use crate::clip::ClipRule;
use crate::config::{ConfigError, InputConfig, NetworkConfig};
use crate::cost::{MemoryError, check_memory};
use crate::fit::{Diverged, Fit, FitConfig, FitError, Fitter};
use crate::init::{Init, chrono_biases, initial_parameters};
use crate::loss::{softmax_cross_entropy, squared_error};
use crate::network::{Inputs, Packed, Reader};
use crate::optimizer::OptimizerConfig;
use crate::parameters::Layout;
use crate::pool::{Pool, PoolError};

/// A run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskConfig {
    /// What to learn.
    pub task: Task,
    /// T, the nominal length.
    pub length: usize,
    /// The cell.
    pub cell: Cell,
    /// H.
    pub hidden: usize,
    /// Sequences a step.
    pub batch: usize,
    /// η, the learning rate of Adam at the start.
    pub lr: f64,
    /// N of η/√(1 + n/N), the rate after n sequences; 0: it stays.
    pub lr_decay: u64,
    /// β₂ of Adam.
    pub beta2: f64,
    /// Largest global norm of the gradient.
    pub clip_norm: f64,
    /// d of the averaged weights that answer ([`crate::average`]); 0: those that learn do.
    pub ema: f64,
    /// Longest time scale in steps that the gates start with, at least 3 ([`chrono_biases`]); 0: none.
    pub chrono: u64,
    /// Where weights and sequences come from.
    pub seed: u64,
    /// 0: one for each core.
    pub threads: usize,
}

/// A network that learns a task.
#[derive(Debug)]
pub struct TaskTrainer {
    config: TaskConfig,
    source: Source,
    pool: Pool,
    parameters: Vec<f32>,
    fitter: Fitter,
    limit: NormLimit,
    averaged: Option<Averaged>,
    sequences: u64,
    /// Error of each of the last [`JUDGED`] sequences.
    recent: VecDeque<Verdict>,
}

/// What answers in the place of the weights that learn, which the last steps have pulled about.
#[derive(Debug)]
struct Averaged {
    weights: Packed<f32>,
    reader: Reader<f32>,
}

/// How a sequence was answered, before the network learnt from it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Verdict {
    error: f64,
    right: bool,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskStep {
    /// Sequences seen, these included.
    pub sequences: u64,
    /// Mean loss of these: squared error, or nats a step.
    pub loss: f64,
    /// Mean over the last 2,000: of the absolute error on the scale of 1997, or of sequences that were not all right.
    pub recent_error: f64,
    /// Share of the last 2,000 that were right.
    pub recent_right: f64,
    /// Whether the criterion holds: the last 2,000 all right, and for adding a mean error below 0.01.
    pub solved: bool,
}

/// Why a task cannot be learnt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// T is too small.
    #[error("{task} needs a length of at least {least}, not {length}")]
    Length {
        /// Which task.
        task: &'static str,
        /// Asked for.
        length: usize,
        /// Possible.
        least: usize,
    },
    /// A time scale too short to spread others below it.
    #[error("chrono = {0} is out of range: give at least 3 steps, or 0 for none")]
    Chrono(u64),
    /// The loss is not finite, or the gradient of many steps in a row.
    #[error("training diverged after {0} sequences: lower the learning rate")]
    Diverged(u64),
    /// The network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// More memory than the machine has.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// What a step stands on: optimiser, clipping, average, or `IFOG_ISA`.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The threads.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

impl TaskConfig {
    /// Settings with which the cell learns the task: gates for time scales up to T, for copying up to 10 T.
    ///
    /// Copying has its gradient cut to a norm of 2.2/(T + 20): the loss is a mean over T + 20 steps, of which ten ask, and this
    /// is about the median of its gradients' norms over the first 30,000 sequences, the longest being hundreds of times as long. With
    /// them, Adam's second moment is better short of memory, but for an LSTM: its memory is not bounded, and at T = 200 it lost after
    /// 125,000 sequences what it had learnt. What each setting is for was measured at T = 50: docs/why.md.
    pub fn new(task: Task, cell: Cell, length: usize) -> Self {
        let copies = task == Task::Copy;
        let bounded = copies && cell != Cell::Lstm;
        let (lr, lr_decay) = match (copies, bounded) {
            (false, _) => (1e-2, 10_000),
            (true, false) => (2e-2, 10_000),
            (true, true) => (1.2e-2, 40_000),
        };
        let longest = length.saturating_mul(if copies { 10 } else { 1 }) as u64;
        Self {
            task,
            length,
            cell,
            hidden: if copies { 128 } else { 64 },
            batch: if copies { 10 } else { 20 },
            lr,
            lr_decay,
            beta2: if bounded { 0.95 } else { 0.999 },
            clip_norm: if copies {
                2.2 / (length as f64 + 2.0 * super::COPIED as f64)
            } else {
                1.0
            },
            // Two steps and less are no range of time scales.
            chrono: if longest > 2 { longest } else { 0 },
            ema: if copies { 0.99 } else { 0.0 },
            seed: 0,
            threads: 0,
        }
    }
}

impl Averaged {
    /// Answers of the averaged `parameters` to a window, `[steps · B, O]`.
    fn answer(&mut self, parameters: &[f32], inputs: Inputs<'_, f32>, steps: usize) -> &[f32] {
        let threads = Threads::current();
        self.weights.load(parameters, threads);
        self.reader.state.reset();
        self.reader.read(&self.weights, inputs, steps, threads)
    }
}

impl TaskTrainer {
    /// A fresh network.
    ///
    /// # Errors
    /// The length does not suit the task, or a size is 0 or too large.
    pub fn new(config: TaskConfig) -> Result<Self, TaskError> {
        let TaskConfig {
            task,
            length,
            batch,
            ..
        } = config;
        if length < task.shortest() {
            return Err(TaskError::Length {
                task: task.name(),
                length,
                least: task.shortest(),
            });
        }
        if (1..=2).contains(&config.chrono) {
            return Err(TaskError::Chrono(config.chrono));
        }
        for (what, value) in [("batch", batch), ("length", length)] {
            if value == 0 {
                return Err(ConfigError::Zero { what }.into());
            }
            if value > NetworkConfig::MAX_WIDTH {
                let most = NetworkConfig::MAX_WIDTH;
                return Err(ConfigError::TooLarge { what, value, most }.into());
            }
        }
        let layout = Layout::new(NetworkConfig {
            cell: config.cell,
            input: InputConfig::Dense {
                width: task.inputs(),
            },
            hidden: config.hidden,
            layers: 1,
            outputs: task.outputs(),
        })?;
        let steps = length + length / 10 + 2 * super::COPIED;
        check_memory(&layout, 1, steps, batch, size_of::<f32>())?;
        let pool = Pool::new(config.threads)?;
        let mut parameters = initial_parameters(&layout, Init::Uniform, 1.0, config.seed);
        // A plain RNN has no gates for them.
        let timed = config.chrono > 0 && chrono_biases(&layout, &mut parameters, config.chrono);
        let chrono = if timed { config.chrono } else { 0 };
        let mut optimizer = OptimizerConfig::adam();
        if let OptimizerConfig::Adam { beta2, .. } = &mut optimizer {
            *beta2 = config.beta2;
        }
        let fit = FitConfig {
            optimizer,
            clip: ClipRule::GlobalNorm(config.clip_norm),
            ema: config.ema,
            ..FitConfig::default()
        };
        let room = (steps, batch);
        let fitter =
            pool.install(|| Fitter::new(&layout, &parameters, room, fit, Threads::current()))?;
        let averaged = (config.ema > 0.0).then(|| {
            let weights = Packed::new(&layout, fitter.level, false)?;
            Ok(Averaged {
                reader: Reader::new(&weights, steps, batch)?,
                weights,
            })
        });
        Ok(Self {
            source: Source::new(task, length, config.seed),
            limit: NormLimit::new(config.clip_norm),
            averaged: averaged.transpose().map_err(TaskError::Config)?,
            sequences: 0,
            recent: VecDeque::with_capacity(JUDGED),
            config: TaskConfig { chrono, ..config },
            pool,
            parameters,
            fitter,
        })
    }

    /// The settings; those that the cell has no use for are 0.
    pub fn config(&self) -> &TaskConfig {
        &self.config
    }

    /// How many parameters.
    pub fn parameters(&self) -> usize {
        self.parameters.len()
    }

    /// Answers the next sequences, and learns from them, unless their gradient overflows.
    ///
    /// # Errors
    /// The loss is not finite, or the gradient of many steps in a row.
    pub fn step(&mut self) -> Result<TaskStep, TaskError> {
        let sequences = self.source.draw(self.config.batch);
        let decay = match self.config.lr_decay {
            0 => 1.0,
            after => (1.0 + self.sequences as f64 / after as f64).sqrt(),
        };
        let lr = self.config.lr / decay;
        let (outputs, batch) = (self.config.task.outputs(), self.config.batch);
        let limit = self.fitter.set_clip(ClipRule::GlobalNorm(self.limit.now()));
        limit.map_err(FitError::from)?;
        let (fitter, parameters) = (&mut self.fitter, &mut self.parameters);
        let (level, averaged) = (fitter.level, &mut self.averaged);
        let mut verdicts = Vec::new();
        let fit = self.pool.install(|| {
            let inputs = Inputs::Vectors(&sequences.inputs);
            let (steps, targets) = (sequences.steps, &sequences.targets);
            if let Some(averaged) = averaged {
                let answers = averaged.answer(fitter.evaluated(parameters), inputs, steps);
                verdicts = judge(answers, outputs, batch, targets);
            }
            fitter.state_mut().reset();
            fitter.step(parameters, lr, inputs, steps, |_, answers| {
                if verdicts.is_empty() {
                    verdicts = judge(answers, outputs, batch, targets);
                }
                loss(level, answers, outputs, &sequences)
            })
        });
        let Fit { loss, grad_norm } = fit.unwrap_or_else(|Diverged { fit, .. }| fit);
        if !self.limit.saw(grad_norm) || !loss.is_finite() {
            return Err(TaskError::Diverged(self.sequences));
        }
        self.sequences += self.config.batch as u64;
        self.recent.extend(verdicts);
        let surplus = self.recent.len().saturating_sub(JUDGED);
        self.recent.drain(..surplus);
        Ok(self.report(loss))
    }

    fn report(&self, loss: f64) -> TaskStep {
        let count = self.recent.len() as f64;
        let recent_error = self.recent.iter().map(|v| v.error).sum::<f64>() / count;
        let right = self.recent.iter().filter(|v| v.right).count();
        let precise = self.config.task != Task::Adding || recent_error < MEAN_ERROR;
        TaskStep {
            sequences: self.sequences,
            loss,
            recent_error,
            recent_right: right as f64 / count,
            solved: right == JUDGED && precise,
        }
    }
}

/// The loss of the answers `[steps · B, O]`, whose gradient takes their place: 0 at steps that nothing is asked at.
fn loss(level: Level, answers: &mut [f32], outputs: usize, sequences: &Sequences) -> f64 {
    let asked = match &sequences.targets {
        Targets::Number(numbers) => numbers.len(),
        Targets::Classes(classes) => classes.len() * outputs,
    };
    let (free, asked) = answers.split_at_mut(answers.len() - asked);
    free.fill(0.0);
    match &sequences.targets {
        Targets::Number(numbers) => squared_error(asked, numbers, numbers.len()),
        Targets::Classes(classes) => {
            let count = classes.len();
            softmax_cross_entropy(level, asked, outputs, classes, count)
        }
    }
}

/// A verdict for each sequence. Numbers lie in [0, 2) where those of 1997 lie in [0, 1], so their errors are halved.
fn judge(answers: &[f32], outputs: usize, batch: usize, targets: &Targets) -> Vec<Verdict> {
    match targets {
        Targets::Number(numbers) => {
            let last = &answers[answers.len() - numbers.len()..];
            let error = |(y, t): (&f32, &f32)| f64::from((y - t).abs()) / 2.0;
            let errors = last.iter().zip(numbers).map(error);
            errors
                .map(|error| Verdict {
                    error,
                    right: error < LARGEST_ERROR,
                })
                .collect()
        }
        Targets::Classes(classes) => {
            let rows = answers.len() / outputs;
            let asked = answers[(rows - classes.len()) * outputs..].chunks_exact(outputs);
            let wrong = |(row, class): (&[f32], &u32)| {
                let answer = row[*class as usize];
                row.iter()
                    .enumerate()
                    .any(|(i, y)| i != *class as usize && *y >= answer)
            };
            let wrong: Vec<bool> = asked.zip(classes).map(wrong).collect();
            let sequence = |b: usize| {
                let right = !wrong.iter().skip(b).step_by(batch).any(|w| *w);
                Verdict {
                    error: f64::from(u8::from(!right)),
                    right,
                }
            };
            (0..batch).map(sequence).collect()
        }
    }
}

/// The newest sequences, by which a task is judged.
pub const JUDGED: usize = 2000;
/// Largest and mean error that Hochreiter & Schmidhuber 1997 allow in the adding task.
const LARGEST_ERROR: f64 = 0.04;
const MEAN_ERROR: f64 = 0.01;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    fn config(task: Task) -> TaskConfig {
        TaskConfig {
            hidden: 16,
            chrono: 0,
            seed: 1,
            threads: 1,
            ..TaskConfig::new(task, Cell::Gru, 20)
        }
    }

    #[test]
    fn answers_are_judged_sequence_by_sequence() {
        let numbers = Targets::Number(vec![1.0, 0.5]);
        let verdicts = judge(&[9.0, 9.0, 1.07, 0.4], 1, 2, &numbers);
        assert!(verdicts[0].right && (verdicts[0].error - 0.035).abs() < 1e-6);
        assert!(!verdicts[1].right && (verdicts[1].error - 0.05).abs() < 1e-6);
        // Two steps of two sequences: the first is wrong at its second step, a tie is wrong.
        let classes = Targets::Classes(vec![0, 1, 1, 1]);
        let answers = [1.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.1, 0.2];
        let right: Vec<bool> = judge(&answers, 2, 2, &classes)
            .iter()
            .map(|v| v.right)
            .collect();
        assert_eq!(right, [false, true]);
        // Only the last step is asked at.
        let last = Targets::Classes(vec![1, 0]);
        let right: Vec<bool> = judge(&answers, 2, 2, &last)
            .iter()
            .map(|v| v.right)
            .collect();
        assert_eq!(right, [false, false]);
    }

    /// 10,000 sequences with the settings of the task: 0.63 of the loss without memory was seen, 0.58 and 0.67 from other seeds.
    #[test]
    fn short_words_are_copied() {
        let mut trainer = TaskTrainer::new(TaskConfig {
            hidden: 32,
            threads: 1,
            ..TaskConfig::new(Task::Copy, Cell::Lstm, 5)
        })
        .unwrap();
        let losses: Vec<f64> = (0..1000).map(|_| trainer.step().unwrap().loss).collect();
        let last = losses[950..].iter().sum::<f64>() / 50.0;
        assert!(last < 0.75 * Task::Copy.baseline(5), "{last}");
    }

    /// Each is learnt from 10,000 short sequences beyond what can be had without memory.
    #[test]
    fn short_tasks_are_learnt() {
        for task in [Task::Adding, Task::Order, Task::Parity] {
            let length = if task == Task::Parity { 5 } else { 20 };
            let mut trainer = TaskTrainer::new(TaskConfig {
                length,
                ..config(task)
            })
            .unwrap();
            let mut losses = Vec::new();
            for _ in 0..500 {
                losses.push(trainer.step().unwrap().loss);
            }
            let last = losses[490..].iter().sum::<f64>() / 10.0;
            let baseline = task.baseline(length);
            assert!(last < 0.9 * baseline, "{task:?}: {last} of {baseline}");
        }
    }

    /// The average answers, and changes nothing of what is learnt.
    #[test]
    fn averaged_weights_answer_and_others_learn() {
        let mut trainers = [0.0, 0.9].map(|ema| {
            let config = config(Task::Adding);
            TaskTrainer::new(TaskConfig { ema, ..config }).unwrap()
        });
        let mut errors = [0.0; 2];
        for _ in 0..100 {
            let [plain, averaged] = trainers.each_mut().map(|trainer| trainer.step().unwrap());
            assert_eq!(plain.loss, averaged.loss);
            errors = [plain.recent_error, averaged.recent_error];
        }
        let [plain, averaged] = errors;
        // Weights that swing around a minimum are further from it than their mean.
        assert!(averaged < plain, "{averaged} {plain}");
    }

    #[test]
    fn what_cannot_be_learnt_is_refused() {
        let new = |config| {
            TaskTrainer::new(config)
                .err()
                .map(|error| error.to_string())
        };
        for chrono in [1, 2] {
            let config = TaskConfig {
                chrono,
                ..config(Task::Order)
            };
            assert!(new(config).unwrap().contains("at least 3"));
        }
        for ema in [1.0, -0.1, f64::NAN] {
            let config = TaskConfig {
                ema,
                ..config(Task::Order)
            };
            assert!(new(config).unwrap().contains("below 1"));
        }
        let short = new(TaskConfig {
            length: 5,
            ..config(Task::Adding)
        })
        .unwrap();
        assert!(short.contains("at least 20"), "{short}");
        assert!(
            new(TaskConfig {
                hidden: 0,
                ..config(Task::Copy)
            })
            .is_some()
        );
        assert!(
            new(TaskConfig {
                batch: usize::MAX,
                ..config(Task::Copy)
            })
            .is_some()
        );
        let empty = new(TaskConfig {
            batch: 0,
            ..config(Task::Copy)
        });
        assert!(empty.unwrap().contains("batch"));
        assert!(
            new(TaskConfig {
                clip_norm: f64::NAN,
                ..config(Task::Copy)
            })
            .is_some()
        );
    }
}
