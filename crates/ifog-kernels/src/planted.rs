//! Bugs on demand, in the place of the code that they break: the proof that the gradient check would find them.
//!
//! `tests/planted.rs` lists them; run it with
//! `RUSTFLAGS="--cfg ifog_planted" cargo test -p ifog-kernels --test planted`. In every other build
//! [`planted`] is the constant `false`, and neither branch nor bug is in the machine code.
#![cfg_attr(
    not(ifog_planted),
    allow(unreachable_pub, reason = "exported by that configuration alone")
)]

/// A bug of the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// LSTM: da_o with the other sign.
    LstmOutputGateSign,
    /// LSTM: da_i and da_f in each other's place.
    LstmGatesSwapped,
    /// LSTM: dc = dc' instead of dc' ⊙ f.
    LstmCarryWithoutForget,
    /// GRU reset-before: nothing passes the gates by, dh' ⊙ (1 − z) is lost.
    GruCarryLost,
    /// GRU reset-before: drh is added to dh without ⊙ r.
    GruResetForgotten,
    /// GRU reset-before: dU_h from h instead of r ⊙ h, as if the reset came after.
    GruResetAfter,
    /// GRU reset-after: the carry is dh' ⊙ (1 − z) instead of dh' ⊙ z.
    GruAfterCarryComplement,
    /// GRU reset-after: U_n takes da_n instead of dq.
    GruAfterHiddenWeights,
    /// RNN: tanh' is 1 − x instead of 1 − x².
    RnnSlopeNotSquared,
    /// dU from the state after the step instead of before.
    StateAfterTheStep,
    /// db without one row.
    BiasMissesARow,
    /// The gradient of a token goes to the token of the row after.
    TokenOfTheNextRow,
    /// dx of every row from the gate gradients of the first.
    InputGradientOfTheFirstStep,
}

/// Whether this bug is to be shown.
#[cfg(not(ifog_planted))]
#[inline(always)]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(ifog_planted)]
pub use chosen::plant;
#[cfg(ifog_planted)]
pub(crate) use chosen::planted;

#[cfg(ifog_planted)]
mod chosen {
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::Bug;

    /// The loop of a gate function with a call in it: `make machine-code` has to find it.
    #[used]
    static CALLING: fn(&mut [f32]) = exp::avx2;

    mod exp {
        use crate::{Level, math::exp_slice};

        pub(super) fn avx2(values: &mut [f32]) {
            let vectors = values.chunks_exact_mut(8);
            vectors.for_each(|vector| exp_slice(Level::PORTABLE, vector));
        }
    }

    /// 1 + the bug; 0: none.
    static CHOSEN: AtomicUsize = AtomicUsize::new(0);

    /// Chooses the bug of the process from now on, or none.
    pub fn plant(bug: Option<Bug>) {
        CHOSEN.store(bug.map_or(0, |bug| 1 + bug as usize), Relaxed);
    }

    #[inline(always)]
    pub(crate) fn planted(bug: Bug) -> bool {
        CHOSEN.load(Relaxed) == 1 + bug as usize
    }
}

#[cfg(ifog_planted)]
impl Bug {
    /// Every bug.
    pub const ALL: [Self; 13] = [
        Self::LstmOutputGateSign,
        Self::LstmGatesSwapped,
        Self::LstmCarryWithoutForget,
        Self::GruCarryLost,
        Self::GruResetForgotten,
        Self::GruResetAfter,
        Self::GruAfterCarryComplement,
        Self::GruAfterHiddenWeights,
        Self::RnnSlopeNotSquared,
        Self::StateAfterTheStep,
        Self::BiasMissesARow,
        Self::TokenOfTheNextRow,
        Self::InputGradientOfTheFirstStep,
    ];
}
