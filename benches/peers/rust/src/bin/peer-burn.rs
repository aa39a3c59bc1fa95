//! burn on its `flex` (default) or `ndarray` back end: `nn::{Lstm, Gru, Rnn}`, one product a gate and step.

use burn::grad_clipping::GradientClippingConfig;
use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{
    GateController, Gru, GruConfig, Linear, LinearConfig, Lstm, LstmConfig, LstmState, Rnn,
    RnnConfig, RnnState,
};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use ifog_peers::{Case, Prepared, Probe, Weights, norm, serve, to_batch_major, uniform};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().unwrap_or("1".into());
    // SAFETY: no other thread exists yet.
    unsafe {
        std::env::set_var("RAYON_NUM_THREADS", &threads);
        std::env::set_var("MATMUL_NUM_THREADS", &threads);
    }
    let ndarray = arguments.next().as_deref() == Some("ndarray");
    serve("burn", move |case| Ok(prepare(case, &device(ndarray))));
}

#[allow(deprecated)] // ndarray, kept because flex is not faster everywhere.
fn device(ndarray: bool) -> Device {
    if ndarray {
        Device::ndarray()
    } else {
        Device::flex()
    }
}

fn prepare(case: &Case, device: &Device) -> Prepared {
    match case.case.as_str() {
        "charlm" => char_lm(case, &device.clone().autodiff()),
        "train" => train(case, &device.clone().autodiff()),
        _ => infer(case, device),
    }
}

#[allow(clippy::large_enum_variant)] // One of them exists.
enum Cell {
    Lstm(Lstm),
    Gru(Gru),
    Rnn(Rnn),
}

/// h and c, `[B, H]`.
type State = (Tensor<2>, Tensor<2>);

impl Cell {
    fn new(case: &Case, device: &Device) -> Self {
        let (i, h) = (case.i, case.h);
        let weights = case.weights();
        let gate = |into: &mut GateController, gate| set_gate(into, &weights, gate, case, device);
        match case.cell.as_str() {
            "lstm" => {
                let mut cell = LstmConfig::new(i, h, true).init(device);
                gate(&mut cell.input_gate, 0);
                gate(cell.forget_gate.as_mut().expect("the default has one"), 1);
                gate(&mut cell.cell_gate, 2);
                gate(&mut cell.output_gate, 3);
                Self::Lstm(cell)
            }
            "rnn" => {
                let mut cell = RnnConfig::new(i, h, true).init(device);
                gate(&mut cell.gate, 0);
                Self::Rnn(cell)
            }
            form => {
                let mut cell = GruConfig::new(i, h, true)
                    .with_reset_after(form == "gru-after")
                    .init(device);
                gate(&mut cell.reset_gate, 0);
                gate(&mut cell.update_gate, 1);
                gate(&mut cell.new_gate, 2);
                Self::Gru(cell)
            }
        }
    }

    fn gates(&self) -> Vec<&GateController> {
        match self {
            Self::Lstm(cell) => {
                let forget = cell.forget_gate.as_ref().expect("the default has one");
                vec![&cell.input_gate, forget, &cell.cell_gate, &cell.output_gate]
            }
            Self::Gru(cell) => vec![&cell.reset_gate, &cell.update_gate, &cell.new_gate],
            Self::Rnn(cell) => vec![&cell.gate],
        }
    }

    /// Hidden states `[B, T, H]` and the last state.
    fn forward(&self, x: Tensor<3>, (h, c): State) -> (Tensor<3>, State) {
        match self {
            Self::Lstm(cell) => {
                let (y, state) = cell.forward(x, Some(LstmState::new(c, h)));
                (y, (state.hidden, state.cell))
            }
            Self::Rnn(cell) => {
                let (y, state) = cell.forward(x, Some(RnnState::new(h)));
                (y, (state.hidden, c))
            }
            Self::Gru(cell) => {
                let y = cell.forward(x, Some(h));
                let [b, t, h] = y.dims();
                let last = y.clone().slice([0..b, t - 1..t, 0..h]).reshape([b, h]);
                (y, (last, c))
            }
        }
    }
}

/// burn's rows are inputs, PyTorch's are outputs.
fn set_gate(
    into: &mut GateController,
    weights: &Weights,
    gate: usize,
    case: &Case,
    device: &Device,
) {
    let h = case.h;
    let set = |linear: &mut Linear, weight: &[f32], bias: &[f32], width: usize| {
        let rows = &weight[gate * h * width..][..h * width];
        let columns = (0..width)
            .flat_map(|k| (0..h).map(move |unit| rows[unit * width + k]))
            .collect();
        linear.weight = Param::from_tensor(tensor(columns, [width, h], device));
        linear.bias = Some(Param::from_tensor(tensor(
            bias[gate * h..][..h].to_vec(),
            [h],
            device,
        )));
    };
    set(&mut into.input_transform, &weights.w, &weights.b_ih, case.i);
    set(&mut into.hidden_transform, &weights.u, &weights.b_hh, h);
}

fn infer(case: &Case, device: &Device) -> Prepared {
    let cell = Cell::new(case, device);
    let x = inputs(case, device);
    let mut state = initial(case, device);
    let (y, _) = cell.forward(x.clone(), state.clone());
    let probe = Probe {
        y: case.batch_major(case.h, &values(y)),
        ..Probe::default()
    };
    let carries = case.carries();
    let device = device.clone();
    let run = move || {
        let (_, last) = cell.forward(x.clone(), state.clone());
        if carries {
            state = last;
        }
        device.sync().expect("it ran before");
    };
    Prepared {
        run: Box::new(run),
        probe,
    }
}

