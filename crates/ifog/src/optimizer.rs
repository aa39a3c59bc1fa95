//! Gradient descent: SGD with momentum, Adagrad, RMSprop, Adam and AdamW.
//!
//! All parameters of a model are one flat slice, and so are their gradients, so a method is one
//! loop. The formulas are those of `torch.optim` with its defaults (ε outside the square root).
//! Every component is computed on its own from f32 operations that IEEE 754 fixes, in f64 where it
//! is the same number for all: the results have the same bits on every machine and with any number
//! of threads.

use crate::learning_rate::power;
use update::{AdamStep, Average, Momentum, ScaledByRoot, Sgd, Span};

pub use config::OptimizerConfig;
pub use error::OptimizerError;

mod config;
mod error;
mod update;

/// A method with its state for `n` parameters.
///
/// ```
/// use ifog::optimizer::{Optimizer, OptimizerConfig};
///
/// let mut optimizer = Optimizer::new(OptimizerConfig::adam(), 2)?;
/// let mut parameters = [1.0, -1.0];
/// optimizer.step(&mut parameters, &[0.5, -0.25], 0.1);
/// // Adam's first step has length η in every component.
/// assert!((parameters[0] - 0.9).abs() < 1e-6 && (parameters[1] + 0.9).abs() < 1e-6);
/// # Ok::<(), ifog::optimizer::OptimizerError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    parameters: usize,
    steps: u64,
    /// b of SGD, v of Adagrad and RMSprop, m of Adam: one value a parameter, or none.
    first: Vec<f32>,
    /// v of Adam: one value a parameter, or none.
    second: Vec<f32>,
}

impl Optimizer {
    /// The state before the first step, all zeros.
    ///
    /// # Errors
    ///
    /// [`OptimizerError::Constant`] as [`OptimizerConfig::validate`].
    pub fn new(config: OptimizerConfig, parameters: usize) -> Result<Self, OptimizerError> {
        config.validate()?;
        let buffers = config.buffer_names().len();
        let zeros = |kept| vec![0.0; if kept { parameters } else { 0 }];
        Ok(Self {
            config,
            parameters,
            steps: 0,
            first: zeros(buffers > 0),
            second: zeros(buffers > 1),
        })
    }

    /// The state after `steps` steps, from buffers as [`buffers`](Self::buffers) gave them.
    ///
    /// # Errors
    ///
    /// [`OptimizerError::Constant`] as [`OptimizerConfig::validate`];
    /// [`OptimizerError::State`] if number, names or lengths of the buffers are not those of the
    /// method; [`OptimizerError::Value`] for a value that no run can have produced: NaN, infinite,
    /// or below 0 in `v`.
    pub fn restore(
        config: OptimizerConfig,
        parameters: usize,
        steps: u64,
        buffers: &[(&str, &[f32])],
    ) -> Result<Self, OptimizerError> {
        config.validate()?;
        let names = config.buffer_names();
        let fits = buffers.len() == names.len()
            && buffers
                .iter()
                .zip(names)
                .all(|((name, values), expected)| name == expected && values.len() == parameters);
        if !fits {
            return Err(OptimizerError::State {
                method: config.name(),
                parameters,
                found: buffer_list(buffers.iter().map(|(name, values)| (*name, values.len()))),
                expected: buffer_list(names.iter().map(|name| (*name, parameters))),
            });
        }
        for (&buffer, (_, values)) in names.iter().zip(buffers) {
            let possible = |value: f32| value.is_finite() && (buffer != "v" || value >= 0.0);
            if let Some(index) = values.iter().position(|&value| !possible(value)) {
                return Err(OptimizerError::Value {
                    buffer,
                    index,
                    value: values[index],
                });
            }
        }
        let copy = |at: usize| {
            buffers
                .get(at)
                .map_or(Vec::new(), |(_, values)| values.to_vec())
        };
        Ok(Self {
            config,
            parameters,
            steps,
            first: copy(0),
            second: copy(1),
        })
    }

