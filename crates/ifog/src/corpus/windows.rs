//! The windows that training and evaluation read from a part.

use std::ops::Range;

use super::{CorpusError, Part};

/// Some steps of B parallel streams, time-major: the pair of step t and stream b is at `t·B + b`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Tokens `[T, B]`.
    pub inputs: Vec<u32>,
    /// The tokens that follow them, `[T, B]`.
    pub targets: Vec<u32>,
    /// Steps T.
    pub seq_len: usize,
    /// Streams B.
    pub batch: usize,
    /// How many pairs count: the first `counted` of the `T·B`. Less than all only in the last window
    /// of an evaluation, where some streams are one pair shorter; what follows is token 0 and must
    /// be left out of the loss.
    pub counted: usize,
    /// Whether the streams start here, so that the state carried over must be zero.
    pub first: bool,
}

/// The windows of a training part, epoch after epoch.
///
/// The n pairs of a single run are read as B streams of ⌊n/B⌋, stream b from b·⌊n/B⌋ on; several
/// runs are one stream each. Window k is pairs k·T to (k + 1)·T of every stream, so the state is
/// carried from window to window. An epoch is all whole windows; the up to T − 1 pairs a stream and
/// B − 1 at the end that are left over are not trained on. At the start of every epoch
/// [`Window::first`] is set.
#[derive(Clone, Debug)]
pub struct TrainingWindows {
    /// Start of each stream.
    starts: Vec<usize>,
    windows_per_epoch: usize,
    seq_len: usize,
    position: Position,
}

/// Where [`TrainingWindows`] stand, as plain integers, for checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Epochs completed.
    pub epoch: u64,
    /// Windows read of the current one.
    pub window: u64,
}

/// One pass over a part in which every pair counts exactly once.
///
/// A single run of n pairs is read as B streams of ⌈n/B⌉ or ⌊n/B⌋ pairs, the longer ones first;
/// several runs are one stream each. So B changes the result only in this: B times instead of once,
/// the model starts from the zero state. With B = 1 it reads the text from end to end. The last
/// window is as short as it must be ([`Window::counted`]). T changes neither the pairs nor what the
/// model has read before each.
#[derive(Clone, Debug)]
pub struct EvaluationWindows {
    /// Lengths do not increase, and differ by at most 1.
    streams: Vec<Range<usize>>,
    seq_len: usize,
    /// Steps already read of every stream.
    done: usize,
}

impl TrainingWindows {
    /// `batch · seq_len` must not exceed the pairs of a single run; runs are equally long.
    pub(super) fn new(part: &Part, batch: usize, seq_len: usize) -> Self {
        let (starts, stream_len) = match &part.runs[..] {
            [run] => {
                let len = run.len() / batch;
                ((0..batch).map(|b| run.start + b * len).collect(), len)
            }
            runs => (runs.iter().map(|run| run.start).collect(), runs[0].len()),
        };
        Self {
            starts,
            windows_per_epoch: stream_len / seq_len,
            seq_len,
            position: Position::default(),
        }
    }

    /// Reads the next window into `window`, which keeps its memory from call to call.
    ///
    /// # Panics
    ///
    /// If `tokens` is shorter than the text of the corpus.
    pub fn read(&mut self, tokens: &[u32], window: &mut Window) {
        let offset = self.position.window as usize * self.seq_len;
        let starts = self.starts.iter().map(|start| start + offset);
        window.fill(tokens, starts, self.seq_len);
        window.first = self.position.window == 0;
        self.position.window += 1;
        if self.position.window == self.windows_per_epoch as u64 {
            self.position.window = 0;
            self.position.epoch = self.position.epoch.saturating_add(1);
        }
    }

    /// Windows of an epoch, at least 1.
    #[must_use]
    pub fn windows_per_epoch(&self) -> usize {
        self.windows_per_epoch
    }

