//! A text as tokens, its parts for training, validation and test, and the windows that are read
//! from them.
//!
//! The unit is the *pair*: position p stands for the input `tokens[p]` and the target
//! `tokens[p + 1]`. A [`Part`] is a list of runs of consecutive positions; training reads it through
//! [`TrainingWindows`], which go on for ever, evaluation through [`EvaluationWindows`], which count
//! every pair exactly once.

use std::ops::Range;

use split::{cut_contiguous, cut_streams};

pub use error::CorpusError;
pub use file::read_corpus_file;
pub use split::{Split, SplitConfig, fit};
pub use windows::{EvaluationWindows, Position, TrainingWindows, Window};

mod error;
mod file;
mod split;
mod windows;

/// A text as tokens, cut into parts.
///
/// ```
/// use ifog::corpus::{Corpus, Split, SplitConfig, Window};
///
/// let config = SplitConfig { split: Split::Contiguous, val: 0.1, test: 0.0, batch: 50, seq_len: 50 };
/// let corpus = Corpus::new(vec![1, 0, 2, 2, 3], config)?; // "hello"
/// assert_eq!((corpus.batch(), corpus.seq_len()), (1, 4)); // shrunk to fit, see corpus.notes()
///
/// let mut windows = corpus.training_windows();
/// let mut window = Window::default();
/// windows.read(corpus.tokens(), &mut window);
/// assert_eq!(window.inputs, [1, 0, 2, 2]);
/// assert_eq!(window.targets, [0, 2, 2, 3]);
/// # Ok::<(), ifog::corpus::CorpusError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Corpus {
    tokens: Vec<u32>,
    batch: usize,
    seq_len: usize,
    train: Part,
    val: Part,
    test: Option<Part>,
    notes: Vec<Note>,
}

/// Something that was not done as asked because the text is small. `Display` is a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Batch and window were shrunk to fit the training part.
    Shrunk {
        /// Pairs of the training part, or of the whole text with [`Split::Streams`].
        pairs: usize,
        /// (B, T) asked for.
        wanted: (usize, usize),
        /// (B, T) used.
        used: (usize, usize),
    },
    /// There is no validation part: validation reads the training part.
    ValidationIsTraining,
    /// A test part was asked for and has no pair.
    NoTest,
}

/// The parts of a corpus that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartName {
    /// What training reads.
    Train,
    /// What validation reads.
    Val,
    /// What is kept for the end.
    Test,
    /// The whole text.
    All,
}

/// Runs of consecutive pairs: position p stands for `tokens[p]` and its target `tokens[p + 1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    runs: Vec<Range<usize>>,
}

impl Corpus {
    /// Cuts a text into parts, with batch and window shrunk to fit by [`fit`].
    ///
    /// # Errors
    ///
    /// [`CorpusError::TooShort`], [`Shares`](CorpusError::Shares),
    /// [`WindowSize`](CorpusError::WindowSize).
    pub fn new(tokens: Vec<u32>, config: SplitConfig) -> Result<Self, CorpusError> {
        let SplitConfig {
            split,
            val,
            test,
            batch,
            seq_len,
        } = config;
        if tokens.len() < 2 {
            return Err(CorpusError::TooShort {
                found: tokens.len(),
            });
        }
        if !(val >= 0.0 && test >= 0.0 && val + test < 1.0) {
            return Err(CorpusError::Shares { val, test });
        }
        if batch == 0 || seq_len == 0 {
            return Err(CorpusError::WindowSize { batch, seq_len });
        }
        let cut = match split {
            Split::Contiguous => cut_contiguous(tokens.len(), config),
            Split::Streams => cut_streams(tokens.len(), config),
        };
        let mut notes = Vec::new();
        let (wanted, used) = ((batch, seq_len), (cut.batch, cut.seq_len));
        if used != wanted {
            notes.push(Note::Shrunk {
                pairs: cut.pairs,
                wanted,
                used,
            });
        }
        if cut.val.is_none() {
            notes.push(Note::ValidationIsTraining);
        }
        if test > 0.0 && cut.test.is_none() {
            notes.push(Note::NoTest);
        }
        Ok(Self {
            tokens,
            batch: cut.batch,
            seq_len: cut.seq_len,
            val: cut.val.unwrap_or_else(|| cut.train.clone()),
            train: cut.train,
            test: cut.test,
            notes,
        })
    }

    /// The whole text, for every window to be read from.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Parallel streams B of training.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Steps T of a training window.
    #[must_use]
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// What was not done as asked.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Whether the validation part is the training part, for want of another.
    pub(crate) fn validates_on_training(&self) -> bool {
        let none = |note: &Note| matches!(note, Note::ValidationIsTraining);
        self.notes.iter().any(none)
    }

