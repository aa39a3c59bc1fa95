//! One step of training for any loss: forward, BPTT, masks, clipping, update, average.
//!
//! ```text
//! θ′ = masks(θ)        L, ∂L/∂θ′ = BPTT(θ′, inputs, loss)        g = clip(masks(∂L/∂θ′))        θ ← update(θ, g, η)
//! ```
//!
//! [`Fitter`] has what a step needs beside the parameters themselves, which stay the caller's: packed weights, tape,
//! carried state, moments, random state. Its [`state`](Fitter::state) goes on with the same bits after
//! [`restore`](Fitter::restore). The trainers of language models, forecasters and tasks stand on it; a loss, a source of
//! windows and a [learning rate](crate::learning_rate) make another.
//!
//! ```
//! use ifog::config::{InputConfig, NetworkConfig};
//! use ifog::fit::{FitConfig, Fitter};
//! use ifog::init::{Init, initial_parameters};
//! use ifog::loss::squared_error;
//! use ifog::network::Inputs;
//! use ifog::parameters::Layout;
//! use ifog::{Cell, Threads};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One number in, one out: an integrator, whose output is the sum of its inputs so far.
//! let input = InputConfig::Dense { width: 1 };
//! let layout = Layout::new(NetworkConfig { cell: Cell::Gru, input, hidden: 8, layers: 1, outputs: 1 })?;
//! let mut parameters = initial_parameters(&layout, Init::FanIn, 1.0, 0);
//! let mut fitter = Fitter::new(&layout, &parameters, (4, 2), FitConfig::default(), Threads::SINGLE)?;
//! // [T, B] = [4, 2]: two sequences, side by side.
//! let (x, sums) = ([0.1, 0.2, 0.1, -0.2, 0.1, 0.2, 0.1, -0.2], [0.1, 0.2, 0.2, 0.0, 0.3, 0.2, 0.4, 0.0]);
//! let mut error = 1.0;
//! for _ in 0..300 {
//!     fitter.state_mut().reset();
//!     let loss = |_, y: &mut [f32]| squared_error(y, &sums, 8);
//!     error = fitter.step(&mut parameters, 1e-2, Inputs::Vectors(&x), 4, loss)?.loss;
//! }
//! assert!(error < 1e-3, "{error}");
//! # Ok(())
//! # }
//! ```

use std::ops::Range;

use ifog_kernels::{Level, LevelError, Threads};

use crate::average::Average;
use crate::clip::{ClipError, ClipRule, ClipStats, Clipper};
use crate::config::{ConfigError, InputConfig};
use crate::cost::{MemoryError, check_memory};
use crate::dropout::Dropout;
use crate::finite::all_finite;
use crate::network::{Inputs, Learner, Packed, State};
use crate::optimizer::{Optimizer, OptimizerConfig, OptimizerError};
use crate::parameters::Layout;
use crate::rng::{Rng, Stream};
use crate::row_dropout::RowDropout;

pub use state::StateError;
pub(crate) use state::{FORMAT as STATE_FORMAT, Numbers, Stored};
pub use tying::start_tied;

mod divergence;
mod state;
mod tying;

/// How a step learns. The defaults: Adam, a gradient of norm up to 5, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitConfig {
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// Limit of the gradient.
    pub clip: ClipRule,
    /// Probability of dropping an output on its way to the next layer or the decoder ([`crate::dropout`]).
    pub dropout: f64,
    /// Whether these masks are the same at all steps of a window.
    pub variational: bool,
    /// Probability of dropping a symbol from the input for a window ([`crate::row_dropout`]).
    pub dropout_input: f64,
    /// Probability of dropping a hidden unit on its way into the recurrence, for a window.
    pub dropout_recurrent: f64,
    /// Decay of the averaged parameters ([`crate::average`]); 0: none.
    pub ema: f64,
    /// The decoder's weights are the embedding's, which must be as wide as the last layer; fresh parameters are tied by
    /// [`start_tied`].
    pub tie: bool,
    /// Where the masks come from.
    pub seed: u64,
}

