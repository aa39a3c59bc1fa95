//! Weights in the order the kernels read them.

use ifog_kernels::{
    Element, Input, Level, PackedCell, PackedMatrix, Params, Threads, TokenTable, Uses,
};

use super::{Inputs, matrix};
use crate::config::{ConfigError, InputConfig};
use crate::parameters::Layout;
use crate::pool::join;

/// The weights of a network, packed for the kernels.
#[derive(Debug)]
pub struct Packed<E> {
    pub(super) layout: Layout,
    pub(crate) level: Level,
    pub(crate) cells: Vec<PackedCell<E>>,
    table: Option<TokenTable<E>>,
    /// `[H, O]`.
    pub(crate) decoder: PackedMatrix<E>,
    /// `[O, H]`, for training.
    pub(crate) decoder_back: Option<PackedMatrix<E>>,
    pub(crate) decoder_bias: Vec<E>,
    /// `[V, D]`, for the gradient of W behind an embedding; empty without one.
    pub(super) embedding: Vec<E>,
}

impl<E: Element> Packed<E> {
    /// Room for the weights of `layout`; [`Packed::load`] fills it.
    ///
    /// # Errors
    /// The packed weights would not fit in memory.
    pub fn new(layout: &Layout, level: Level, train: bool) -> Result<Self, ConfigError> {
        let config = layout.config();
        let dense_first = !matches!(config.input, InputConfig::OneHot { .. });
        let cells = layout.shapes().iter().enumerate().map(|(layer, shape)| {
            let dense_input = layer > 0 || dense_first;
            PackedCell::new(
                level,
                *shape,
                Uses {
                    dense_input,
                    backward: train,
                },
            )
        });
        let cells: Vec<PackedCell<E>> = cells
            .collect::<Result<_, _>>()
            .map_err(ConfigError::Shape)?;
        let table = match config.input {
            InputConfig::OneHot { vocabulary } | InputConfig::Embedding { vocabulary, .. } => Some(
                cells[0]
                    .token_table(vocabulary)
                    .map_err(ConfigError::Shape)?,
            ),
            InputConfig::Dense { .. } => None,
        };
        let (h, o) = (config.hidden, config.outputs);
        let back = if train {
            Some(PackedMatrix::new(level, o, h))
        } else {
            None
        };
        Ok(Self {
            layout: layout.clone(),
            level,
            cells,
            table,
            decoder: PackedMatrix::new(level, h, o).map_err(ConfigError::Shape)?,
            decoder_back: back.transpose().map_err(ConfigError::Shape)?,
            decoder_bias: vec![E::ZERO; o],
            embedding: vec![E::ZERO; layout.embedding().len()],
        })
    }

    /// Packs `params`.
    ///
    /// # Panics
    /// `params` has another length than the layout.
    pub fn load(&mut self, params: &[E], threads: Threads) {
        assert_eq!(params.len(), self.layout.len(), "number of parameters");
        let config = *self.layout.config();
        let weight = matrix(
            &params[self.layout.decoder_weight()],
            config.hidden,
            config.outputs,
        );
        let (decoder, back) = (&mut self.decoder, &mut self.decoder_back);
        let (cells, layout) = (&mut self.cells, &self.layout);
        let alone = threads.count() == 1;
        join(
            alone,
            || pack_layers(cells, 0, layout, params, alone),
            || {
                decoder.pack(weight);
                if let Some(back) = back {
                    back.pack_transposed(weight);
                }
            },
        );
        self.embedding
            .copy_from_slice(&params[self.layout.embedding()]);
        if let Some(table) = &mut self.table {
            match config.input {
                InputConfig::Embedding { vocabulary, width } => {
                    let rows = matrix(&params[self.layout.embedding()], vocabulary, width);
                    self.cells[0].fill_table(rows, table, threads);
                }
                InputConfig::OneHot { .. } | InputConfig::Dense { .. } => {
                    self.cells[0].fill_one_hot(split(&self.layout, params, 0), table);
                }
            }
        }
        self.decoder_bias
            .copy_from_slice(&params[self.layout.decoder_bias()]);
    }

    /// The layout it was made for.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The inputs as the first layer takes them.
    pub(crate) fn first_input<'a>(&'a self, inputs: Inputs<'a, E>, rows: usize) -> Input<'a, E> {
        match (inputs, &self.table) {
            (Inputs::Tokens(ids), Some(table)) => Input::Tokens { ids, table },
            (Inputs::Vectors(x), None) => {
                Input::Dense(matrix(x, rows, self.layout.config().input.width()))
            }
            (Inputs::Tokens(_), None) => panic!("the network takes vectors, not tokens"),
            (Inputs::Vectors(_), Some(_)) => panic!("the network takes tokens, not vectors"),
        }
    }
}

/// Packs the layers from `first` on, at once if there are threads for it.
fn pack_layers<E: Element>(
    cells: &mut [PackedCell<E>],
    first: usize,
    layout: &Layout,
    params: &[E],
    alone: bool,
) {
    match cells {
        [] => {}
        [cell] => cell.pack(split(layout, params, first)),
        _ => {
            let middle = cells.len() / 2;
            let (below, above) = cells.split_at_mut(middle);
            join(
                alone,
                || pack_layers(below, first, layout, params, alone),
                || pack_layers(above, first + middle, layout, params, alone),
            );
        }
    }
}

/// The parameters of one layer.
fn split<'a, E: Element>(layout: &Layout, params: &'a [E], layer: usize) -> Params<'a, E> {
    let flat = &params[layout.layer(layer)];
    layout.shapes()[layer]
        .split(flat)
        .unwrap_or_else(|error| panic!("{error}"))
}
