//! The gradients of whole networks against central differences, through the code that trains.
//!
//! Two windows are read one after the other, as in training. The gradient checked is that of the second
//! window's loss; the state carried over from the first is a constant to truncated BPTT, and so it is to the
//! differences. Everything runs in f64, in the kernels that train in f32. A second check compares f32 with f64
//! over a longer window.

use ifog_gradcheck::{Check, InputError};
use ifog_kernels::{Cell, Element, Level, LevelError, Threads};

use crate::config::{ConfigError, InputConfig, NetworkConfig};
use crate::dropout::Dropout;
use crate::init::{Init, initial_parameters};
use crate::loss::{softmax_cross_entropy, squared_error};
use crate::network::{Inputs, Learner, Packed, Reader};
use crate::parameters::Layout;
use crate::rng::{Rng, Stream};

/// One network to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradCase {
    /// The cell.
    pub cell: Cell,
    /// Stacked layers.
    pub layers: usize,
    /// What enters.
    pub input: GradInput,
    /// What is minimised.
    pub loss: GradLoss,
    /// Where parameters and data come from.
    pub seed: u64,
}

/// The input of a checked network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradInput {
    /// One-hot tokens.
    OneHot,
    /// Embedded tokens.
    Embedding,
    /// Vectors.
    Dense,
}

/// The loss of a checked network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradLoss {
    /// Softmax cross-entropy, mean in nats.
    CrossEntropy,
    /// Mean squared error.
    SquaredError,
}

/// The verdict on one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorCheck {
    /// Its name; `f32 …` for the comparison of f32 with f64.
    pub tensor: String,
    /// Largest |analytic − numeric| over the tensor's largest |gradient|; for f32, ‖g₃₂ − g₆₄‖/‖g₆₄‖.
    pub max_error: f64,
    /// What `max_error` may be.
    pub bound: f64,
    /// Whether it is within the bound.
    pub ok: bool,
}

/// Why a check could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GradcheckError {
    /// The network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `IFOG_ISA`.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The loss or a gradient is not a number.
    #[error("the check cannot be made: {0}")]
    Input(#[from] InputError),
}

/// Of the largest gradient of a tensor. A missing factor is 1e-2 and more.
const BOUND: f64 = 1e-8;
/// h of central differences at h and h/2, extrapolated (Richardson): plain ones at h = 1e-5 drown a tensor whose largest gradient is below
/// 4e-3 in the rounding of the loss, ε·|loss|/h = 4e-11. In the lowest of three layers gradients are 1e-4, and the loss has a rounding error
/// of several ε: with h = 1e-3 one seed in ten was above the bound, with this the worst of the seeds 1 to 60 is 8.1e-9.
const STEP: f64 = 4e-3;
/// f32 BPTT against f64, relative L2, T = 64.
const F32_BOUND: f64 = 2e-6;

impl GradInput {
    /// Every input.
    pub const ALL: [Self; 3] = [Self::OneHot, Self::Embedding, Self::Dense];

    /// `one-hot`, `embedding` or `dense`.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneHot => "one-hot",
            Self::Embedding => "embedding",
            Self::Dense => "dense",
        }
    }
}

impl GradLoss {
    /// Every loss.
    pub const ALL: [Self; 2] = [Self::CrossEntropy, Self::SquaredError];

    /// `cross-entropy` or `squared-error`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross-entropy",
            Self::SquaredError => "squared-error",
        }
    }
}

/// Checks every tensor of a network.
///
/// # Errors
/// `IFOG_ISA` asks for a level that is not there, or a loss is not a number.
pub fn check(case: &GradCase) -> Result<Vec<TensorCheck>, GradcheckError> {
    let level = Level::detect()?;
    let mut tensors = central_differences(case, level)?;
    tensors.extend(f32_against_f64(case, level)?);
    Ok(tensors)
}

fn central_differences(case: &GradCase, level: Level) -> Result<Vec<TensorCheck>, GradcheckError> {
    let problem = Problem::new(
        case,
        Sizes {
            hidden: 5,
            steps: 4,
            batch: 3,
        },
        level,
    )?;
    let params: Vec<f64> = problem.params.iter().map(|p| f64::from(*p)).collect();
    let (gradient, carried) = problem.learn(&params, 2)?;
    let mut weights = Packed::new(&problem.layout, level, false)?;
    let mut reader = Reader::new(&weights, problem.sizes.steps, problem.sizes.batch)?;
    weights.load(&params, Threads::SINGLE);
    let cells = std::cell::RefCell::new((weights, &mut reader));
    let loss = |params: &[f64]| {
        let mut cells = cells.borrow_mut();
        let (weights, reader) = &mut *cells;
        weights.load(params, Threads::SINGLE);
        reader.state.clone_from(&carried);
        let window = problem.window::<f64>(1);
        let outputs = reader.read(
            weights,
            window.inputs(),
            problem.sizes.steps,
            Threads::SINGLE,
        );
        problem.loss(&window, outputs)
    };
    let named = problem.layout.tensors();
    let report = Check::new(loss)
        .richardson(true)
        .step(STEP)
        .bound(BOUND)
        .named(&named)
        .run(&params, &gradient)?;
    let tensors = report.tensors.into_iter().map(|tensor| TensorCheck {
        tensor: tensor.name,
        max_error: tensor.max_error,
        bound: BOUND,
        ok: tensor.ok,
    });
    Ok(tensors.collect())
}

