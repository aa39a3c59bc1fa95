//! What the Rust rivals share: the protocol with `run.py`, the clock, and the numbers they compute with.
//!
//! A worker reads a request a line and answers a line, all JSON. `prepare` builds a case and returns a probe of its
//! result, which `run.py` compares between rivals; `measure` times the prepared case. `serve.py` is the same in Python.

use std::io::{BufRead, Write};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// One case of the grid: `T` steps of `B` rows, input width `I`, hidden width `H`.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// `infer`, `infer_b1`, `step`, `train` or `charlm`.
    pub case: String,
    /// `lstm`, `gru` (reset before), `gru-after` or `rnn`.
    pub cell: String,
    #[serde(rename = "T")]
    pub t: usize,
    #[serde(rename = "B")]
    pub b: usize,
    #[serde(rename = "I")]
    pub i: usize,
    #[serde(rename = "H")]
    pub h: usize,
    /// The case as an ONNX file of one node.
    #[serde(default)]
    pub model: String,
}

/// A case ready to be timed, and what it computed.
pub struct Prepared {
    pub run: Box<dyn FnMut()>,
    pub probe: Probe,
}

/// Some values of a result, chosen so that every layout of weights and sequences gives the same ones.
#[derive(Default, Serialize)]
pub struct Probe {
    /// Hidden states at 64 places of `[T, B, H]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub y: Vec<f64>,
    /// Input gradients at 64 places of `[T, B, I]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dx: Vec<f64>,
    /// Euclidean norms of dW, dU, db, dh0 and, for an LSTM, dc0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub norms: Vec<f64>,
}

/// Why a rival cannot run a case.
pub type Refusal = Box<dyn std::error::Error>;

