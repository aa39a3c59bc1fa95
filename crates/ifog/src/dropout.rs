//! Dropout on the connections between layers and before the decoder (Srivastava et al. 2014; on non-recurrent
//! connections: Zaremba, Sutskever & Vinyals 2014). Kept values are scaled by 1/(1 − p), so nothing is scaled when
//! the network is only read.

use ifog_kernels::{Element, MatRef, Tape};

use crate::rng::{Rng, RngState};

/// The masks of a window.
#[derive(Debug)]
pub struct Dropout<E> {
    /// p, in [0, 1).
    rate: f64,
    rng: Rng,
    /// `[T·B, H]` a layer: 0 or 1/(1 − p). Empty at rate 0, which costs nothing.
    masks: Vec<Vec<E>>,
    /// The outputs behind the masks.
    outputs: Vec<Vec<E>>,
}

impl<E: Element> Dropout<E> {
    /// Without dropout.
    pub fn off() -> Self {
        Self::new(0.0, 0, 0, Rng::new(0, crate::rng::Stream::Dropout))
    }

    /// Drops with probability `rate` behind each of `layers` layers; `len` is T·B·H.
    ///
    /// # Panics
    /// The rate is outside [0, 1).
    pub fn new(rate: f64, layers: usize, len: usize, rng: Rng) -> Self {
        assert!((0.0..1.0).contains(&rate), "dropout rate {rate}");
        let layers = if rate > 0.0 { layers } else { 0 };
        let zeros = || vec![vec![E::ZERO; len]; layers];
        Self {
            rate,
            rng,
            masks: zeros(),
            outputs: zeros(),
        }
    }

    /// The random state, for checkpoints.
    pub fn rng_state(&self) -> RngState {
        self.rng.state()
    }

    /// Goes on from a stored random state.
    pub(crate) fn resume(&mut self, state: RngState) {
        self.rng = Rng::restore(state);
    }

    /// Draws the mask of a layer and applies it.
    pub(crate) fn draw(&mut self, layer: usize, outputs: MatRef<'_, E>) {
        let Some(mask) = self.masks.get_mut(layer) else {
            return;
        };
        let keep = E::from_f64(1.0 / (1.0 - self.rate));
        let to = &mut self.outputs[layer];
        let rows = mask
            .chunks_exact_mut(outputs.cols())
            .zip(to.chunks_exact_mut(outputs.cols()));
        for (r, (mask, to)) in rows.take(outputs.rows()).enumerate() {
            for ((mask, to), y) in mask.iter_mut().zip(to).zip(outputs.row(r)) {
                *mask = if self.rng.unit() < self.rate {
                    E::ZERO
                } else {
                    keep
                };
                *to = *mask * *y;
            }
        }
    }

    /// The outputs of a layer, behind the mask if there is one.
    pub(crate) fn output<'a>(&'a self, layer: usize, tape: &'a Tape<E>) -> MatRef<'a, E> {
        let plain = tape.output();
        let (rows, cols) = (plain.rows(), plain.cols());
        match self.outputs.get(layer) {
            Some(dropped) => MatRef::new(&dropped[..rows * cols], rows, cols).unwrap_or(plain),
            None => plain,
        }
    }

    /// Masks the gradient of a layer's outputs.
    pub(crate) fn backward(&self, layer: usize, gradient: &mut [E]) {
        if let Some(mask) = self.masks.get(layer) {
            gradient
                .iter_mut()
                .zip(mask)
                .for_each(|(g, mask)| *g *= *mask);
        }
    }
}
