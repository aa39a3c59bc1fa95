//! What chrono initialisation is for: the copy-memory and the adding task (Hochreiter & Schmidhuber 1997; Arjovsky, Shah &
//! Bengio 2016), with the settings of Tallec & Ollivier 2018: LSTM of 128, RMSprop 1e-3 with decay 0.9, batch 50.
//!
//! `cargo run --release --example long_memory -- copy|adding T STEPS [chrono]`
//!
//! Prints the loss beside that of a guess without memory: 10 ln 8/(T + 20) nats, or the variance of 1/6.

use ifog::clip::{ClipRule, Clipper};
use ifog::config::{InputConfig, NetworkConfig};
use ifog::dropout::Dropout;
use ifog::init::{Init, chrono_biases, initial_parameters};
use ifog::loss::softmax_cross_entropy;
use ifog::network::{Inputs, Learner, Packed};
use ifog::optimizer::{Optimizer, OptimizerConfig};
use ifog::parameters::Layout;
use ifog::rng::{Rng, Stream};
use ifog::{Cell, Level, Threads};

const BATCH: usize = 50;
/// Symbols to remember.
const WORD: usize = 10;
/// Their kinds; behind these the symbols "nothing" and "now".
const KINDS: u32 = 8;
const SYMBOLS: usize = KINDS as usize + 2;

/// `[T + 20, B]` inputs and targets: a word, nothing for T − 1 steps, "now", and then the word is to be said.
fn copy_task(t: usize, rng: &mut Rng) -> (Vec<u32>, Vec<u32>) {
    let steps = t + 2 * WORD;
    let mut inputs = vec![KINDS; steps * BATCH];
    let mut targets = vec![KINDS; steps * BATCH];
    for b in 0..BATCH {
        for k in 0..WORD {
            let symbol = rng.below(u64::from(KINDS)) as u32;
            inputs[k * BATCH + b] = symbol;
            targets[(t + WORD + k) * BATCH + b] = symbol;
        }
        inputs[(t + WORD - 1) * BATCH + b] = KINDS + 1;
    }
    (inputs, targets)
}

/// `[T, B, 2]` inputs and `[B]` targets: the sum of the two values that are marked, one in each half.
fn adding_task(t: usize, rng: &mut Rng) -> (Vec<f32>, Vec<f32>) {
    let mut inputs: Vec<f32> = (0..t * BATCH)
        .flat_map(|_| [rng.unit() as f32, 0.0])
        .collect();
    let mut targets = vec![0.0; BATCH];
    for (b, target) in targets.iter_mut().enumerate() {
        for half in [0, t / 2] {
            let marked = half + rng.below((t / 2) as u64) as usize;
            let at = 2 * (marked * BATCH + b);
            inputs[at + 1] = 1.0;
            *target += inputs[at];
        }
    }
    (inputs, targets)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [task, t, steps, rest @ ..] = &arguments[..] else {
        return Err("usage: long_memory copy|adding T STEPS [chrono]".into());
    };
    let (copies, t, steps): (bool, usize, u64) = (task == "copy", t.parse()?, steps.parse()?);
    let (window, input, outputs) = match copies {
        true => (
            t + 2 * WORD,
            InputConfig::OneHot {
                vocabulary: SYMBOLS,
            },
            SYMBOLS,
        ),
        false => (t, InputConfig::Dense { width: 2 }, 1),
    };
    let network = NetworkConfig {
        cell: Cell::Lstm,
        input,
        hidden: 128,
        layers: 1,
        outputs,
    };
    let layout = Layout::new(network)?;
    let mut parameters = initial_parameters(&layout, Init::Uniform, 1.0, 0);
    if rest.first().is_some_and(|word| word == "chrono") {
        chrono_biases(&layout, &mut parameters, window as u64, 0);
    }
    let (level, threads) = (Level::detect()?, Threads::SINGLE);
    let mut weights = Packed::new(&layout, level, true)?;
    let mut learner = Learner::new(&weights, window, BATCH, Dropout::off(), threads)?;
    let rmsprop = OptimizerConfig::RmsProp {
        decay: 0.9,
        eps: 1e-8,
    };
    let mut optimizer = Optimizer::new(rmsprop, layout.len())?;
    let mut clipper = Clipper::new(ClipRule::GlobalNorm(1.0))?;
    let mut rng = Rng::new(1, Stream::Data);
    let guess = if copies {
        WORD as f64 * f64::from(KINDS).ln() / window as f64
    } else {
        1.0 / 6.0
    };
    let (mut sum, mut count) = (0.0, 0);
    for step in 1..=steps {
        weights.load(&parameters, threads);
        learner.state.reset();
        sum += if copies {
            let (inputs, targets) = copy_task(t, &mut rng);
            let loss = learner.learn(&weights, Inputs::Tokens(&inputs), window, |logits| {
                softmax_cross_entropy(level, logits, SYMBOLS, &targets, targets.len())
            });
            loss / targets.len() as f64
        } else {
            let (inputs, targets) = adding_task(t, &mut rng);
            learner.learn(&weights, Inputs::Vectors(&inputs), window, |y| {
                // Only what is said at the last step counts.
                let (before, last) = y.split_at_mut((t - 1) * BATCH);
                before.fill(0.0);
                ifog::loss::squared_error(last, &targets, BATCH)
            })
        };
        clipper.clip(&mut learner.gradient);
        optimizer.step(&mut parameters, &learner.gradient, 1e-3);
        count += 1;
        if step.is_multiple_of(steps.div_ceil(20)) {
            println!(
                "step {step:6}  loss {:.6}  without memory {guess:.6}",
                sum / f64::from(count)
            );
            (sum, count) = (0.0, 0);
        }
    }
    Ok(())
}