fn train(case: &Case, device: &Device) -> Prepared {
    let cell = Cell::new(case, device);
    let x = inputs(case, device);
    let state = initial(case, device);
    let dy = tensor(
        to_batch_major(case, case.h, &case.dy()),
        [case.b, case.t, case.h],
        device,
    );
    let pass = {
        let (x, state) = (x.clone(), state.clone());
        move |cell: &Cell| -> Pass {
            let x = x.clone().detach().require_grad();
            let h = state.0.clone().detach().require_grad();
            let c = state.1.clone().detach().require_grad();
            let (y, _) = cell.forward(x.clone(), (h.clone(), c.clone()));
            let gradients = (y * dy.clone()).sum().backward();
            Pass {
                dx: x.grad(&gradients),
                dh: h.grad(&gradients),
                dc: c.grad(&gradients),
                gradients,
            }
        }
    };
    let result = pass(&cell);
    let of_gates = |of: &dyn Fn(&GateController) -> Vec<f32>| {
        norm(
            cell.gates()
                .into_iter()
                .map(of)
                .collect::<Vec<_>>()
                .iter()
                .map(Vec::as_slice),
        )
    };
    let of =
        |gradient: Option<Tensor<2>>| gradient.map(|gradient| norm([values(gradient).as_slice()]));
    let mut norms = vec![
        of_gates(&|gate| {
            values(
                gate.input_transform
                    .weight
                    .grad(&result.gradients)
                    .expect("a leaf"),
            )
        }),
        of_gates(&|gate| {
            values(
                gate.hidden_transform
                    .weight
                    .grad(&result.gradients)
                    .expect("a leaf"),
            )
        }),
        of_gates(&|gate| {
            values(
                gate.input_transform
                    .bias
                    .as_ref()
                    .and_then(|bias| bias.grad(&result.gradients))
                    .expect("a leaf"),
            )
        }),
    ];
    norms.extend(of(result.dh));
    norms.extend(of(result.dc));
    let dx = values(result.dx.expect("a leaf"));
    let probe = Probe {
        dx: case.batch_major(case.i, &dx),
        norms,
        ..Probe::default()
    };
    let device = device.clone();
    let run = move || {
        let result = pass(&cell);
        device.sync().expect("it ran before");
        drop(result);
    };
    Prepared {
        run: Box::new(run),
        probe,
    }
}

/// Gradients of inputs, of initial states (of a cell state in an LSTM only), and of the weights.
struct Pass {
    dx: Option<Tensor<3>>,
    dh: Option<Tensor<2>>,
    dc: Option<Tensor<2>>,
    gradients: Gradients,
}

#[derive(Module, Debug)]
struct CharLm {
    lower: Lstm,
    upper: Lstm,
    decoder: Linear,
}

/// Two layers, linear, softmax cross-entropy, Adam, each tensor clipped by its norm; the state is carried.
fn char_lm(case: &Case, device: &Device) -> Prepared {
    let (t, b, h) = (case.t, case.b, case.h);
    let mut model = CharLm {
        lower: LstmConfig::new(case.i, h, true).init(device),
        upper: LstmConfig::new(h, h, true).init(device),
        decoder: LinearConfig::new(h, case.i).init(device),
    };
    let mut adam = AdamConfig::new()
        .with_grad_clipping(Some(GradientClippingConfig::Norm(5.0)))
        .init();
    let symbol = |value: f32| ((value + 1.0) / 2.0 * case.i as f32) as i64;
    let text: Vec<i64> = uniform(t * b, 9, 1.0).into_iter().map(symbol).collect();
    let text: Tensor<2, Int> = Tensor::from_data(TensorData::new(text, [b, t]), device);
    let loss = CrossEntropyLossConfig::new().init(device);
    let zero = || Tensor::zeros([b, h], device);
    let mut states = [
        LstmState::new(zero(), zero()),
        LstmState::new(zero(), zero()),
    ];
    let vocabulary = case.i;
    let on = device.clone();
    let mut step = move || {
        let x: Tensor<3> = text.clone().one_hot::<3>(vocabulary).float();
        let [first, second] = states.clone();
        let (y, first) = model.lower.forward(x, Some(first));
        let (y, second) = model.upper.forward(y, Some(second));
        let logits = model.decoder.forward(y.reshape([b * t, h]));
        let loss = loss.forward(logits, text.clone().reshape([b * t]));
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = adam.step(2e-3, model.clone(), gradients);
        states =
            [first, second].map(|state| LstmState::new(state.cell.detach(), state.hidden.detach()));
        on.sync().expect("it runs");
    };
    step();
    Prepared {
        run: Box::new(step),
        probe: Probe::default(),
    }
}

/// `[B, T, I]`
fn inputs(case: &Case, device: &Device) -> Tensor<3> {
    tensor(
        to_batch_major(case, case.i, &case.x()),
        [case.b, case.t, case.i],
        device,
    )
}

fn initial(case: &Case, device: &Device) -> State {
    let shape = [case.b, case.h];
    (
        tensor(case.h0(), shape, device),
        tensor(case.c0(), shape, device),
    )
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("it is f32")
}