    /// Where the next window is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes on from a stored position. The state carried between windows is not part of it.
    ///
    /// # Errors
    ///
    /// [`CorpusError::Position`] if an epoch has no such window.
    pub fn seek(&mut self, position: Position) -> Result<(), CorpusError> {
        if position.window >= self.windows_per_epoch as u64 {
            return Err(CorpusError::Position {
                window: position.window,
                windows_per_epoch: self.windows_per_epoch,
            });
        }
        self.position = position;
        Ok(())
    }
}

impl EvaluationWindows {
    /// Zero `batch` or `seq_len` counts as 1.
    pub(super) fn new(part: &Part, batch: usize, seq_len: usize) -> Self {
        Self {
            streams: match &part.runs[..] {
                [run] => even_streams(run, batch.clamp(1, run.len())),
                runs => runs.to_vec(),
            },
            seq_len: seq_len.max(1),
            done: 0,
        }
    }

    /// Streams B of every window.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.streams.len()
    }

    /// Reads the next window into `window`; `false` if there is none.
    ///
    /// # Panics
    ///
    /// If `tokens` is shorter than the text of the corpus.
    pub fn read(&mut self, tokens: &[u32], window: &mut Window) -> bool {
        let longest = self.streams[0].len();
        let steps = self.seq_len.min(longest - self.done);
        if steps == 0 {
            return false;
        }
        // The step that only the longer streams have stands alone in `rows`; they come first.
        let end = self.done + steps;
        let rows = self.streams.iter().take_while(|s| s.len() >= end).count();
        let done = self.done;
        let starts = self.streams.iter().map(|stream| stream.start + done);
        if rows == self.batch() {
            window.fill(tokens, starts, steps);
        } else {
            window.fill(tokens, starts.clone(), steps - 1);
            let last = starts.take(rows).map(|start| start + steps - 1);
            window.append_step(tokens, last, self.batch());
        }
        window.first = done == 0;
        self.done = end;
        true
    }
}

impl Window {
    /// `seq_len` steps of streams that start at `starts`.
    fn fill(
        &mut self,
        tokens: &[u32],
        starts: impl ExactSizeIterator<Item = usize> + Clone,
        seq_len: usize,
    ) {
        self.batch = starts.len();
        self.seq_len = seq_len;
        self.inputs.clear();
        self.targets.clear();
        for t in 0..seq_len {
            self.inputs.extend(starts.clone().map(|p| tokens[p + t]));
            self.targets
                .extend(starts.clone().map(|p| tokens[p + t + 1]));
        }
        self.counted = self.targets.len();
    }

    /// One more step, of fewer streams than `batch`.
    fn append_step(
        &mut self,
        tokens: &[u32],
        positions: impl Iterator<Item = usize> + Clone,
        batch: usize,
    ) {
        self.inputs.extend(positions.clone().map(|p| tokens[p]));
        self.targets.extend(positions.map(|p| tokens[p + 1]));
        self.counted = self.targets.len();
        self.seq_len += 1;
        self.inputs.resize(self.seq_len * batch, 0);
        self.targets.resize(self.seq_len * batch, 0);
    }
}