/// Learns the parameters of a network, window by window.
#[derive(Debug)]
pub struct Fitter {
    layout: Layout,
    config: FitConfig,
    pub(crate) level: Level,
    pub(crate) weights: Packed<f32>,
    pub(crate) learner: Learner<f32>,
    pub(crate) optimizer: Optimizer,
    clipper: Clipper,
    rows: RowDropout,
    average: Option<Average>,
    threads: Threads,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// What the loss said of the window before the update.
    pub loss: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
}

/// Why there is no fitter.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// A share that is none.
    #[error("{what} = {value} is out of range: give a share from 0 to below 1")]
    Share {
        /// Which one.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// Nothing to tie.
    #[error("tied weights need an embedding as wide as the last layer")]
    Untied,
    /// A decoder that is not the embedding.
    #[error(
        "the decoder's weights are not those of the embedding: pass the parameters to start_tied first"
    )]
    NotTied,
    /// The network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// More memory than the machine has.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The update rule.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// The clipping.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// `IFOG_ISA`.
    #[error(transparent)]
    Level(#[from] LevelError),
}

/// A step that was not done, or ended outside the finite numbers.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the {what} is not finite: {}", self.advice())]
pub struct Diverged {
    /// The first that is not finite, in the order of the computation.
    pub what: String,
    /// Loss and norm of the step.
    pub fit: Fit,
}

impl Diverged {
    fn advice(&self) -> &'static str {
        match self.what.as_str() {
            RATE => "give a number from 0 up",
            INPUTS => "mend the data",
            _ => {
                "lower the learning rate, clip the gradient or start with a warm-up; if it was finite before, look at the data"
            }
        }
    }
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            optimizer: OptimizerConfig::adam(),
            clip: ClipRule::GlobalNorm(5.0),
            dropout: 0.0,
            variational: false,
            dropout_input: 0.0,
            dropout_recurrent: 0.0,
            ema: 0.0,
            tie: false,
            seed: 0,
        }
    }
}

impl FitConfig {
    fn check(&self, layout: &Layout) -> Result<(), FitError> {
        let shares = [
            ("dropout", self.dropout),
            ("dropout_input", self.dropout_input),
            ("dropout_recurrent", self.dropout_recurrent),
            ("ema", self.ema),
        ];
        let mut bad = shares.iter().filter(|(_, x)| !(0.0..1.0).contains(x));
        if let Some(&(what, value)) = bad.next() {
            return Err(FitError::Share { what, value });
        }
        let embedding = match layout.config().input {
            InputConfig::Embedding { vocabulary, width } => Some((vocabulary, width)),
            InputConfig::OneHot { .. } | InputConfig::Dense { .. } => None,
        };
        let decoder = (layout.config().outputs, layout.config().hidden);
        if self.tie && embedding != Some(decoder) {
            return Err(FitError::Untied);
        }
        Ok(())
    }
}

impl Fitter {
    /// For windows of up to T `steps` × `batch`, and for longer ones in segments of so many steps, of the network that
    /// `parameters` are of.
    ///
    /// # Errors
    /// A setting is out of range or does not suit the network or its parameters, `steps` or `batch` is 0, the training would not fit in
    /// memory, or `IFOG_ISA` names no level of this machine.
    ///
    /// # Panics
    /// `parameters` are not as many as the layout's.
    pub fn new(
        layout: &Layout,
        parameters: &[f32],
        (steps, batch): (usize, usize),
        config: FitConfig,
        threads: Threads,
    ) -> Result<Self, FitError> {
        assert_eq!(parameters.len(), layout.len(), "parameters of the layout");
        config.check(layout)?;
        if config.tie && !tying::is_tied(layout, parameters) {
            return Err(FitError::NotTied);
        }
        check_memory(layout, 1, steps, batch, size_of::<f32>())?;
        let level = Level::detect()?;
        let masks = |stream| Rng::new(config.seed, stream);
        let (rows, drawn) = (steps * batch, masks(Stream::Dropout));
        let dropout = Dropout::new(config.dropout, layout.widths(), rows, drawn);
        let dropout = dropout.variational(config.variational);
        let weights = Packed::new(layout, level, true)?;
        Ok(Self {
            learner: Learner::new(&weights, steps, batch, dropout, threads)?,
            optimizer: Optimizer::new(config.optimizer, layout.len())?,
            clipper: Clipper::new(config.clip)?,
            rows: RowDropout::new(
                layout,
                config.dropout_input,
                config.dropout_recurrent,
                masks(Stream::Rows),
            ),
            average: (config.ema > 0.0).then(|| Average::new(config.ema, parameters)),
            layout: layout.clone(),
            config,
            level,
            weights,
            threads,
        })
    }

