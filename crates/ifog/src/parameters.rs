//! All parameters of a network in one flat buffer, so that an optimiser is one loop.
//!
//! ```text
//! [ embedding V·D ]  layer 0: W | U | b   layer 1: W | U | b   …   decoder: W [H, O] | b [O]
//! ```

use std::ops::Range;

use ifog_kernels::Shape;

use crate::config::{ConfigError, InputConfig, NetworkConfig};

/// Where each tensor of a network stands in the flat buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    config: NetworkConfig,
    shapes: Vec<Shape>,
    embedding: Range<usize>,
    layers: Vec<Range<usize>>,
    decoder: Range<usize>,
}

impl Layout {
    /// Lays out the parameters of `config`, whose layers are equally wide.
    ///
    /// # Errors
    /// A size of the network is 0 or too large.
    pub fn new(config: NetworkConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Self::with_widths(config, &vec![config.hidden; config.layers])
    }

    /// The same with a width of its own for each layer, the lowest first. In [`Layout::config`], `hidden` is then the width
    /// of the last and `layers` their number.
    ///
    /// # Errors
    /// There is no width, or a size of the network is 0 or too large.
    pub fn with_widths(config: NetworkConfig, widths: &[usize]) -> Result<Self, ConfigError> {
        let mut config = NetworkConfig {
            layers: widths.len(),
            ..config
        };
        for &width in widths {
            config.hidden = width;
            config.validate()?;
        }
        config.validate()?;
        let inputs = std::iter::once(config.input.width()).chain(widths.iter().copied());
        let shapes: Vec<Shape> = inputs
            .zip(widths)
            .map(|(input, &width)| Shape::new(config.cell, input, width))
            .collect::<Result<_, _>>()
            .map_err(ConfigError::Shape)?;
        let embedding = match config.input {
            InputConfig::Embedding { vocabulary, width } => 0..vocabulary * width,
            InputConfig::OneHot { .. } | InputConfig::Dense { .. } => 0..0,
        };
        let mut end = embedding.end;
        let mut take = |len: usize| {
            let start = end;
            end += len;
            start..end
        };
        let layers = shapes.iter().map(|shape| take(shape.param_len())).collect();
        let decoder = take((config.hidden + 1) * config.outputs);
        Ok(Self {
            config,
            shapes,
            embedding,
            layers,
            decoder,
        })
    }

    /// The network.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// Parameters in all.
    pub fn len(&self) -> usize {
        self.decoder.end
    }

    /// Never: every network has parameters.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// H of each layer, the lowest first.
    pub fn widths(&self) -> impl ExactSizeIterator<Item = usize> + Clone {
        self.shapes.iter().map(|shape| shape.hidden())
    }

    /// The largest of them.
    pub fn widest(&self) -> usize {
        self.widths().max().unwrap_or(0)
    }

    /// The shape of each layer.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// The embedding `[V, D]`; empty without one.
    pub fn embedding(&self) -> Range<usize> {
        self.embedding.clone()
    }

    /// W, U and b of a layer, in this order.
    pub fn layer(&self, layer: usize) -> Range<usize> {
        self.layers[layer].clone()
    }

    /// The decoder's W `[H, O]`.
    pub fn decoder_weight(&self) -> Range<usize> {
        self.decoder.start..self.decoder.end - self.config.outputs
    }

    /// The decoder's b `[O]`.
    pub fn decoder_bias(&self) -> Range<usize> {
        self.decoder.end - self.config.outputs..self.decoder.end
    }

    /// Every tensor by name: `embedding`, `w_l0`, `u_l0`, `b_l0`, …, `decoder_w`, `decoder_b`.
    pub fn tensors(&self) -> Vec<(String, Range<usize>)> {
        let mut tensors = Vec::new();
        if !self.embedding.is_empty() {
            tensors.push(("embedding".to_owned(), self.embedding()));
        }
        for (layer, (range, shape)) in self.layers.iter().zip(&self.shapes).enumerate() {
            let w = range.start + shape.input() * shape.columns();
            let u = w + shape.hidden() * shape.columns();
            tensors.push((format!("w_l{layer}"), range.start..w));
            tensors.push((format!("u_l{layer}"), w..u));
            tensors.push((format!("b_l{layer}"), u..range.end));
        }
        tensors.push(("decoder_w".to_owned(), self.decoder_weight()));
        tensors.push(("decoder_b".to_owned(), self.decoder_bias()));
        tensors
    }
}
