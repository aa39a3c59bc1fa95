//! The tensors of a model in the order and the gate order of PyTorch, and back.

use ifog_kernels::{Cell, Shape};

use super::DecodeError;
use crate::config::InputConfig;
use crate::finite::first_non_finite;
use crate::parameters::Layout;
use crate::safetensors::{SafeTensors, Tensor};

/// Where gate block g of PyTorch's row order stands in ours.
fn pytorch_gates(cell: Cell) -> &'static [usize] {
    match cell {
        Cell::Rnn => &[0],
        Cell::Lstm => &[0, 1, 3, 2],
        Cell::Gru | Cell::GruAfter => &[0, 1, 2],
    }
}

/// Names and shapes, in the order of the file.
pub(crate) fn tensor_shapes(layout: &Layout) -> Vec<(String, Vec<usize>)> {
    let config = layout.config();
    let mut shapes = Vec::new();
    if let InputConfig::Embedding { vocabulary, width } = config.input {
        shapes.push(("embedding.weight".to_owned(), vec![vocabulary, width]));
    }
    for (layer, shape) in layout.shapes().iter().enumerate() {
        let rows = shape.columns();
        shapes.push((format!("rnn.weight_ih_l{layer}"), vec![rows, shape.input()]));
        shapes.push((
            format!("rnn.weight_hh_l{layer}"),
            vec![rows, shape.hidden()],
        ));
        shapes.push((format!("rnn.bias_ih_l{layer}"), vec![rows]));
        shapes.push((format!("rnn.bias_hh_l{layer}"), vec![rows]));
    }
    shapes.push((
        "decoder.weight".to_owned(),
        vec![config.outputs, config.hidden],
    ));
    shapes.push(("decoder.bias".to_owned(), vec![config.outputs]));
    shapes
}

/// Name, shape and values of a tensor.
pub(crate) type Stored = (String, Vec<usize>, Vec<f32>);

/// They, as a file is written from them.
pub(crate) fn as_tensors(stored: &[Stored]) -> Vec<Tensor<'_>> {
    let stored = stored.iter();
    let tensors = stored.map(|(name, shape, values)| Tensor {
        name,
        shape,
        values,
    });
    tensors.collect()
}

pub(crate) fn stored_tensors(layout: &Layout, params: &[f32]) -> Vec<Stored> {
    let config = layout.config();
    let mut values = Vec::new();
    if !layout.embedding().is_empty() {
        values.push(params[layout.embedding()].to_vec());
    }
    for (layer, shape) in layout.shapes().iter().enumerate() {
        let flat = &params[layout.layer(layer)];
        let (w, rest) = flat.split_at(shape.input() * shape.columns());
        let (u, b) = rest.split_at(shape.hidden() * shape.columns());
        values.push(to_rows(*shape, w, shape.input()));
        values.push(to_rows(*shape, u, shape.hidden()));
        let columns = shape.columns();
        let mut hidden_bias = vec![0.0; columns];
        let split = if shape.cell() == Cell::GruAfter {
            columns
        } else {
            b.len()
        };
        let (input_bias, own) = b.split_at(split);
        hidden_bias[columns - own.len()..].copy_from_slice(own);
        values.push(to_rows(*shape, input_bias, 1));
        values.push(to_rows(*shape, &hidden_bias, 1));
    }
    values.push(transpose(
        &params[layout.decoder_weight()],
        config.hidden,
        config.outputs,
    ));
    values.push(params[layout.decoder_bias()].to_vec());
    let shapes = tensor_shapes(layout).into_iter();
    shapes
        .zip(values)
        .map(|((name, shape), values)| (name, shape, values))
        .collect()
}

