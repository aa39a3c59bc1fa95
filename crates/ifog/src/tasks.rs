//! The classic tasks that can only be solved by remembering over many steps, drawn from a seed.
//!
//! | task | input | to predict | from |
//! |---|---|---|---|
//! | adding | a number in \[0, 1) and a mark | the sum of the two marked numbers, at the end | Hochreiter & Schmidhuber 1997, experiment 4 |
//! | copy | 10 symbols of 8, then blanks, then a signal | the 10 symbols after the signal | the same; Arjovsky, Shah & Bengio 2016 |
//! | order | X or Y at two places among distractors | XX, XY, YX or YY, at the end | Hochreiter & Schmidhuber 1997, experiment 6a |
//! | parity | bits | whether the ones so far are odd, at every step | Graves 2016 |

mod norm_limit;
pub mod trainer;

use crate::rng::{Rng, Stream};

/// A task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Two of many numbers are marked: their sum.
    Adding,
    /// Repeat ten symbols after a pause.
    Copy,
    /// In which order two symbols came.
    Order,
    /// Whether the number of ones is odd.
    Parity,
}

/// Sequences of equal length, time-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequences {
    /// Steps.
    pub steps: usize,
    /// `[steps · B, I]`.
    pub inputs: Vec<f32>,
    /// What is asked for.
    pub targets: Targets,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A number after the last step, `[B]`.
    Number(Vec<f32>),
    /// A class at each of the last steps, `[steps, B]` of them.
    Classes(Vec<u32>),
}

/// Draws sequences of a task.
#[derive(Clone, Debug)]
pub struct Source {
    task: Task,
    length: usize,
    rng: Rng,
}

impl Task {
    /// All.
    pub const ALL: [Self; 4] = [Self::Adding, Self::Copy, Self::Order, Self::Parity];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adding => "adding",
            Self::Copy => "copy",
            Self::Order => "order",
            Self::Parity => "parity",
        }
    }

    /// I, the width of the input.
    pub fn inputs(self) -> usize {
        match self {
            Self::Adding => 2,
            Self::Copy => SYMBOLS + 2,
            Self::Order => ORDER_SYMBOLS,
            Self::Parity => 1,
        }
    }

    /// O, the width of the output.
    pub fn outputs(self) -> usize {
        match self {
            Self::Adding => 1,
            Self::Copy => SYMBOLS + 1,
            Self::Order => 4,
            Self::Parity => 2,
        }
    }

    /// The shortest T that the task makes sense for.
    pub fn shortest(self) -> usize {
        match self {
            Self::Adding | Self::Order => 20,
            Self::Copy | Self::Parity => 1,
        }
    }

    /// The loss of the best answer without memory: the variance of the sum of two uniform numbers, 1/6; 10 ln 8/(T + 20)
    /// nats a step, with the blanks known; ln 4; ln 2.
    pub fn baseline(self, length: usize) -> f64 {
        match self {
            Self::Adding => 1.0 / 6.0,
            Self::Copy => COPIED as f64 * (SYMBOLS as f64).ln() / (length + 2 * COPIED) as f64,
            Self::Order => 4f64.ln(),
            Self::Parity => 2f64.ln(),
        }
    }
}

impl Source {
    /// Sequences of nominal length T.
    pub fn new(task: Task, length: usize, seed: u64) -> Self {
        let length = length.max(task.shortest());
        let rng = Rng::new(seed, Stream::Data);
        Self { task, length, rng }
    }

    /// The next `batch` sequences, all as long as each other.
    pub fn draw(&mut self, batch: usize) -> Sequences {
        match self.task {
            Task::Adding => self.adding(batch),
            Task::Copy => self.copy(batch),
            Task::Order => self.order(batch),
            Task::Parity => self.parity(batch),
        }
    }

    /// T to 1.1 T steps; one mark in the first ten steps, the other in the first half: at least T/2 steps to the end.
    fn adding(&mut self, batch: usize) -> Sequences {
        let steps = self.length + self.below(self.length / 10 + 1);
        let mut inputs = vec![0.0; steps * batch * 2];
        let mut sums = vec![0.0; batch];
        for number in inputs.chunks_exact_mut(2) {
            number[0] = self.rng.uniform_f32(0.0, 1.0);
        }
        for (b, sum) in sums.iter_mut().enumerate() {
            let first = self.below(10);
            let mut second = self.below(self.length / 2 - 1);
            if second >= first {
                second += 1;
            }
            for t in [first, second] {
                let at = (t * batch + b) * 2;
                inputs[at + 1] = 1.0;
                *sum += inputs[at];
            }
        }
        Sequences {
            steps,
            inputs,
            targets: Targets::Number(sums),
        }
    }

    /// 10 symbols, T − 1 blanks, the signal, 10 blanks; blanks are to be answered but for the last 10 steps.
    fn copy(&mut self, batch: usize) -> Sequences {
        let steps = self.length + 2 * COPIED;
        let mut symbols = vec![BLANK; steps * batch];
        let mut classes = vec![BLANK as u32; steps * batch];
        for b in 0..batch {
            for t in 0..COPIED {
                let symbol = self.below(SYMBOLS);
                symbols[t * batch + b] = symbol;
                classes[(steps - COPIED + t) * batch + b] = symbol as u32;
            }
            symbols[(self.length + COPIED - 1) * batch + b] = SIGNAL;
        }
        Sequences {
            steps,
            inputs: one_hot(&symbols, SYMBOLS + 2),
            targets: Targets::Classes(classes),
        }
    }

