//! The methods and their constants.

use super::OptimizerError;

/// A method with its constants. The learning rate η is given at each step.
///
/// θ are the parameters, g their gradient, t = 1, 2, … the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent with classical momentum μ (Polyak 1964; Sutskever et al. 2013,
    /// in PyTorch's form, which keeps η out of the buffer):
    ///
    /// ```text
    /// b ← μ b + g        θ ← θ − η b
    /// ```
    Sgd {
        /// μ in [0, 1); with 0 no buffer is kept.
        momentum: f64,
    },
    /// Adagrad (Duchi, Hazan, Singer 2011):
    ///
    /// ```text
    /// v ← v + g²         θ ← θ − η g / (√v + ε)
    /// ```
    Adagrad {
        /// ε ≥ 0.
        eps: f64,
    },
    /// RMSprop (Tieleman and Hinton 2012, lecture 6.5):
    ///
    /// ```text
    /// v ← ρ v + (1 − ρ) g²        θ ← θ − η g / (√v + ε)
    /// ```
    RmsProp {
        /// ρ in [0, 1).
        decay: f64,
        /// ε ≥ 0.
        eps: f64,
    },
    /// Adam (Kingma and Ba 2015, algorithm 1) and, with λ > 0, AdamW (Loshchilov and Hutter 2019,
    /// algorithm 2, decoupled weight decay):
    ///
    /// ```text
    /// θ ← θ − η λ θ
    /// m ← β₁ m + (1 − β₁) g       v ← β₂ v + (1 − β₂) g²
    /// θ ← θ − η/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
    /// ```
    Adam {
        /// β₁ in [0, 1).
        beta1: f64,
        /// β₂ in [0, 1).
        beta2: f64,
        /// ε ≥ 0.
        eps: f64,
        /// λ ≥ 0; 0 is plain Adam.
        weight_decay: f64,
    },
}

impl OptimizerConfig {
    /// Plain gradient descent.
    #[must_use]
    pub const fn sgd() -> Self {
        Self::Sgd { momentum: 0.0 }
    }

    /// Adagrad with PyTorch's ε = 1e-10.
    #[must_use]
    pub const fn adagrad() -> Self {
        Self::Adagrad { eps: 1e-10 }
    }

    /// RMSprop with char-rnn's ρ = 0.95 and PyTorch's ε = 1e-8.
    #[must_use]
    pub const fn rmsprop() -> Self {
        Self::RmsProp {
            decay: 0.95,
            eps: 1e-8,
        }
    }

    /// Adam with the constants of its paper: β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
    #[must_use]
    pub const fn adam() -> Self {
        Self::Adam {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }

    /// The name of the method, as on the command line.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sgd { .. } => "sgd",
            Self::Adagrad { .. } => "adagrad",
            Self::RmsProp { .. } => "rmsprop",
            Self::Adam { .. } => "adam",
        }
    }

    /// Checks that every constant is finite and in its range.
    ///
    /// # Errors
    ///
    /// [`OptimizerError::Constant`] for the first that is not.
    pub fn validate(&self) -> Result<(), OptimizerError> {
        match *self {
            Self::Sgd { momentum } => self.check_share("momentum", momentum),
            Self::Adagrad { eps } => self.check_not_negative("eps", eps),
            Self::RmsProp { decay, eps } => {
                self.check_share("decay", decay)?;
                self.check_not_negative("eps", eps)
            }
            Self::Adam {
                beta1,
                beta2,
                eps,
                weight_decay,
            } => {
                self.check_share("beta1", beta1)?;
                self.check_share("beta2", beta2)?;
                self.check_not_negative("eps", eps)?;
                self.check_not_negative("weight_decay", weight_decay)
            }
        }
    }

    /// The names of the buffers the method keeps; `v` holds sums of squares.
    #[must_use]
    pub const fn buffer_names(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum: 0.0 } => &[],
            Self::Sgd { .. } => &["b"],
            Self::Adagrad { .. } | Self::RmsProp { .. } => &["v"],
            Self::Adam { .. } => &["m", "v"],
        }
    }

    fn check_share(&self, name: &'static str, value: f64) -> Result<(), OptimizerError> {
        self.check((0.0..1.0).contains(&value), name, value, "in [0, 1)")
    }

    fn check_not_negative(&self, name: &'static str, value: f64) -> Result<(), OptimizerError> {
        let ok = value >= 0.0 && value.is_finite();
        self.check(ok, name, value, "finite and not negative")
    }

    fn check(
        &self,
        ok: bool,
        name: &'static str,
        value: f64,
        range: &'static str,
    ) -> Result<(), OptimizerError> {
        if ok {
            return Ok(());
        }
        Err(OptimizerError::Constant {
            method: self.name(),
            name,
            value,
            range,
        })
    }
}