    /// One step down the gradient with learning rate `lr` (η). Allocates nothing. Returns whether parameters and buffers are
    /// all finite after it. A gradient or rate that is not finite goes into them: check the norm first
    /// ([`Clipper::clip`](crate::clip::Clipper::clip) returns it).
    ///
    /// # Panics
    ///
    /// If `parameters` and `gradient` are not both as long as the optimiser was made for.
    pub fn step(&mut self, parameters: &mut [f32], gradient: &[f32], lr: f64) -> bool {
        assert_eq!(parameters.len(), self.parameters, "number of parameters");
        assert_eq!(gradient.len(), self.parameters, "length of the gradient");
        self.steps = self.steps.saturating_add(1);
        let span = Span {
            parameters,
            gradient,
            first: &mut self.first,
            second: &mut self.second,
        };
        let rate = lr as f32;
        let by_root = |average, eps| ScaledByRoot {
            average,
            eps: eps as f32,
            lr: rate,
        };
        match self.config {
            OptimizerConfig::Sgd { momentum: 0.0 } => span.update(Sgd { lr: rate }),
            OptimizerConfig::Sgd { momentum } => span.update(Momentum {
                momentum: momentum as f32,
                lr: rate,
            }),
            OptimizerConfig::Adagrad { eps } => {
                span.update(by_root(Average { old: 1.0, new: 1.0 }, eps))
            }
            OptimizerConfig::RmsProp { decay, eps } => {
                span.update(by_root(Average::decaying(decay), eps))
            }
            OptimizerConfig::Adam {
                beta1,
                beta2,
                eps,
                weight_decay,
            } => span.update(AdamStep {
                keep: (1.0 - lr * weight_decay) as f32,
                m: Average::decaying(beta1),
                v: Average::decaying(beta2),
                rate: (lr / (1.0 - power(beta1, self.steps))) as f32,
                root: (1.0 - power(beta2, self.steps)).sqrt().recip() as f32,
                eps: eps as f32,
            }),
        }
    }

    /// The method.
    #[must_use]
    pub fn config(&self) -> OptimizerConfig {
        self.config
    }

    /// Steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The buffers the method keeps, each with its name and one value a parameter: with
    /// [`steps`](Self::steps), the whole state.
    pub fn buffers(&self) -> impl Iterator<Item = (&'static str, &[f32])> {
        let names = self.config.buffer_names();
        names.iter().copied().zip([&self.first[..], &self.second])
    }
}

