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
    /// Numbers drawn before this window.
    drawn: u64,
    /// H of each layer that has masks.
    widths: Vec<usize>,
    /// Whether all steps of a window share a mask (Gal & Ghahramani 2016).
    variational: bool,
    /// `[T·B, H]` a layer: 0 or 1/(1 − p). Empty at rate 0, which costs nothing.
    masks: Vec<Vec<E>>,
    /// The outputs behind the masks.
    outputs: Vec<Vec<E>>,
}

/// The part of a window that is at work: its rows of all, B rows a step.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Rows of the window before it.
    pub(crate) before: usize,
    /// Rows of the whole window, T·B.
    pub(crate) rows: usize,
    /// B.
    pub(crate) batch: usize,
}

impl<E: Element> Dropout<E> {
    /// Without dropout.
    pub fn off() -> Self {
        Self::new(0.0, [], 0, Rng::new(0, crate::rng::Stream::Dropout))
    }

    /// Drops with probability `rate` behind layers of these widths; `rows` is T·B.
    ///
    /// # Panics
    /// The rate is outside [0, 1).
    pub fn new(rate: f64, widths: impl IntoIterator<Item = usize>, rows: usize, rng: Rng) -> Self {
        assert!((0.0..1.0).contains(&rate), "dropout rate {rate}");
        let widths: Vec<usize> = match rate > 0.0 {
            true => widths.into_iter().collect(),
            false => Vec::new(),
        };
        let zeros = || {
            let of_layer = widths.iter().map(|width| vec![E::ZERO; rows * width]);
            of_layer.collect()
        };
        Self {
            rate,
            drawn: rng.state().drawn,
            rng,
            variational: false,
            masks: zeros(),
            outputs: zeros(),
            widths,
        }
    }

    /// With the same mask at every step of a window, a new one for the next.
    #[must_use]
    pub fn variational(mut self, variational: bool) -> Self {
        self.variational = variational;
        self
    }

    /// The random state between two windows, for checkpoints.
    pub fn rng_state(&self) -> RngState {
        RngState {
            drawn: self.drawn,
            ..self.rng.state()
        }
    }

    /// Goes on from a stored random state.
    pub(crate) fn resume(&mut self, state: RngState) {
        self.drawn = state.drawn;
        self.rng = Rng::restore(state);
    }

    /// Draws the mask of a layer and applies it. The numbers of a mask are those of its place in the window, layer by
    /// layer, row by row: so a segment that is computed again has the same ones.
    pub(crate) fn draw(&mut self, layer: usize, segment: &Segment, outputs: MatRef<'_, E>) {
        let Some(mask) = self.masks.get_mut(layer) else {
            return;
        };
        let width = outputs.cols();
        let (of_layer, before, drawn_rows) = match self.variational {
            true => (segment.batch, 0, segment.batch),
            false => (segment.rows, segment.before, outputs.rows()),
        };
        let below: usize = self.widths[..layer].iter().sum();
        let place = below * of_layer + before * width;
        let mut rng = Rng::restore(RngState {
            drawn: self.drawn.wrapping_add(place as u64),
            ..self.rng.state()
        });
        let keep = E::from_f64(1.0 / (1.0 - self.rate));
        let (fresh, repeated) = mask[..outputs.rows() * width].split_at_mut(drawn_rows * width);
        for mask in &mut *fresh {
            let dropped = rng.unit() < self.rate;
            *mask = if dropped { E::ZERO } else { keep };
        }
        if !fresh.is_empty() {
            repeated
                .chunks_mut(fresh.len())
                .for_each(|step| step.copy_from_slice(&fresh[..step.len()]));
        }
        let rows = mask
            .chunks_exact(width)
            .zip(self.outputs[layer].chunks_exact_mut(width));
        for (r, (mask, to)) in rows.take(outputs.rows()).enumerate() {
            for ((mask, to), y) in mask.iter().zip(to).zip(outputs.row(r)) {
                *to = *mask * *y;
            }
        }
    }

    /// The window is done: the next one gets other numbers.
    pub(crate) fn advance(&mut self, window: &Segment) {
        let rows = if self.variational {
            window.batch
        } else {
            window.rows
        };
        let numbers = (self.widths.iter().sum::<usize>() * rows) as u64;
        self.drawn = self.drawn.wrapping_add(numbers);
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
