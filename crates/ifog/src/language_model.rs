//! A character-level language model: a vocabulary and the network that predicts its next symbol.

use std::collections::BTreeMap;
use std::sync::Arc;

use ifog_kernels::{Level, LevelError, Threads};

use crate::config::{ConfigError, InputConfig, NetworkConfig};
use crate::corpus::{Corpus, CorpusError, PartName, Split, SplitConfig, Window};
use crate::cost::MemoryError;
use crate::loss::summed_cross_entropy;
use crate::network::{Inputs, Packed, Reader};
use crate::parameters::Layout;
use crate::pool::{Pool, PoolError};
use crate::rng::{Rng, Stream};
use crate::sampling::{Sampler, SamplingError};
use crate::vocabulary::{Vocabulary, VocabularyError};

/// Facts of the training that a checkpoint keeps, by name: corpus split, batch, optimiser, seed, …
pub type TrainingRecord = BTreeMap<String, String>;

/// A trained (or fresh) model.
#[derive(Clone, Debug)]
pub struct LanguageModel {
    pub(crate) layout: Layout,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) parameters: Vec<f32>,
    pub(crate) record: TrainingRecord,
    /// Of the weights as stored; empty before the first save.
    pub(crate) digest: String,
}

/// Mean loss over a part of a corpus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy in nats per symbol.
    pub loss: f64,
    /// Symbols predicted.
    pub chars: u64,
    /// Of which part; of the training part where the text has none for validation.
    pub part: PartName,
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The network cannot be built.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Vocabulary or parameters of another network.
    #[error("{found} {what} do not fit a network of {expected} {what}")]
    Mismatch {
        /// Of what there is another number.
        what: &'static str,
        /// Given.
        found: usize,
        /// Of the network.
        expected: usize,
    },
    /// `IFOG_ISA` asks for what is not there.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// A text does not fit the vocabulary.
    #[error("the model cannot read this text: {0}")]
    Vocabulary(#[from] VocabularyError),
    /// A text cannot be split as asked.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The sampler's settings, or logits that are not numbers.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The threads could not be started.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// More memory than the machine has.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The part does not exist.
    #[error("the corpus has no {0} part: the model was trained without one; evaluate another part")]
    NoPart(&'static str),
    /// A number of the training record is missing or unreadable.
    #[error("the model's training record has no usable {0}: evaluate with --split-part all")]
    Record(&'static str),
}

impl LanguageModel {
    /// A model with the given parameters.
    ///
    /// # Errors
    /// The network is invalid, or its input or output does not fit the vocabulary or the parameters.
    pub fn new(
        config: NetworkConfig,
        vocabulary: Vocabulary,
        parameters: Vec<f32>,
    ) -> Result<Self, ModelError> {
        Self::with_layout(Layout::new(config)?, vocabulary, parameters)
    }

    /// The same for layers of different widths.
    ///
    /// # Errors
    /// As [`LanguageModel::new`].
    pub fn with_layout(
        layout: Layout,
        vocabulary: Vocabulary,
        parameters: Vec<f32>,
    ) -> Result<Self, ModelError> {
        let config = *layout.config();
        let inputs = match config.input {
            InputConfig::OneHot { vocabulary } | InputConfig::Embedding { vocabulary, .. } => {
                vocabulary
            }
            InputConfig::Dense { .. } => 0,
        };
        if inputs != vocabulary.len() || config.outputs != inputs {
            let of_network = if inputs == vocabulary.len() {
                config.outputs
            } else {
                inputs
            };
            return Err(ModelError::Mismatch {
                what: "symbols",
                found: vocabulary.len(),
                expected: of_network,
            });
        }
        if parameters.len() != layout.len() {
            return Err(ModelError::Mismatch {
                what: "parameters",
                found: parameters.len(),
                expected: layout.len(),
            });
        }
        let (record, digest) = (TrainingRecord::new(), String::new());
        Ok(Self {
            layout,
            vocabulary,
            parameters,
            record,
            digest,
        })
    }

    /// The network.
    pub fn config(&self) -> &NetworkConfig {
        self.layout.config()
    }

    /// Where each tensor stands in the flat parameters.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The symbols.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// How many parameters.
    pub fn parameters(&self) -> usize {
        self.parameters.len()
    }

    /// The parameters, laid out as [`LanguageModel::layout`] says.
    pub fn weights(&self) -> &[f32] {
        &self.parameters
    }

    /// What is known of the training.
    pub fn record(&self) -> &TrainingRecord {
        &self.record
    }

    /// SHA-256 of the weights as stored; empty before the first save.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The weights packed for reading.
    ///
    /// # Errors
    /// The packed weights would not fit in memory.
    pub fn packed(&self, level: Level) -> Result<Packed<f32>, ModelError> {
        let mut packed = Packed::new(&self.layout, level, false)?;
        packed.load(&self.parameters, Threads::current());
        Ok(packed)
    }

    /// Evaluates a part of `text`, split as the training record says. The validation part of the training text
    /// gives the validation loss of the training, to the bit.
    ///
    /// # Errors
    /// The text has symbols outside the vocabulary, the part does not exist, or the record is incomplete.
    pub fn evaluate_text(
        &self,
        text: &[u8],
        part: PartName,
        threads: usize,
    ) -> Result<Evaluation, ModelError> {
        let tokens = self.vocabulary.encode(text)?;
        let corpus = Corpus::new(tokens, self.split_config(part)?)?;
        let level = Level::detect()?;
        let pool = Pool::new(threads)?;
        let weights = pool.install(|| self.packed(level))?;
        evaluate(&weights, level, &corpus, part, &pool)
    }

    /// A generator of text.
    ///
    /// # Errors
    /// The temperature or `top_k` is out of range.
    pub fn generator(
        &self,
        seed: u64,
        temperature: f64,
        top_k: Option<usize>,
    ) -> Result<Generator<'_>, ModelError> {
        let sampler = Sampler::new(temperature, top_k)?;
        let weights = self.packed(Level::detect()?)?;
        let reader = Reader::new(&weights, 1, 1)?;
        let rng = Rng::new(seed, Stream::Sample);
        Ok(Generator {
            model: self,
            weights: Arc::new(weights),
            reader,
            sampler,
            rng,
            logits: Vec::new(),
            symbol: Vec::new(),
        })
    }

    /// The split of the training, or any for the whole text.
    fn split_config(&self, part: PartName) -> Result<SplitConfig, ModelError> {
        match self.recorded_split() {
            Err(_) if part == PartName::All => Ok(SplitConfig {
                split: Split::Contiguous,
                val: 0.0,
                test: 0.0,
                batch: 1,
                seq_len: 64,
            }),
            split => split,
        }
    }

    fn recorded_split(&self) -> Result<SplitConfig, ModelError> {
        fn number<T: std::str::FromStr>(
            record: &TrainingRecord,
            key: &'static str,
        ) -> Result<T, ModelError> {
            let value = record.get(key).and_then(|value| value.parse().ok());
            value.ok_or(ModelError::Record(key))
        }
        let split = match self.record.get("split").map(String::as_str) {
            Some("contiguous") => Split::Contiguous,
            Some("streams") => Split::Streams,
            _ => return Err(ModelError::Record("split")),
        };
        Ok(SplitConfig {
            split,
            val: number(&self.record, "val")?,
            test: number(&self.record, "test")?,
            batch: number(&self.record, "batch")?,
            seq_len: number(&self.record, "seq_len")?,
        })
    }
}

/// Mean loss over a part, each of its symbols predicted exactly once, from zero states, with the state carried
/// on from window to window. The threads are those of the pool.
///
/// # Errors
/// The corpus has no such part.
pub fn evaluate(
    weights: &Packed<f32>,
    level: Level,
    corpus: &Corpus,
    part: PartName,
    pool: &Pool,
) -> Result<Evaluation, ModelError> {
    evaluate_while(weights, level, corpus, part, pool, |_| true)
}

/// [`evaluate`] as far as `goes_on` wants it, which is asked after each window and told how many symbols were read.
pub(crate) fn evaluate_while(
    weights: &Packed<f32>,
    level: Level,
    corpus: &Corpus,
    part: PartName,
    pool: &Pool,
    goes_on: impl Fn(u64) -> bool + Sync,
) -> Result<Evaluation, ModelError> {
    let Some(pairs) = corpus.part(part) else {
        return Err(ModelError::NoPart("test"));
    };
    let steps = evaluation_steps(corpus);
    let mut windows = pairs.evaluation_windows(corpus.batch(), steps);
    let vocabulary = weights.layout().config().outputs;
    // Not on a thread of the pool: an allocator that keeps memory for each thread would keep it once for each.
    let mut reader = Reader::new(weights, steps, windows.batch())?;
    let mut window = Window::default();
    let (sum, chars) = pool.install(|| {
        let (mut sum, mut chars) = (0.0, 0);
        while windows.read(corpus.tokens(), &mut window) {
            let inputs = Inputs::Tokens(&window.inputs);
            let logits = reader.read(weights, inputs, window.seq_len, Threads::current());
            let targets = &window.targets[..window.counted];
            sum += summed_cross_entropy(level, logits, vocabulary, targets, window.counted);
            chars += window.counted as u64;
            if !goes_on(chars) {
                break;
            }
        }
        (sum, chars)
    });
    Ok(Evaluation {
        loss: sum / chars as f64,
        chars,
        part: match part {
            PartName::Val if corpus.validates_on_training() => PartName::Train,
            part => part,
        },
    })
}

/// Steps read at a time: those of a training window, but no more than what keeps the memory of reading small beside that of
/// training in segments. The result does not depend on it but for the last bits of a sum.
pub(crate) fn evaluation_steps(corpus: &Corpus) -> usize {
    corpus.seq_len().min(256)
}

/// Writes text symbol by symbol. A clone goes on from the same place by itself, on the same packed weights: one a session is cheap, or one
/// for each of several continuations.
///
/// ```
/// use ifog::train::{TrainConfig, Trainer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = TrainConfig { hidden: 16, layers: 1, ..TrainConfig::default() };
/// let trainer = Trainer::new(config, b"hello hello hello")?;
/// let mut one = trainer.model().generator(0, 1.0, None)?;
/// one.feed(b"hell")?;
/// let mut two = one.clone();
/// assert_eq!(one.next_symbols(50)?, two.next_symbols(50)?);
/// two.reseed(1);
/// assert_ne!(one.next_symbols(50)?, two.next_symbols(50)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Generator<'a> {
    model: &'a LanguageModel,
    weights: Arc<Packed<f32>>,
    reader: Reader<f32>,
    sampler: Sampler,
    rng: Rng,
    /// Of the next symbol; empty before the first.
    logits: Vec<f32>,
    symbol: Vec<u8>,
}