/// A list such as `'m' of 10 and 'v' of 10 values` for a message.
fn buffer_list<'a>(buffers: impl Iterator<Item = (&'a str, usize)>) -> String {
    let list: Vec<_> = buffers
        .map(|(name, len)| format!("'{name}' of {len}"))
        .collect();
    match list.is_empty() {
        true => "no buffer".into(),
        false => format!("{} values", list.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::rng::{Rng, Stream};

    const METHODS: [OptimizerConfig; 6] = [
        OptimizerConfig::sgd(),
        OptimizerConfig::Sgd { momentum: 0.9 },
        OptimizerConfig::adagrad(),
        OptimizerConfig::rmsprop(),
        OptimizerConfig::adam(),
        OptimizerConfig::Adam {
            beta1: 0.8,
            beta2: 0.99,
            eps: 1e-6,
            weight_decay: 0.1,
        },
    ];

    /// Two steps of one parameter.
    fn two_steps(config: OptimizerConfig, theta: f32, gradients: [f32; 2], lr: f64) -> [f32; 2] {
        let mut optimizer = Optimizer::new(config, 1).unwrap();
        let mut theta = [theta];
        gradients.map(|g| {
            optimizer.step(&mut theta, &[g], lr);
            theta[0]
        })
    }

    /// A few roundings of f32 on numbers near 1.
    fn assert_near(found: [f32; 2], expected: [f64; 2]) {
        for (found, expected) in found.into_iter().zip(expected) {
            let bound = 4.0 * f64::from(f32::EPSILON) * expected.abs();
            assert!(
                (f64::from(found) - expected).abs() <= bound,
                "{found}, not {expected}"
            );
        }
    }

    #[test]
    fn sgd_by_hand() {
        assert_eq!(
            two_steps(OptimizerConfig::sgd(), 1.0, [0.5, -1.0], 0.5),
            [0.75, 1.25]
        );
        // b = 0.5, then 0.25 − 1 = −0.75.
        let config = OptimizerConfig::Sgd { momentum: 0.5 };
        assert_eq!(two_steps(config, 1.0, [0.5, -1.0], 0.5), [0.75, 1.125]);
    }

    #[test]
    fn adagrad_by_hand() {
        // v = 9, then 25; the first step is η g/|g|, the second η·4/5.
        let config = OptimizerConfig::Adagrad { eps: 0.0 };
        assert_near(two_steps(config, 1.0, [3.0, 4.0], 0.1), [0.9, 0.82]);
        // ε stands outside the root: 3/(3 + 1).
        let config = OptimizerConfig::Adagrad { eps: 1.0 };
        assert_eq!(two_steps(config, 1.0, [3.0, 0.0], 1.0), [0.25, 0.25]);
    }

    #[test]
    fn rmsprop_by_hand() {
        // v = 0.25·4 = 1, then 0.75·1 + 0.25·5 = 2 with g² = 5.
        let config = OptimizerConfig::RmsProp {
            decay: 0.75,
            eps: 1.0,
        };
        let g = 5f64.sqrt();
        let expected = [2.0 - 0.5 * 2.0 / 2.0, 1.5 - 0.5 * g / (2f64.sqrt() + 1.0)];
        assert_near(two_steps(config, 2.0, [2.0, g as f32], 0.5), expected);
    }

    #[test]
    fn adam_by_hand() {
        // m = 0.5·2 = 1, v = 0.25·4 = 1; unbiased 2 and 4: a step of 2/(2 + 2).
        // m = 0.5, v = 0.75; unbiased 0.5/0.75 and 0.75/(1 − 0.75²).
        let config = OptimizerConfig::Adam {
            beta1: 0.5,
            beta2: 0.75,
            eps: 2.0,
            weight_decay: 0.0,
        };
        let second = (0.5 / 0.75) / ((0.75f64 / (1.0 - 0.5625)).sqrt() + 2.0);
        let lr = 0.5;
        assert_near(
            two_steps(config, 2.0, [2.0, 0.0], lr),
            [1.75, 1.75 - lr * second],
        );
        // AdamW: the decay acts on the parameter, not on the gradient.
        let config = OptimizerConfig::Adam {
            beta1: 0.5,
            beta2: 0.75,
            eps: 2.0,
            weight_decay: 0.5,
        };
        let first = 2.0 * 0.75 - 0.25;
        let expected = [first, first * 0.75 - lr * second];
        assert_near(two_steps(config, 2.0, [2.0, 0.0], lr), expected);
    }

    #[test]
    fn adam_in_f32_follows_f64() {
        let mut rng = Rng::new(2, Stream::Check);
        let (beta1, beta2, eps, lr) = (0.9, 0.999, 1e-8, 1e-2);
        let config = OptimizerConfig::Adam {
            beta1,
            beta2,
            eps,
            weight_decay: 0.0,
        };
        let mut optimizer = Optimizer::new(config, 1).unwrap();
        let mut theta = [1.0f32];
        let (mut exact, mut m, mut v) = (1.0f64, 0.0, 0.0);
        for t in 1..=1000 {
            let g = rng.normal() as f32;
            optimizer.step(&mut theta, &[g], lr);
            let g = f64::from(g);
            m = beta1 * m + (1.0 - beta1) * g;
            v = beta2 * v + (1.0 - beta2) * g * g;
            let (m, v) = (m / (1.0 - beta1.powi(t)), v / (1.0 - beta2.powi(t)));
            exact -= lr * m / (v.sqrt() + eps);
        }
        // A step rounds θ (|θ| < 2) by 2^-24 and its own length of at most 10 η by a few 2^-24:
        // 1000 · 2 · 2^-24 bounds the sum; v's constants, rounded, add a relative 1e-5 of a step,
        // since 1 − β₂ is known to 2^-24 and β₂'s rounding acts through 1000 steps.
        let bound = 1000.0 * 2.0 / f64::from(1 << 24) + 1000.0 * lr * 1e-5;
        assert!(
            (f64::from(theta[0]) - exact).abs() < bound,
            "{} {exact}",
            theta[0]
        );
    }

    fn normals(rng: &mut Rng, n: usize) -> Vec<f32> {
        (0..n).map(|_| rng.normal() as f32).collect()
    }

    /// Component by component alone, and in one slice over many pieces: the same bits.
    #[test]
    fn components_do_not_depend_on_their_neighbours_nor_on_threads() {
        let n = 3 * 16_384 + 11;
        for config in METHODS {
            let mut rng = Rng::new(4, Stream::Check);
            let (start, g1, g2) = (
                normals(&mut rng, n),
                normals(&mut rng, n),
                normals(&mut rng, n),
            );
            let mut together = start.clone();
            let mut optimizer = Optimizer::new(config, n).unwrap();
            optimizer.step(&mut together, &g1, 1e-2);
            optimizer.step(&mut together, &g2, 1e-2);
            for i in (0..n).step_by(997).chain([16_383, 16_384, n - 1]) {
                let mut alone = [start[i]];
                let mut optimizer = Optimizer::new(config, 1).unwrap();
                optimizer.step(&mut alone, &g1[i..=i], 1e-2);
                optimizer.step(&mut alone, &g2[i..=i], 1e-2);
                assert_eq!(
                    alone[0].to_bits(),
                    together[i].to_bits(),
                    "{config:?} at {i}"
                );
            }
        }
    }

    #[test]
    fn a_restored_optimizer_continues_with_the_same_bits() {
        for config in METHODS {
            let mut rng = Rng::new(5, Stream::Check);
            let mut parameters = normals(&mut rng, 20);
            let mut optimizer = Optimizer::new(config, 20).unwrap();
            for _ in 0..3 {
                optimizer.step(&mut parameters, &normals(&mut rng, 20), 1e-2);
            }
            let buffers: Vec<_> = optimizer.buffers().collect();
            let mut restored = Optimizer::restore(config, 20, optimizer.steps(), &buffers).unwrap();
            let (mut a, mut b) = (parameters.clone(), parameters);
            let gradient = normals(&mut rng, 20);
            optimizer.step(&mut a, &gradient, 1e-2);
            restored.step(&mut b, &gradient, 1e-2);
            assert_eq!(a, b, "{config:?}");
            assert_eq!(restored.steps(), 4);
        }
    }

    #[test]
    fn constants_out_of_range_are_refused() {
        let adam = |beta1, beta2, eps, weight_decay| OptimizerConfig::Adam {
            beta1,
            beta2,
            eps,
            weight_decay,
        };
        let bad = [
            OptimizerConfig::Sgd { momentum: 1.0 },
            OptimizerConfig::Sgd { momentum: f64::NAN },
            OptimizerConfig::Adagrad { eps: -1e-8 },
            OptimizerConfig::RmsProp {
                decay: -0.1,
                eps: 0.0,
            },
            OptimizerConfig::RmsProp {
                decay: 0.9,
                eps: f64::INFINITY,
            },
            adam(1.0, 0.9, 0.0, 0.0),
            adam(0.9, 1.5, 0.0, 0.0),
            adam(0.9, 0.9, f64::NAN, 0.0),
            adam(0.9, 0.9, 0.0, -1.0),
        ];
        for config in bad {
            assert!(Optimizer::new(config, 1).is_err(), "{config:?}");
            assert!(Optimizer::restore(config, 0, 0, &[]).is_err(), "{config:?}");
        }
        assert_eq!(
            bad[0].validate().unwrap_err().to_string(),
            "the sgd constant momentum = 1 is out of range: it must be in [0, 1)"
        );
    }

    #[test]
    fn a_foreign_state_is_refused() {
        let adam = OptimizerConfig::adam();
        let (two, three) = ([1.0; 2], [1.0; 3]);
        let foreign: [&[(&str, &[f32])]; 5] = [
            &[],
            &[("m", &two)],
            &[("v", &two), ("m", &two)],
            &[("m", &two), ("v", &three)],
            &[("m", &two), ("v", &two), ("v", &two)],
        ];
        for buffers in foreign {
            let error = Optimizer::restore(adam, 2, 1, buffers).unwrap_err();
            assert!(matches!(error, OptimizerError::State { .. }), "{buffers:?}");
        }
        assert_eq!(
            Optimizer::restore(adam, 2, 1, &[]).unwrap_err().to_string(),
            "the stored optimiser state has no buffer, but adam with 2 parameters keeps 'm' of 2 \
             and 'v' of 2 values: resume with the method and model that the state was saved from"
        );
        for value in [f32::NAN, f32::INFINITY, -1.0] {
            let error = Optimizer::restore(adam, 2, 1, &[("m", &two), ("v", &[0.0, value])]);
            assert!(
                matches!(
                    error,
                    Err(OptimizerError::Value {
                        buffer: "v",
                        index: 1,
                        ..
                    })
                ),
                "{value}"
            );
        }
        assert!(Optimizer::restore(adam, 2, 1, &[("m", &[-1.0, 0.0]), ("v", &two)]).is_ok());
    }

    #[test]
    #[should_panic(expected = "length of the gradient")]
    fn a_gradient_of_another_length_panics() {
        let mut optimizer = Optimizer::new(OptimizerConfig::adam(), 2).unwrap();
        optimizer.step(&mut [0.0; 2], &[0.0; 3], 0.1);
    }
}