/// A run as `batch` ≤ its length streams, the longer ones first.
fn even_streams(run: &Range<usize>, batch: usize) -> Vec<Range<usize>> {
    let (len, longer) = (run.len() / batch, run.len() % batch);
    let start = |b: usize| run.start + b * len + b.min(longer);
    (0..batch).map(|b| start(b)..start(b + 1)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::corpus::tests::{corpus, epoch};
    use crate::corpus::{Corpus, PartName, Split};

    #[test]
    fn windows_are_time_major_and_carry_on() {
        let corpus = corpus(24, Split::Contiguous, 0.0, 0.0, 2, 3);
        // 23 pairs: two streams of 11, from 0 and 11, three windows of 3 each.
        let windows = epoch(&corpus);
        let inputs: Vec<_> = windows.iter().map(|w| w.inputs.clone()).collect();
        assert_eq!(
            inputs,
            [
                [0, 11, 1, 12, 2, 13],
                [3, 14, 4, 15, 5, 16],
                [6, 17, 7, 18, 8, 19]
            ]
        );
        assert!(windows[0].first && !windows[1].first && !windows[2].first);

        let mut endless = corpus.training_windows();
        let mut window = Window::default();
        for _ in 0..4 {
            endless.read(corpus.tokens(), &mut window);
        }
        assert_eq!(
            window, windows[0],
            "the next epoch starts over, with `first` set"
        );
        assert_eq!(
            endless.position(),
            Position {
                epoch: 1,
                window: 1
            }
        );
    }

    #[test]
    fn windows_of_streams_stay_in_their_part() {
        let corpus = corpus(101, Split::Streams, 0.2, 0.1, 2, 5);
        let windows = epoch(&corpus);
        assert_eq!(windows.len(), 7);
        let mut inputs: Vec<u32> = windows.iter().flat_map(|w| w.inputs.clone()).collect();
        inputs.sort_unstable();
        assert!(inputs.into_iter().eq((0..35).chain(50..85)));
    }

    /// For every batch and window: each pair of the part counts once, in the order of its stream.
    #[test]
    fn evaluation_counts_every_pair_once() {
        for split in [Split::Contiguous, Split::Streams] {
            for len in [2, 3, 7, 30, 61] {
                let corpus = corpus(len, split, 0.3, 0.0, 3, 2);
                for name in [PartName::Train, PartName::Val, PartName::All] {
                    let part = corpus.part(name).unwrap();
                    for batch in [0, 1, 2, 3, 4, 7, 100] {
                        for seq_len in [0, 1, 2, 5, 100] {
                            check_coverage(&corpus, &part, batch, seq_len);
                        }
                    }
                }
            }
        }
    }

    fn check_coverage(corpus: &Corpus, part: &Part, batch: usize, seq_len: usize) {
        let mut windows = part.evaluation_windows(batch, seq_len);
        let mut window = Window::default();
        let mut counted = Vec::new();
        let mut previous: Vec<Option<u32>> = vec![None; windows.batch()];
        let mut first = true;
        while windows.read(corpus.tokens(), &mut window) {
            assert_eq!(window.first, std::mem::take(&mut first));
            assert_eq!(window.batch, windows.batch());
            assert_eq!(window.inputs.len(), window.seq_len * window.batch);
            assert_eq!(window.targets.len(), window.inputs.len());
            assert!(window.counted + window.batch > window.inputs.len());
            for (at, (&input, &target)) in window.inputs.iter().zip(&window.targets).enumerate() {
                if at >= window.counted {
                    assert_eq!((input, target), (0, 0));
                    continue;
                }
                assert_eq!(input + 1, target);
                let previous = &mut previous[at % window.batch];
                assert!(previous.is_none_or(|p| p + 1 == input));
                *previous = Some(input);
                counted.push(input as usize);
            }
        }
        assert!(!windows.read(corpus.tokens(), &mut window));
        counted.sort_unstable();
        let all: Vec<usize> = part.runs.iter().cloned().flatten().collect();
        assert_eq!(counted, all, "B = {batch}, T = {seq_len}");
    }

    #[test]
    fn a_position_is_restored() {
        let corpus = corpus(50, Split::Contiguous, 0.0, 0.0, 2, 4);
        let mut windows = corpus.training_windows();
        let mut window = Window::default();
        for _ in 0..9 {
            windows.read(corpus.tokens(), &mut window);
        }
        let position = windows.position();
        assert_eq!(
            position,
            Position {
                epoch: 1,
                window: 3
            }
        );
        let mut again = corpus.training_windows();
        again.seek(position).unwrap();
        let mut other = Window::default();
        for _ in 0..10 {
            windows.read(corpus.tokens(), &mut window);
            again.read(corpus.tokens(), &mut other);
            assert_eq!(window, other);
        }
        for window in [6, u64::MAX] {
            let error = again.seek(Position { epoch: 0, window }).unwrap_err();
            assert!(error.to_string().contains("has only 6 here"), "{error}");
        }
    }
}
