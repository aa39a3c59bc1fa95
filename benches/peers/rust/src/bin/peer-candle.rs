//! candle: `candle_nn::rnn::{LSTM, GRU}`, whose steps include the input product. No RNN with tanh, no GRU that resets
//! before.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::rnn::{GRU, GRUConfig, GRUState, LSTM, LSTMConfig, LSTMState, RNN};
use candle_nn::{AdamW, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use ifog_peers::{Case, Prepared, Probe, Refusal, norm, serve, to_batch_major, uniform};

fn main() {
    let threads = std::env::args().nth(1).unwrap_or("1".into());
    // SAFETY: no other thread exists yet. candle's products take their threads from rayon.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads) };
    serve("candle-nn", prepare);
}

fn prepare(case: &Case) -> std::result::Result<Prepared, Refusal> {
    Ok(match (case.case.as_str(), case.cell.as_str()) {
        ("charlm", _) => char_lm(case)?,
        (_, "lstm") => cell(case, |weights| {
            LSTM::new(case.i, case.h, LSTMConfig::default(), weights)
        })?,
        (_, "gru-after") => cell(case, |weights| {
            GRU::new(case.i, case.h, GRUConfig::default(), weights)
        })?,
        _ => return Err("no such cell".into()),
    })
}

fn cell<Cell>(case: &Case, new: impl Fn(VarBuilder) -> Result<Cell>) -> Result<Prepared>
where
    Cell: RNN<State: State> + 'static,
{
    let rows = case.gates() * case.h;
    let values = case.weights();
    let weights = [
        (
            "weight_ih_l0",
            Var::from_tensor(&tensor(values.w, &[rows, case.i])?)?,
        ),
        (
            "weight_hh_l0",
            Var::from_tensor(&tensor(values.u, &[rows, case.h])?)?,
        ),
        (
            "bias_ih_l0",
            Var::from_tensor(&tensor(values.b_ih, &[rows])?)?,
        ),
        (
            "bias_hh_l0",
            Var::from_tensor(&tensor(values.b_hh, &[rows])?)?,
        ),
    ];
    let training = case.case == "train";
    // A tensor that is no variable records no graph.
    let named = |(name, var): &(&str, Var)| {
        (
            name.to_string(),
            if training {
                var.as_tensor().clone()
            } else {
                var.as_detached_tensor()
            },
        )
    };
    let tensors: HashMap<String, Tensor> = weights.iter().map(named).collect();
    let cell = new(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))?;
    if training {
        train(case, cell, &weights.map(|(_, var)| var))
    } else {
        infer(case, cell)
    }
}

/// What the two cells' states have in common.
trait State: Clone {
    fn of(h: Tensor, c: Tensor) -> Self;
    fn hidden(&self) -> &Tensor;
}

impl State for LSTMState {
    fn of(h: Tensor, c: Tensor) -> Self {
        Self::new(h, c)
    }
    fn hidden(&self) -> &Tensor {
        self.h()
    }
}

impl State for GRUState {
    fn of(h: Tensor, _: Tensor) -> Self {
        Self { h }
    }
    fn hidden(&self) -> &Tensor {
        self.h()
    }
}

fn infer<Cell: RNN<State: State> + 'static>(case: &Case, cell: Cell) -> Result<Prepared> {
    let x = inputs(case)?;
    let shape = [case.b, case.h];
    let mut state = Cell::State::of(tensor(case.h0(), &shape)?, tensor(case.c0(), &shape)?);
    let y = outputs(&cell.seq_init(&x, &state)?)?;
    let probe = Probe {
        y: case.batch_major(case.h, &y.flatten_all()?.to_vec1()?),
        ..Probe::default()
    };
    let first = x.get_on_dim(1, 0)?.contiguous()?;
    let carries = case.carries();
    let run = move || {
        if carries {
            state = cell.step(&first, &state).expect("it ran before");
        } else {
            outputs(&cell.seq_init(&x, &state).expect("it ran before")).expect("it ran before");
        }
    };
    Ok(Prepared {
        run: Box::new(run),
        probe,
    })
}

