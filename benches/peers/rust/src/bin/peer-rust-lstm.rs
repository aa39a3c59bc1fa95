//! rust-lstm: its `LSTMCell`, step by step as its own networks call it. It computes in f64 on one thread.

use ifog_peers::{Case, Prepared, Probe, Refusal, norm, serve};
use ndarray::Array2;
use rust_lstm::layers::lstm_cell::{LSTMCell, LSTMCellGradients};

fn main() {
    serve("rust-lstm", prepare);
}

fn prepare(case: &Case) -> Result<Prepared, Refusal> {
    if case.cell != "lstm" || case.case == "charlm" {
        return Err("measured with its LSTM cell only".into());
    }
    let weights = case.weights();
    let rows = case.gates() * case.h;
    let mut cell = LSTMCell::new(case.i, case.h);
    cell.w_ih = matrix(&weights.w, rows);
    cell.w_hh = matrix(&weights.u, rows);
    cell.b_ih = matrix(&weights.b_ih, rows);
    cell.b_hh = matrix(&weights.b_hh, rows);
    cell.eval();
    let sequence = columns(&case.x(), case.t, case.b);
    let state = (
        columns(&case.h0(), 1, case.b).swap_remove(0),
        columns(&case.c0(), 1, case.b).swap_remove(0),
    );
    Ok(match case.case.as_str() {
        "train" => train(case, cell, sequence, state),
        _ => infer(case, cell, sequence, state),
    })
}

/// h and c, `[H, B]`.
type State = (Array2<f64>, Array2<f64>);

fn infer(
    case: &Case,
    mut cell: LSTMCell,
    sequence: Vec<Array2<f64>>,
    mut state: State,
) -> Prepared {
    let mut forward = move |state: &State| {
        let mut outputs = Vec::with_capacity(sequence.len());
        let mut state = state.clone();
        for x in &sequence {
            state = cell.forward(x, &state.0, &state.1);
            outputs.push(state.0.clone());
        }
        (outputs, state)
    };
    let (y, _) = forward(&state);
    let probe = Probe {
        y: case.places(case.h, |t, b, unit| y[t][[unit, b]]),
        ..Probe::default()
    };
    let carries = case.carries();
    let run = move || {
        let (_, last) = forward(&state);
        if carries {
            state = last;
        }
    };
    Prepared {
        run: Box::new(run),
        probe,
    }
}

fn train(case: &Case, mut cell: LSTMCell, sequence: Vec<Array2<f64>>, state: State) -> Prepared {
    let upstream = columns(&case.dy(), case.t, case.b);
    let mut pass = move || -> (LSTMCellGradients, Vec<Array2<f64>>, State) {
        let mut caches = Vec::with_capacity(sequence.len());
        let mut state = state.clone();
        for x in &sequence {
            let (h, c, cache) = cell.forward_with_cache(x, &state.0, &state.1);
            state = (h, c);
            caches.push(cache);
        }
        let mut gradients = cell.zero_gradients();
        let mut inputs = Vec::with_capacity(sequence.len());
        let zero = Array2::zeros(state.0.raw_dim());
        let mut down = (zero.clone(), zero);
        for (dy, cache) in upstream.iter().zip(&caches).rev() {
            let (of_step, dx, dh, dc) = cell.backward(&(dy + &down.0), &down.1, cache);
            gradients.accumulate(&of_step);
            inputs.push(dx);
            down = (dh, dc);
        }
        inputs.reverse();
        (gradients, inputs, down)
    };
    let (gradients, dx, (dh, dc)) = pass();
    let norm = |values: &Array2<f64>| {
        norm([values
            .iter()
            .map(|&value| value as f32)
            .collect::<Vec<_>>()
            .as_slice()])
    };
    let probe = Probe {
        dx: case.places(case.i, |t, b, unit| dx[t][[unit, b]]),
        norms: [&gradients.w_ih, &gradients.w_hh, &gradients.b_ih, &dh, &dc]
            .map(norm)
            .to_vec(),
        ..Probe::default()
    };
    Prepared {
        run: Box::new(move || drop(pass())),
        probe,
    }
}

fn matrix(values: &[f32], rows: usize) -> Array2<f64> {
    let values = values.iter().copied().map(f64::from).collect::<Vec<_>>();
    Array2::from_shape_vec((rows, values.len() / rows), values).expect("whole rows")
}

/// `[T, B, width]` as `T` matrices `[width, B]`.
fn columns(values: &[f32], t: usize, b: usize) -> Vec<Array2<f64>> {
    values
        .chunks(values.len() / t)
        .map(|step| {
            matrix(step, b)
                .reversed_axes()
                .as_standard_layout()
                .to_owned()
        })
        .collect()
}
