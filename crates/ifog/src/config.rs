//! What a network is made of.

use ifog_kernels::{Cell, Shape, ShapeError};

/// Sizes of a network: input, stacked recurrent layers of equal width, a linear decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The cell of every layer.
    pub cell: Cell,
    /// What enters the first layer.
    pub input: InputConfig,
    /// H, the width of every layer.
    pub hidden: usize,
    /// How many layers.
    pub layers: usize,
    /// Columns of the decoder: the vocabulary, or the values to predict.
    pub outputs: usize,
}

/// What enters the first layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputConfig {
    /// Tokens as one-hot vectors, which cost a row copy.
    OneHot {
        /// V.
        vocabulary: usize,
    },
    /// Tokens as rows of a learned table `[V, D]`.
    Embedding {
        /// V.
        vocabulary: usize,
        /// D.
        width: usize,
    },
    /// Vectors.
    Dense {
        /// I.
        width: usize,
    },
}

/// Why a network cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A size of zero.
    #[error("{what} is 0: give at least 1")]
    Zero {
        /// Which size.
        what: &'static str,
    },
    /// A size that memory cannot hold.
    #[error("a network with {what} = {value} is too large: give at most {most}")]
    TooLarge {
        /// Which size.
        what: &'static str,
        /// The size asked for.
        value: usize,
        /// The largest one.
        most: usize,
    },
    /// The kernels refuse the shape.
    #[error("the network does not fit in memory ({0}): give smaller widths")]
    Shape(ShapeError),
}

impl InputConfig {
    /// Columns of the first layer's W: I.
    pub fn width(self) -> usize {
        match self {
            Self::OneHot { vocabulary } => vocabulary,
            Self::Embedding { width, .. } | Self::Dense { width } => width,
        }
    }

    /// The name in files and reports: `one-hot`, `embedding` or `dense`.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneHot { .. } => "one-hot",
            Self::Embedding { .. } => "embedding",
            Self::Dense { .. } => "dense",
        }
    }
}

impl NetworkConfig {
    /// The widest layer, vocabulary or embedding; 4·(2·2²⁰)·2²⁰ parameters are already beyond any machine.
    pub const MAX_WIDTH: usize = 1 << 20;
    /// The most layers.
    pub const MAX_LAYERS: usize = 64;

    /// The shape of layer `layer`.
    ///
    /// # Errors
    /// A width is 0 or the parameters would not fit in memory.
    pub fn shape(&self, layer: usize) -> Result<Shape, ConfigError> {
        let input = if layer == 0 {
            self.input.width()
        } else {
            self.hidden
        };
        Shape::new(self.cell, input, self.hidden).map_err(ConfigError::Shape)
    }

    /// Checks every size.
    ///
    /// # Errors
    /// A size is 0 or too large.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut sizes = vec![
            ("hidden", self.hidden, Self::MAX_WIDTH),
            ("layers", self.layers, Self::MAX_LAYERS),
            ("outputs", self.outputs, Self::MAX_WIDTH),
            ("input width", self.input.width(), Self::MAX_WIDTH),
        ];
        if let InputConfig::Embedding { vocabulary, .. } = self.input {
            sizes.push(("vocabulary", vocabulary, Self::MAX_WIDTH));
        }
        for (what, value, most) in sizes {
            if value == 0 {
                return Err(ConfigError::Zero { what });
            }
            if value > most {
                return Err(ConfigError::TooLarge { what, value, most });
            }
        }
        for layer in 0..self.layers.min(2) {
            self.shape(layer)?;
        }
        Ok(())
    }
}