fn f32_against_f64(case: &GradCase, level: Level) -> Result<Vec<TensorCheck>, GradcheckError> {
    let problem = Problem::new(
        case,
        Sizes {
            hidden: 24,
            steps: 64,
            batch: 4,
        },
        level,
    )?;
    let wide: Vec<f64> = problem.params.iter().map(|p| f64::from(*p)).collect();
    let (exact, _) = problem.learn(&wide, 2)?;
    let (rounded, _) = problem.learn(&problem.params, 2)?;
    let tensors = problem.layout.tensors().into_iter().map(|(name, range)| {
        let (mut difference, mut norm) = (0.0, 0.0);
        for (g32, g64) in rounded[range.clone()].iter().zip(&exact[range]) {
            difference += (f64::from(*g32) - g64).powi(2);
            norm += g64 * g64;
        }
        let max_error = (difference / norm).sqrt();
        TensorCheck {
            tensor: format!("f32 {name}"),
            max_error,
            bound: F32_BOUND,
            ok: max_error <= F32_BOUND,
        }
    });
    Ok(tensors.collect())
}

/// Gradients of the last window, and the state that it started from.
type Learned<E> = (Vec<E>, crate::network::State<E>);

/// A network with its data.
struct Problem {
    case: GradCase,
    level: Level,
    sizes: Sizes,
    layout: Layout,
    params: Vec<f32>,
}

#[derive(Clone, Copy)]
struct Sizes {
    hidden: usize,
    steps: usize,
    batch: usize,
}

/// Inputs and targets of one window, by element type.
struct Data<E> {
    ids: Vec<u32>,
    vectors: Option<Vec<E>>,
    target_ids: Vec<u32>,
    targets: Vec<E>,
}

const VOCABULARY: usize = 7;
const WIDTH: usize = 3;

impl Problem {
    fn new(case: &GradCase, sizes: Sizes, level: Level) -> Result<Self, ConfigError> {
        let input = match case.input {
            GradInput::OneHot => InputConfig::OneHot {
                vocabulary: VOCABULARY,
            },
            GradInput::Embedding => InputConfig::Embedding {
                vocabulary: VOCABULARY,
                width: WIDTH,
            },
            GradInput::Dense => InputConfig::Dense { width: WIDTH },
        };
        let layout = Layout::new(NetworkConfig {
            cell: case.cell,
            input,
            hidden: sizes.hidden,
            layers: case.layers,
            outputs: VOCABULARY,
        })?;
        let mut params = initial_parameters(&layout, Init::Uniform, 1.0, case.seed);
        // No parameter at zero, so that no term is hidden by one.
        let mut rng = Rng::new(case.seed, Stream::Check);
        params
            .iter_mut()
            .for_each(|p| *p += rng.uniform_f32(-0.1, 0.1));
        Ok(Self {
            case: *case,
            level,
            sizes,
            layout,
            params,
        })
    }

    /// Window `index` of the data, the same in both precisions.
    fn window<E: Element>(&self, index: u64) -> Data<E> {
        let rows = self.sizes.steps * self.sizes.batch;
        let mut rng = Rng::new(self.case.seed.wrapping_add(1 + index), Stream::Data);
        let mut ids = || {
            (0..rows)
                .map(|_| rng.below(VOCABULARY as u64) as u32)
                .collect()
        };
        let (ids, target_ids) = (ids(), ids());
        let mut values = |n: usize| -> Vec<E> {
            (0..n)
                .map(|_| E::from_f64(f64::from(rng.uniform_f32(-1.0, 1.0))))
                .collect()
        };
        let vectors = (self.case.input == GradInput::Dense).then(|| values(rows * WIDTH));
        Data {
            ids,
            vectors,
            target_ids,
            targets: values(rows * VOCABULARY),
        }
    }

    /// The loss of a window's outputs, whose gradient takes their place.
    fn loss<E: Element>(&self, data: &Data<E>, outputs: &mut [E]) -> f64 {
        let rows = data.target_ids.len();
        match self.case.loss {
            GradLoss::CrossEntropy => {
                let targets = &data.target_ids;
                softmax_cross_entropy(self.level, outputs, VOCABULARY, targets, rows)
            }
            GradLoss::SquaredError => squared_error(outputs, &data.targets, rows * VOCABULARY),
        }
    }

    /// Learns from `windows` windows in a row without updates.
    fn learn<E: Element>(&self, params: &[E], windows: u64) -> Result<Learned<E>, ConfigError> {
        let Sizes { steps, batch, .. } = self.sizes;
        let mut weights = Packed::new(&self.layout, self.level, true)?;
        weights.load(params, Threads::SINGLE);
        let mut learner = Learner::new(&weights, steps, batch, Dropout::off(), Threads::SINGLE)?;
        let mut before = learner.state.clone();
        for index in 0..windows {
            let data = self.window::<E>(index);
            before.clone_from(&learner.state);
            learner.learn(&weights, data.inputs(), steps, |outputs| {
                self.loss(&data, outputs)
            });
        }
        Ok((learner.gradient, before))
    }
}

impl<E> Data<E> {
    fn inputs(&self) -> Inputs<'_, E> {
        match &self.vectors {
            Some(vectors) => Inputs::Vectors(vectors),
            None => Inputs::Tokens(&self.ids),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    #[test]
    fn every_cell_input_and_loss_up_to_three_layers() {
        let mut worst = [0.0f64; 2];
        for cell in Cell::ALL {
            for layers in 1..=3 {
                for input in GradInput::ALL {
                    for loss in GradLoss::ALL {
                        let case = GradCase {
                            cell,
                            layers,
                            input,
                            loss,
                            seed: 0,
                        };
                        for tensor in check(&case).unwrap() {
                            assert!(tensor.ok, "{case:?} {tensor:?}");
                            let kind = usize::from(tensor.tensor.starts_with("f32"));
                            worst[kind] = worst[kind].max(tensor.max_error);
                        }
                    }
                }
            }
        }
        println!(
            "worst central difference {:.1e}, f32 against f64 {:.1e}",
            worst[0], worst[1]
        );
    }
}