    /// Begin, distractors with X or Y at a place in the second tenth and at one in the sixth, end.
    fn order(&mut self, batch: usize) -> Sequences {
        let steps = self.length + self.below(self.length / 10 + 1);
        let tenth = self.length / 10;
        let mut symbols: Vec<usize> = (0..steps * batch).map(|_| self.below(4)).collect();
        let mut classes = vec![0; batch];
        for (b, class) in classes.iter_mut().enumerate() {
            symbols[b] = BEGIN;
            symbols[(steps - 1) * batch + b] = END;
            for start in [tenth, 5 * tenth] {
                let t = start + self.below(tenth);
                let which = self.below(2);
                symbols[t * batch + b] = X + which;
                *class = 2 * *class + which as u32;
            }
        }
        Sequences {
            steps,
            inputs: one_hot(&symbols, ORDER_SYMBOLS),
            targets: Targets::Classes(classes),
        }
    }

    /// Bits as −1 and 1.
    fn parity(&mut self, batch: usize) -> Sequences {
        let steps = self.length;
        let mut odd = vec![0; batch];
        let mut inputs = Vec::with_capacity(steps * batch);
        let mut classes = Vec::with_capacity(steps * batch);
        for _ in 0..steps {
            for odd in &mut odd {
                let bit = self.below(2);
                *odd = (*odd + bit as u32) % 2;
                inputs.push(if bit == 1 { 1.0 } else { -1.0 });
                classes.push(*odd);
            }
        }
        Sequences {
            steps,
            inputs,
            targets: Targets::Classes(classes),
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.rng.below(n as u64) as usize
    }
}

fn one_hot(symbols: &[usize], width: usize) -> Vec<f32> {
    let mut rows = vec![0.0; symbols.len() * width];
    for (row, symbol) in rows.chunks_exact_mut(width).zip(symbols) {
        row[*symbol] = 1.0;
    }
    rows
}

/// Symbols that are copied.
const COPIED: usize = 10;
/// Kinds of them; the blank and the signal have the next numbers.
const SYMBOLS: usize = 8;
const BLANK: usize = SYMBOLS;
const SIGNAL: usize = SYMBOLS + 1;
/// Of the order task: four distractors, begin, end, X, Y.
const ORDER_SYMBOLS: usize = 8;
const BEGIN: usize = 4;
const END: usize = 5;
const X: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: usize = 300;

    fn draw(task: Task, length: usize) -> Sequences {
        Source::new(task, length, 5).draw(BATCH)
    }

    #[test]
    fn two_numbers_are_marked_and_summed() {
        let Sequences {
            steps,
            inputs,
            targets,
        } = draw(Task::Adding, 40);
        assert!((40..=44).contains(&steps));
        let Targets::Number(sums) = targets else {
            panic!()
        };
        let mut mean = 0.0;
        for (b, sum) in sums.iter().enumerate() {
            let rows = (0..steps).map(|t| &inputs[(t * BATCH + b) * 2..][..2]);
            let marked: Vec<(usize, f32)> = rows
                .enumerate()
                .filter(|(_, r)| r[1] == 1.0)
                .map(|(t, r)| (t, r[0]))
                .collect();
            assert_eq!(marked.len(), 2);
            assert!(marked[0].0 < 10 && marked[1].0 < 20, "{marked:?}");
            assert!((marked[0].1 + marked[1].1 - sum).abs() < 1e-6);
            mean += (sum - 1.0).powi(2) / BATCH as f32;
        }
        // The variance 1/6 of 300 draws is known to within 0.02 (three standard deviations).
        assert!(
            (f64::from(mean) - Task::Adding.baseline(40)).abs() < 0.025,
            "{mean}"
        );
    }

    #[test]
    fn symbols_come_back_after_the_signal() {
        let Sequences {
            steps,
            inputs,
            targets,
        } = draw(Task::Copy, 7);
        assert_eq!(steps, 27);
        let Targets::Classes(classes) = targets else {
            panic!()
        };
        let symbol = |t: usize, b: usize| {
            let row = &inputs[(t * BATCH + b) * 10..][..10];
            row.iter().position(|x| *x == 1.0).unwrap_or(99)
        };
        for b in 0..BATCH {
            assert_eq!(symbol(16, b), SIGNAL);
            for t in 0..10 {
                assert_eq!(classes[(17 + t) * BATCH + b] as usize, symbol(t, b));
                assert_eq!(symbol(17 + t, b), BLANK);
            }
            assert!((0..17).all(|t| classes[t * BATCH + b] as usize == BLANK));
        }
    }

    #[test]
    fn order_and_parity_follow_from_the_input() {
        let Sequences {
            steps,
            inputs,
            targets,
        } = draw(Task::Order, 50);
        let Targets::Classes(classes) = targets else {
            panic!()
        };
        for (b, class) in classes.iter().enumerate() {
            let row = |t: usize| &inputs[(t * BATCH + b) * 8..][..8];
            let seen: Vec<u32> = (0..steps)
                .filter_map(|t| (6..8).find(|s| row(t)[*s] == 1.0).map(|s| s as u32 - 6))
                .collect();
            assert_eq!(seen.len(), 2);
            assert_eq!(*class, 2 * seen[0] + seen[1]);
            assert_eq!((row(0)[BEGIN], row(steps - 1)[END]), (1.0, 1.0));
        }
        let Sequences {
            inputs, targets, ..
        } = draw(Task::Parity, 9);
        let Targets::Classes(classes) = targets else {
            panic!()
        };
        for b in 0..BATCH {
            let ones = (0..9).filter(|t| inputs[t * BATCH + b] == 1.0).count();
            assert_eq!(classes[8 * BATCH + b] as usize, ones % 2);
        }
    }
}