    /// One step on a window of T = `steps`: the loss and its gradient as in [`Learner::learn_in_segments`], the gradient
    /// clipped, the parameters updated at the learning rate `lr`. The state is carried on.
    ///
    /// # Errors
    /// The learning rate, the inputs, the loss or the gradient are not finite, and the parameters were not touched; or they, or the
    /// moments, are not finite after the update. The carried state is then that of this window: another one begins with
    /// [`state_mut`](Self::state_mut)`().reset()`.
    ///
    /// # Panics
    /// As of [`Learner::learn_in_segments`], or `parameters` are not as many as the layout's.
    pub fn step(
        &mut self,
        parameters: &mut [f32],
        lr: f64,
        inputs: Inputs<'_, f32>,
        steps: usize,
        loss: impl FnMut(Range<usize>, &mut [f32]) -> f64,
    ) -> Result<Fit, Diverged> {
        if !(lr >= 0.0 && lr.is_finite()) {
            let (what, nan) = (RATE.to_owned(), f64::NAN);
            let fit = Fit {
                loss: nan,
                grad_norm: nan,
            };
            return Err(Diverged { what, fit });
        }
        let (weights, learner) = (&mut self.weights, &mut self.learner);
        weights.load(self.rows.draw(parameters), self.threads);
        let loss = learner.learn_in_segments(weights, inputs, steps, loss);
        self.rows.backward(&mut learner.gradient);
        if self.config.tie {
            tying::fold_tied(&self.layout, &mut learner.gradient);
        }
        let grad_norm = self.clipper.clip(&mut learner.gradient);
        let fit = Fit { loss, grad_norm };
        // Also a weight that this window does not read is seen behind the update.
        let updated = loss.is_finite()
            && grad_norm.is_finite()
            && self.optimizer.step(parameters, &learner.gradient, lr);
        if !updated {
            let what = match inputs {
                Inputs::Vectors(x) if !all_finite(x) => INPUTS.to_owned(),
                _ => self.non_finite(parameters, loss),
            };
            return Err(Diverged { what, fit });
        }
        if self.config.tie {
            tying::tie(&self.layout, parameters);
        }
        if let Some(average) = &mut self.average {
            average.update(parameters, self.optimizer.steps());
        }
        Ok(fit)
    }

    /// Another limit of the gradient, from now on.
    ///
    /// # Errors
    /// It is no limit.
    pub fn set_clip(&mut self, rule: ClipRule) -> Result<(), ClipError> {
        let stats = self.clipper.stats();
        self.clipper = Clipper::new(rule)?;
        self.clipper.resume(stats);
        self.config.clip = rule;
        Ok(())
    }

    /// What to evaluate: the averaged parameters if they are averaged, else the `parameters` themselves.
    pub fn evaluated<'a>(&'a self, parameters: &'a [f32]) -> &'a [f32] {
        self.average
            .as_ref()
            .map_or(parameters, |average| &average.values)
    }

    /// Packs what is to be evaluated.
    pub(crate) fn load_evaluated(&mut self, parameters: &[f32]) {
        let average = self.average.as_ref();
        let evaluated = average.map_or(parameters, |average| &average.values);
        self.weights.load(evaluated, self.threads);
    }

    /// The state carried into the next window, `[B, H]` a layer: zero at the beginning of each sequence.
    pub fn state_mut(&mut self) -> &mut State<f32> {
        &mut self.learner.state
    }

    /// The gradient of the last step, clipped, laid out as the parameters.
    pub fn gradient(&self) -> &[f32] {
        &self.learner.gradient
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// How many gradients were clipped.
    pub fn clip_stats(&self) -> ClipStats {
        self.clipper.stats()
    }

    /// The settings.
    pub fn config(&self) -> &FitConfig {
        &self.config
    }

    /// The layout of the parameters.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

const RATE: &str = "learning rate";
const INPUTS: &str = "input";

#[cfg(test)]
mod tests;