/// Answers requests until the input ends. `package` names the rival in Cargo.lock.
pub fn serve(package: &str, prepare: impl Fn(&Case) -> Result<Prepared, Refusal>) {
    answer(&serde_json::json!({ "version": format!("{package} {}", locked_version(package)) }));
    let mut prepared: Option<Prepared> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("run.py closed the pipe within a line");
        match serde_json::from_str(&line).expect("a request of run.py") {
            Request::Prepare(case) => {
                prepared = None; // Before the next case takes its memory.
                match prepare(&case) {
                    Ok(ready) => {
                        answer(&serde_json::json!({ "probe": ready.probe }));
                        prepared = Some(ready);
                    }
                    Err(refusal) => answer(&serde_json::json!({ "skip": refusal.to_string() })),
                }
            }
            Request::Measure { seconds } => {
                let case = prepared.as_mut().expect("prepare comes before measure");
                let (ms, ms_min) = measure(seconds, &mut case.run);
                answer(&serde_json::json!({ "ms": ms, "ms_min": ms_min }));
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Request {
    Prepare(Case),
    Measure { seconds: f64 },
}

fn answer(value: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")
        .and_then(|()| out.flush())
        .expect("run.py listens");
}

/// Milliseconds of a call: median and least over samples of at least [`SAMPLE_S`], for about `seconds`.
fn measure(seconds: f64, run: &mut dyn FnMut()) -> (f64, f64) {
    let begin = Instant::now();
    let mut time = |calls: u32| {
        let begin = Instant::now();
        (0..calls).for_each(|_| run());
        begin.elapsed().as_secs_f64()
    };
    let mut calls = 1;
    let mut sample = time(calls);
    while sample < SAMPLE_S {
        calls *= 2;
        sample = time(calls);
    }
    let mut samples = vec![sample];
    while begin.elapsed().as_secs_f64() < seconds {
        samples.push(time(calls));
    }
    samples.sort_by(f64::total_cmp);
    let ms = |sample: f64| sample / f64::from(calls) * 1e3;
    (ms(samples[samples.len() / 2]), ms(samples[0]))
}

impl Case {
    /// Gates of the cell.
    pub fn gates(&self) -> usize {
        match self.cell.as_str() {
            "lstm" => 4,
            "rnn" => 1,
            _ => 3,
        }
    }

    /// Whether the state of a call goes into the next one.
    pub fn carries(&self) -> bool {
        self.case == "step"
    }

    /// Weights as `nn.LSTM`, `nn.GRU` and `nn.RNN` of PyTorch lay them out: gates i, f, g, o or r, z, n.
    pub fn weights(&self) -> Weights {
        let rows = self.gates() * self.h;
        let scale = 1.0 / (self.h as f32).sqrt();
        Weights {
            w: uniform(rows * self.i, 2, scale),
            u: uniform(rows * self.h, 3, scale),
            b_ih: uniform(rows, 4, scale),
            b_hh: uniform(rows, 5, scale),
        }
    }

    /// Inputs, `[T, B, I]`.
    pub fn x(&self) -> Vec<f32> {
        uniform(self.t * self.b * self.i, 1, 1.0)
    }

    /// Initial hidden states, `[B, H]`.
    pub fn h0(&self) -> Vec<f32> {
        uniform(self.b * self.h, 6, 0.5)
    }

    /// Initial cell states, `[B, H]`.
    pub fn c0(&self) -> Vec<f32> {
        uniform(self.b * self.h, 7, 0.5)
    }

    /// Gradients that come down to the hidden states, `[T, B, H]`.
    pub fn dy(&self) -> Vec<f32> {
        uniform(self.t * self.b * self.h, 8, 1.0)
    }

    /// Values at the probe's places of `[T, B, width]`, given by `(t, b, unit)`.
    pub fn places(&self, width: usize, at: impl Fn(usize, usize, usize) -> f64) -> Vec<f64> {
        let last = self.t * self.b * width - 1;
        (0..PLACES)
            .map(|k| {
                let flat = k * last / (PLACES - 1);
                at(flat / (self.b * width), flat / width % self.b, flat % width)
            })
            .collect()
    }

    /// [`Case::places`] of a contiguous `[T, B, width]`.
    pub fn time_major(&self, width: usize, values: &[f32]) -> Vec<f64> {
        self.places(width, |t, b, unit| {
            values[(t * self.b + b) * width + unit].into()
        })
    }

    /// [`Case::places`] of a contiguous `[B, T, width]`.
    pub fn batch_major(&self, width: usize, values: &[f32]) -> Vec<f64> {
        self.places(width, |t, b, unit| {
            values[(b * self.t + t) * width + unit].into()
        })
    }
}

/// Weights of one layer.
pub struct Weights {
    /// `[G·H, I]`
    pub w: Vec<f32>,
    /// `[G·H, H]`
    pub u: Vec<f32>,
    /// `[G·H]`
    pub b_ih: Vec<f32>,
    /// `[G·H]`
    pub b_hh: Vec<f32>,
}

/// `[T, B, width]` as `[B, T, width]`.
pub fn to_batch_major(case: &Case, width: usize, values: &[f32]) -> Vec<f32> {
    (0..case.b * case.t)
        .flat_map(|row| {
            let (b, t) = (row / case.t, row % case.t);
            &values[(t * case.b + b) * width..][..width]
        })
        .copied()
        .collect()
}

/// Euclidean norm over all the parts of a gradient.
pub fn norm<'a>(parts: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    parts
        .into_iter()
        .flatten()
        .map(|&value| f64::from(value).powi(2))
        .sum::<f64>()
        .sqrt()
}

/// `count` values in [-scale, scale), the same in `cases.py`: a 32-bit integer hash (C. Wellons' lowbias32) of
/// position and stream.
pub fn uniform(count: usize, stream: u32, scale: f32) -> Vec<f32> {
    (0..count as u32)
        .map(|position| {
            let mut x = position.wrapping_add(stream.wrapping_mul(0x9e37_79b9));
            x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
            x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
            x ^= x >> 16;
            ((x >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
        })
        .collect()
}

/// The version of a package that this binary was built with.
fn locked_version(package: &str) -> &'static str {
    include_str!("../Cargo.lock")
        .split_once(&format!("name = \"{package}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("", |(version, _)| version)
}

/// Long against the clock's resolution and a call's overhead, short against the machine's disturbances.
const SAMPLE_S: f64 = 0.01;
const PLACES: usize = 64;