fn train<Cell: RNN<State: State> + 'static>(
    case: &Case,
    cell: Cell,
    weights: &[Var],
) -> Result<Prepared> {
    let shape = [case.b, case.h];
    let x = Var::from_tensor(&inputs(case)?)?;
    let h0 = Var::from_tensor(&tensor(case.h0(), &shape)?)?;
    let c0 = Var::from_tensor(&tensor(case.c0(), &shape)?)?;
    let dy = tensor(
        to_batch_major(case, case.h, &case.dy()),
        &[case.b, case.t, case.h],
    )?;
    let inputs = (x.clone(), h0.clone(), c0.clone());
    let pass = move || {
        let state = Cell::State::of(inputs.1.as_tensor().clone(), inputs.2.as_tensor().clone());
        let y = outputs(&cell.seq_init(&inputs.0, &state)?)?;
        (y * &dy)?.sum_all()?.backward()
    };
    let gradients = pass()?;
    let of = |var: &Var| -> Result<Vec<f32>> {
        gradients.get(var).expect("a leaf").flatten_all()?.to_vec1()
    };
    let mut leaves: Vec<&Var> = weights[..3].iter().collect();
    leaves.push(&h0);
    if case.cell == "lstm" {
        leaves.push(&c0);
    }
    let norms = leaves
        .into_iter()
        .map(|leaf| Ok(norm([of(leaf)?.as_slice()])))
        .collect::<Result<_>>()?;
    let probe = Probe {
        dx: case.batch_major(case.i, &of(&x)?),
        norms,
        ..Probe::default()
    };
    Ok(Prepared {
        run: Box::new(move || drop(pass().expect("it ran before"))),
        probe,
    })
}

/// Two layers, linear, softmax cross-entropy, clipped by global norm, Adam; the state is carried.
fn char_lm(case: &Case) -> Result<Prepared> {
    let (t, b, h) = (case.t, case.b, case.h);
    let variables = VarMap::new();
    let builder = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let lower = candle_nn::lstm(case.i, h, LSTMConfig::default(), builder.pp("lower"))?;
    let upper = candle_nn::lstm(h, h, LSTMConfig::default(), builder.pp("upper"))?;
    let decoder: Linear = candle_nn::linear(h, case.i, builder.pp("decoder"))?;
    let adam = ParamsAdamW {
        lr: 2e-3,
        weight_decay: 0.0,
        ..ParamsAdamW::default()
    };
    let mut adam = AdamW::new(variables.all_vars(), adam)?;
    let symbol = |value: f32| ((value + 1.0) / 2.0 * case.i as f32) as u32;
    let text: Vec<u32> = uniform(t * b, 9, 1.0).into_iter().map(symbol).collect();
    let text = Tensor::from_vec(text, t * b, &Device::Cpu)?;
    let one_hot = Tensor::eye(case.i, DType::F32, &Device::Cpu)?;
    let mut states = (lower.zero_state(b)?, upper.zero_state(b)?);
    let mut step = move || -> Result<()> {
        let x = one_hot.index_select(&text, 0)?.reshape((b, t, ()))?;
        let first = lower.seq_init(&x, &states.0)?;
        let second = upper.seq_init(&lower.states_to_tensor(&first)?, &states.1)?;
        let logits = decoder.forward(&upper.states_to_tensor(&second)?.reshape((b * t, h))?)?;
        let mut gradients = candle_nn::loss::cross_entropy(&logits, &text)?.backward()?;
        let vars = variables.all_vars();
        let mut square = 0.0;
        for var in &vars {
            square += gradients
                .get(var)
                .expect("a leaf")
                .sqr()?
                .sum_all()?
                .to_scalar::<f32>()?;
        }
        let scale = f64::from((5.0 / square.sqrt()).min(1.0));
        for var in &vars {
            let clipped = (gradients.get(var).expect("a leaf") * scale)?;
            gradients.insert(var, clipped);
        }
        adam.step(&gradients)?;
        let detached = |state: &LSTMState| LSTMState::new(state.h().detach(), state.c().detach());
        states = (detached(&first[t - 1]), detached(&second[t - 1]));
        Ok(())
    };
    step()?;
    Ok(Prepared {
        run: Box::new(move || step().expect("it ran before")),
        probe: Probe::default(),
    })
}

/// Hidden states as one `[B, T, H]`.
fn outputs<S: State>(states: &[S]) -> Result<Tensor> {
    Tensor::stack(&states.iter().map(State::hidden).collect::<Vec<_>>(), 1)
}

/// `[B, T, I]`, as candle wants its sequences.
fn inputs(case: &Case) -> Result<Tensor> {
    tensor(
        to_batch_major(case, case.i, &case.x()),
        &[case.b, case.t, case.i],
    )
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)
}