impl Generator<'_> {
    /// Reads `text`, to be continued.
    ///
    /// # Errors
    /// The text has symbols outside the vocabulary.
    pub fn feed(&mut self, text: &[u8]) -> Result<(), ModelError> {
        for token in self.model.vocabulary.encode(text)? {
            self.read(token);
        }
        Ok(())
    }

    /// Draws the next symbol, as bytes. Without any text before it, the model starts behind a line end or, where
    /// the vocabulary has none, with a symbol drawn evenly.
    ///
    /// # Errors
    /// The model's logits are not numbers.
    pub fn next_symbol(&mut self) -> Result<&[u8], ModelError> {
        let vocabulary = &self.model.vocabulary;
        let mut token = None;
        if self.logits.is_empty() {
            match vocabulary.encode(b"\n") {
                Ok(newline) => self.read(newline[0]),
                Err(_) => token = u32::try_from(self.rng.below(vocabulary.len() as u64)).ok(),
            }
        }
        let token = match token {
            Some(token) => token,
            None => self.sampler.sample(&self.logits, &mut self.rng)?,
        };
        self.read(token);
        self.symbol.clear();
        vocabulary.decode_onto(token, &mut self.symbol)?;
        Ok(&self.symbol)
    }

    /// Draws the next `symbols` of them, as [`next_symbol`](Self::next_symbol) does one.
    ///
    /// # Errors
    /// The model's logits are not numbers.
    pub fn next_symbols(&mut self, symbols: usize) -> Result<Vec<u8>, ModelError> {
        let mut text = Vec::new();
        for _ in 0..symbols {
            text.extend_from_slice(self.next_symbol()?);
        }
        Ok(text)
    }

    /// Draws from now on what a generator of this seed would.
    pub fn reseed(&mut self, seed: u64) {
        self.rng = Rng::new(seed, Stream::Sample);
    }

    /// Logits of the next symbol, `[V]`; empty before anything was read.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn read(&mut self, token: u32) {
        let inputs = Inputs::Tokens(std::slice::from_ref(&token));
        let logits = self.reader.read(&self.weights, inputs, 1, Threads::SINGLE);
        self.logits.clear();
        self.logits.extend_from_slice(logits);
    }
}