pub(crate) fn loaded_parameters(
    layout: &Layout,
    file: &SafeTensors<'_>,
) -> Result<Vec<f32>, DecodeError> {
    let config = layout.config();
    let shapes = tensor_shapes(layout);
    let mut tensors = Vec::with_capacity(shapes.len());
    for (name, shape) in shapes {
        match file.tensor(&name) {
            Some(tensor) if tensor.shape() == shape => {
                tensors.push(finite(&name, tensor.to_vec())?);
            }
            Some(tensor) => {
                let found = tensor.shape();
                let reason = format!(
                    "tensor {name} has the shape {found:?}, and its sizes ask for {shape:?}"
                );
                return Err(DecodeError::Content(reason));
            }
            None => return Err(DecodeError::Content(format!("tensor {name} is missing"))),
        }
    }
    let mut tensors = tensors.into_iter();
    let mut next = || tensors.next().unwrap_or_default();
    let mut params = Vec::with_capacity(layout.len());
    if !layout.embedding().is_empty() {
        params.extend(next());
    }
    for (layer, shape) in layout.shapes().iter().enumerate() {
        params.extend(from_rows(*shape, &next(), shape.input()));
        params.extend(from_rows(*shape, &next(), shape.hidden()));
        let mut bias = from_rows(*shape, &next(), 1);
        let mut hidden_bias = from_rows(*shape, &next(), 1);
        if shape.cell() == Cell::GruAfter {
            let own = hidden_bias.split_off(2 * shape.hidden());
            bias.extend(own);
        }
        // PyTorch adds the two.
        bias.iter_mut()
            .zip(&hidden_bias)
            .for_each(|(b, other)| *b += other);
        params.extend(finite(&format!("rnn.bias of layer {layer}"), bias)?);
    }
    params.extend(transpose(&next(), config.outputs, config.hidden));
    params.extend(next());
    Ok(params)
}

/// The values of a tensor, if they are numbers: with others a model can predict nothing.
fn finite(name: &str, values: Vec<f32>) -> Result<Vec<f32>, DecodeError> {
    match first_non_finite(&values) {
        Some(at) => Err(DecodeError::Content(format!(
            "its tensor {name} has {} at {at}, which is no number: use the model of a run that did not diverge",
            values[at]
        ))),
        None => Ok(values),
    }
}

/// `[k, G·H]` in our gate order to `[G·H, k]` in PyTorch's.
fn to_rows(shape: Shape, values: &[f32], k: usize) -> Vec<f32> {
    let (columns, h) = (shape.columns(), shape.hidden());
    let mut rows = Vec::with_capacity(values.len());
    for gate in pytorch_gates(shape.cell()) {
        for unit in 0..h {
            rows.extend((0..k).map(|k| values[k * columns + gate * h + unit]));
        }
    }
    rows
}

/// The inverse of [`to_rows`].
fn from_rows(shape: Shape, rows: &[f32], k: usize) -> Vec<f32> {
    let (columns, h) = (shape.columns(), shape.hidden());
    let mut values = vec![0.0; rows.len()];
    let mut rows = rows.chunks_exact(k);
    for gate in pytorch_gates(shape.cell()) {
        for (unit, row) in (0..h).zip(&mut rows) {
            for (k, value) in row.iter().enumerate() {
                values[k * columns + gate * h + unit] = *value;
            }
        }
    }
    values
}

/// `[rows, cols]` to `[cols, rows]`.
fn transpose(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..cols)
        .flat_map(|c| (0..rows).map(move |r| values[r * cols + c]))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::config::NetworkConfig;

    #[test]
    fn lstm_gates_are_permuted_and_transposed() {
        let layout = Layout::new(NetworkConfig {
            cell: Cell::Lstm,
            input: InputConfig::OneHot { vocabulary: 7 },
            hidden: 5,
            layers: 1,
            outputs: 7,
        })
        .unwrap();
        let params: Vec<f32> = (0..layout.len()).map(|k| k as f32).collect();
        let stored = stored_tensors(&layout, &params);
        let (h, columns) = (5, 20);
        let (name, shape, values) = &stored[1];
        assert_eq!(
            (name.as_str(), &shape[..]),
            ("rnn.weight_hh_l0", &[columns, h][..])
        );
        let start = layout.layer(0).start + 7 * columns;
        // Row 2H + 3 of PyTorch is unit 3 of g, which is column 3H + 3 of ours.
        for k in 0..h {
            assert_eq!(
                values[(2 * h + 3) * h + k],
                params[start + k * columns + 3 * h + 3]
            );
        }
    }
}