    /// A part. [`PartName::Val`] is the training part if there is no other
    /// ([`Note::ValidationIsTraining`]); [`PartName::Test`] may be absent, the others never are.
    #[must_use]
    pub fn part(&self, name: PartName) -> Option<Part> {
        match name {
            PartName::Train => Some(self.train.clone()),
            PartName::Val => Some(self.val.clone()),
            PartName::Test => self.test.clone(),
            PartName::All => Part::of_tokens(0..self.tokens.len()),
        }
    }

    /// The windows to train on, from the start of the first epoch.
    #[must_use]
    pub fn training_windows(&self) -> TrainingWindows {
        TrainingWindows::new(&self.train, self.batch, self.seq_len)
    }
}

impl Part {
    /// All pairs within a range of tokens; `None` if it has fewer than two.
    #[must_use]
    pub fn of_tokens(tokens: Range<usize>) -> Option<Self> {
        (tokens.len() >= 2).then(|| {
            let pairs = tokens.start..tokens.end - 1;
            Self { runs: vec![pairs] }
        })
    }

    /// Number of pairs, at least 1.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.runs.iter().map(Range::len).sum()
    }

    /// The runs of positions, not empty and in ascending order.
    #[must_use]
    pub fn runs(&self) -> &[Range<usize>] {
        &self.runs
    }

    /// One pass over the part with about `batch` streams (a part of several runs has one stream a
    /// run) in windows of up to `seq_len` steps. Zero counts as 1, and no stream is empty.
    #[must_use]
    pub fn evaluation_windows(&self, batch: usize, seq_len: usize) -> EvaluationWindows {
        EvaluationWindows::new(self, batch, seq_len)
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shrunk {
                pairs,
                wanted,
                used,
            } => write!(
                f,
                "the text has {pairs} pair(s) to train on: batch {} and sequence length {} are \
                 used instead of {} and {}",
                used.0, used.1, wanted.0, wanted.1
            ),
            Self::ValidationIsTraining => {
                f.write_str("there is no validation part: validation reads the training part")
            }
            Self::NoTest => f.write_str("the text is too short for a test part: there is none"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    #![allow(
        clippy::single_range_in_vec_init,
        reason = "a part of one run is a list of one range"
    )]

    use super::*;

    /// Tokens that are their own position: an input says where it is from.
    pub(super) fn corpus(
        len: u32,
        split: Split,
        val: f64,
        test: f64,
        batch: usize,
        seq_len: usize,
    ) -> Corpus {
        let config = SplitConfig {
            split,
            val,
            test,
            batch,
            seq_len,
        };
        Corpus::new((0..len).collect(), config).unwrap()
    }

    fn runs(corpus: &Corpus, name: PartName) -> Vec<Range<usize>> {
        corpus
            .part(name)
            .map_or(Vec::new(), |part| part.runs.clone())
    }

    /// Windows of one epoch, with every pair checked to be consecutive tokens.
    pub(super) fn epoch(corpus: &Corpus) -> Vec<Window> {
        let mut windows = corpus.training_windows();
        (0..windows.windows_per_epoch())
            .map(|_| {
                let mut window = Window::default();
                windows.read(corpus.tokens(), &mut window);
                assert_eq!(window.inputs.len(), window.seq_len * window.batch);
                assert_eq!(window.counted, window.targets.len());
                for (input, target) in window.inputs.iter().zip(&window.targets) {
                    assert_eq!(input + 1, *target);
                }
                window
            })
            .collect()
    }

    #[test]
    fn contiguous_parts_of_tiny_shakespeare_are_those_of_nano_gpt() {
        let corpus = corpus(1_115_394, Split::Contiguous, 0.1, 0.0, 50, 50);
        assert_eq!(runs(&corpus, PartName::Train), [0..1_003_853]);
        assert_eq!(runs(&corpus, PartName::Val), [1_003_854..1_115_393]);
        assert_eq!(corpus.part(PartName::Test), None);
        assert_eq!(runs(&corpus, PartName::All), [0..1_115_393]);
        assert_eq!(corpus.training_windows().windows_per_epoch(), 401);
        assert_eq!(corpus.notes(), []);
    }

    #[test]
    fn streams_of_tiny_shakespeare_are_those_of_char_rnn() {
        // 446 windows of 50 × 50; 95 % of them are 423.
        let corpus = corpus(1_115_394, Split::Streams, 0.05, 0.0, 50, 50);
        let (train, val) = (runs(&corpus, PartName::Train), runs(&corpus, PartName::Val));
        assert_eq!((train.len(), val.len()), (50, 50));
        assert_eq!(train[0], 0..423 * 50);
        assert_eq!(val[0], 423 * 50..446 * 50);
        assert_eq!(train[1].start, 446 * 50);
        assert_eq!(val[49].end, 446 * 2500);
        assert_eq!(corpus.training_windows().windows_per_epoch(), 423);
    }

    #[test]
    fn three_parts() {
        let contiguous = corpus(100, Split::Contiguous, 0.2, 0.1, 2, 5);
        assert_eq!(runs(&contiguous, PartName::Train), [0..69]);
        assert_eq!(runs(&contiguous, PartName::Val), [70..89]);
        assert_eq!(runs(&contiguous, PartName::Test), [90..99]);
        let streams = corpus(101, Split::Streams, 0.2, 0.1, 2, 5);
        assert_eq!(runs(&streams, PartName::Train), [0..35, 50..85]);
        assert_eq!(runs(&streams, PartName::Val), [35..45, 85..95]);
        assert_eq!(runs(&streams, PartName::Test), [45..50, 95..100]);
        // 1 − 0.9 in floating point is below 0.1.
        assert_eq!(
            runs(
                &corpus(100, Split::Contiguous, 0.9, 0.0, 1, 1),
                PartName::Train
            ),
            [0..9]
        );
    }

    #[test]
    fn five_bytes_are_enough() {
        for split in [Split::Contiguous, Split::Streams] {
            let corpus = corpus(5, split, 0.1, 0.0, 50, 50);
            assert_eq!((corpus.batch(), corpus.seq_len()), (1, 4));
            assert_eq!(corpus.training_windows().windows_per_epoch(), 1);
            assert_eq!(corpus.part(PartName::Val), corpus.part(PartName::Train));
            let notes: Vec<_> = corpus.notes().iter().map(ToString::to_string).collect();
            assert_eq!(
                notes,
                [
                    "the text has 4 pair(s) to train on: batch 1 and sequence length 4 are used \
                     instead of 50 and 50",
                    "there is no validation part: validation reads the training part"
                ]
            );
        }
    }

    /// Every small size, share and window: no panic, parts disjoint, training never empty, and every
    /// position read lies in the text.
    #[test]
    fn every_small_corpus_works() {
        for split in [Split::Contiguous, Split::Streams] {
            for len in 2..40 {
                for (val, test) in [
                    (0.0, 0.0),
                    (0.1, 0.0),
                    (0.5, 0.0),
                    (0.1, 0.1),
                    (0.0, 0.3),
                    (0.49, 0.5),
                    (0.99, 0.0),
                ] {
                    for (batch, seq_len) in
                        [(1, 1), (1, 50), (50, 1), (3, 4), (usize::MAX, usize::MAX)]
                    {
                        let corpus = corpus(len, split, val, test, batch, seq_len);
                        assert!(corpus.batch() >= 1 && corpus.seq_len() >= 1);
                        let windows = epoch(&corpus);
                        assert!(!windows.is_empty());
                        assert!(windows.iter().all(|w| (w.batch, w.seq_len) == (corpus.batch(), corpus.seq_len())));
                        let mut seen = std::collections::HashSet::new();
                        let fallback = corpus.notes().contains(&Note::ValidationIsTraining);
                        let names = [PartName::Train, PartName::Val, PartName::Test];
                        for name in names
                            .into_iter()
                            .filter(|&n| !(fallback && n == PartName::Val))
                        {
                            for run in runs(&corpus, name) {
                                assert!(!run.is_empty() && run.end < len as usize);
                                assert!(run.into_iter().all(|p| seen.insert(p)));
                            }
                        }
                        let trained: Vec<_> = windows.iter().flat_map(|w| &w.inputs).collect();
                        let train = runs(&corpus, PartName::Train);
                        assert!(
                            trained
                                .iter()
                                .all(|&&p| train.iter().any(|r| r.contains(&(p as usize))))
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn impossible_requests_are_refused() {
        let good = SplitConfig {
            split: Split::Contiguous,
            val: 0.1,
            test: 0.0,
            batch: 1,
            seq_len: 1,
        };
        for tokens in [vec![], vec![7]] {
            assert!(matches!(
                Corpus::new(tokens, good),
                Err(CorpusError::TooShort { .. })
            ));
        }
        for (val, test) in [
            (-0.1, 0.0),
            (0.0, -0.1),
            (1.0, 0.0),
            (0.5, 0.5),
            (f64::NAN, 0.0),
            (0.0, f64::INFINITY),
        ] {
            let error = Corpus::new(vec![1, 2], SplitConfig { val, test, ..good });
            assert!(
                matches!(error, Err(CorpusError::Shares { .. })),
                "{val} {test}"
            );
        }
        for (batch, seq_len) in [(0, 1), (1, 0)] {
            let error = Corpus::new(
                vec![1, 2],
                SplitConfig {
                    batch,
                    seq_len,
                    ..good
                },
            );
            assert!(matches!(error, Err(CorpusError::WindowSize { .. })));
        }
    }
}
