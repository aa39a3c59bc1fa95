//! Random problems, and the kernels run on them: what every test of the cells starts from.

#![allow(
    dead_code,
    reason = "compiled into each test binary, which uses its own part"
)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::ops::Range;

use ifog_kernels::{
    Backprop, Cell, Element, Infer, Input, Level, MatMut, MatRef, PackedCell, Record, Shape, Tape,
    Threads, TokenTable, Uses,
};
use proptest::prelude::*;

/// The size of a problem, and the seed of its numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) cell: Cell,
    /// T.
    pub(crate) steps: usize,
    /// B.
    pub(crate) batch: usize,
    /// I.
    pub(crate) input: usize,
    /// H.
    pub(crate) hidden: usize,
    pub(crate) seed: u64,
}

/// How the inputs reach the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// Vectors.
    Dense,
    /// Tokens 0..I, standing for one-hot vectors.
    OneHot,
    /// Tokens, standing for rows of an embedding.
    Embedding,
}

/// A cell, its inputs and initial state, and the gradients that come from above. Every number is exactly an f32, so that the
/// f32 kernels solve the same problem.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) shape: Shape,
    pub(crate) steps: usize,
    pub(crate) batch: usize,
    /// W, U, b.
    pub(crate) params: Vec<f64>,
    /// `[T·B, I]`, whatever the feed.
    pub(crate) x: Vec<f64>,
    pub(crate) tokens: Option<Tokens>,
    /// `[B, H]`.
    pub(crate) h: Vec<f64>,
    /// `[B, H]`; empty unless LSTM.
    pub(crate) c: Vec<f64>,
    /// `[T·B, H]`.
    pub(crate) dout: Vec<f64>,
    /// `[B, H]`.
    pub(crate) dh: Vec<f64>,
    /// `[B, H]`; empty unless LSTM.
    pub(crate) dc: Vec<f64>,
}

/// The inputs as tokens.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    /// `[T·B]`.
    pub(crate) ids: Vec<u32>,
    /// The vector of each token, `[V, I]`.
    pub(crate) vectors: Vec<f64>,
    /// The vectors are those of the identity matrix.
    pub(crate) one_hot: bool,
}

/// What a forward pass gives.
#[derive(Clone, Debug)]
pub(crate) struct States<E> {
    /// `[T·B, H]`.
    pub(crate) out: Vec<E>,
    /// The final states, `[B, H]`.
    pub(crate) h: Vec<E>,
    pub(crate) c: Vec<E>,
}

/// What a forward and a backward pass give.
#[derive(Clone, Debug)]
pub(crate) struct Trained<E> {
    pub(crate) states: States<E>,
    /// `[T·B, gates·H]`.
    pub(crate) gates: Vec<E>,
    pub(crate) gradients: Gradients<E>,
}

/// The gradients of the loss by everything that has one.
#[derive(Clone, Debug)]
pub(crate) struct Gradients<E> {
    /// `[T·B, gates·H]`.
    pub(crate) gates: Vec<E>,
    /// `[I, G·H]`; of the token table, `[V, G·H]`, where tokens are fed.
    pub(crate) w: Vec<E>,
    pub(crate) u: Vec<E>,
    pub(crate) b: Vec<E>,
    /// `[T·B, I]`; empty where tokens are fed.
    pub(crate) x: Vec<E>,
    /// Of the initial states.
    pub(crate) h: Vec<E>,
    pub(crate) c: Vec<E>,
}

/// Sizes around every tile edge: up to 9 rows (tiles of 1 to 8), 1 to 40 columns (vectors of 4, 8, 16 lanes, panels
/// of 1 to 4 vectors).
pub(crate) fn sizes() -> impl Strategy<Value = Sizes> {
    let cell = prop::sample::select(Cell::ALL.to_vec());
    (
        cell,
        1..=12_usize,
        1..=9_usize,
        1..=40_usize,
        1..=40_usize,
        any::<u64>(),
    )
        .prop_map(|(cell, steps, batch, input, hidden, seed)| Sizes {
            cell,
            steps,
            batch,
            input,
            hidden,
            seed,
        })
}

/// `cases` cases; a failure prints its sizes and seed, so nothing need be written to disk.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

impl Problem {
    pub(crate) fn random(sizes: Sizes, feed: Feed) -> Self {
        let Sizes {
            cell,
            steps,
            batch,
            input,
            hidden,
            seed,
        } = sizes;
        let shape = Shape::new(cell, input, hidden).unwrap();
        let mut numbers = Numbers(seed);
        // Pre-activations of unit size, as a trained cell has: neither linear nor saturated.
        let weight = 1.7 / ((input + hidden) as f64).sqrt();
        let params = numbers.take(shape.param_len(), weight);
        let tokens = (feed != Feed::Dense).then(|| {
            let one_hot = feed == Feed::OneHot;
            let vocabulary = if one_hot {
                input
            } else {
                2 + numbers.below(30)
            };
            let vectors = if one_hot {
                (0..input * input)
                    .map(|k| f64::from(u8::from(k % (input + 1) == 0)))
                    .collect()
            } else {
                numbers.take(vocabulary * input, 1.0)
            };
            let ids = (0..steps * batch).map(|_| numbers.below(vocabulary) as u32);
            Tokens {
                ids: ids.collect(),
                vectors,
                one_hot,
            }
        });
        let x = match &tokens {
            None => numbers.take(steps * batch * input, 1.0),
            Some(tokens) => {
                let vector = |id: &u32| &tokens.vectors[*id as usize * input..][..input];
                tokens.ids.iter().flat_map(vector).copied().collect()
            }
        };
        let memory = if cell.has_memory() { batch * hidden } else { 0 };
        Self {
            shape,
            steps,
            batch,
            params,
            x,
            tokens,
            h: numbers.take(batch * hidden, 1.0),
            c: numbers.take(memory, 2.0),
            dout: numbers.take(steps * batch * hidden, 1.0),
            dh: numbers.take(batch * hidden, 1.0),
            dc: numbers.take(memory, 1.0),
        }
    }

    /// The same problem with vectors for tokens.
    pub(crate) fn dense(&self) -> Self {
        Self {
            tokens: None,
            ..self.clone()
        }
    }

    /// The problem of one batch row.
    pub(crate) fn row(&self, row: usize) -> Self {
        let batch = self.batch;
        let rows = |all: &[f64], width: usize| -> Vec<f64> {
            let rows = all.chunks_exact(width).skip(row).step_by(batch);
            rows.flatten().copied().collect()
        };
        let (i, h) = (self.shape.input(), self.shape.hidden());
        let tokens = self.tokens.as_ref().map(|tokens| Tokens {
            ids: tokens
                .ids
                .iter()
                .skip(row)
                .step_by(batch)
                .copied()
                .collect(),
            ..tokens.clone()
        });
        Self {
            batch: 1,
            x: rows(&self.x, i),
            tokens,
            h: rows(&self.h, h),
            c: rows(&self.c, h),
            dout: rows(&self.dout, h),
            dh: rows(&self.dh, h),
            dc: rows(&self.dc, h),
            ..self.clone()
        }
    }

    /// L = Σ dout ⊙ out + Σ dh ⊙ h_T + Σ dc ⊙ c_T: its gradients by out, h_T and c_T are dout, dh and dc.
    pub(crate) fn loss(&self, states: &States<f64>) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(&self.dout, &states.out) + dot(&self.dh, &states.h) + dot(&self.dc, &states.c)
    }

    /// Boundaries that cut the window once, somewhere; of one step, not at all.
    pub(crate) fn one_cut(&self, seed: u64) -> Vec<usize> {
        let mut cuts = vec![0, self.steps];
        if self.steps > 1 {
            cuts.insert(1, 1 + seed as usize % (self.steps - 1));
        }
        cuts
    }

    /// Boundaries of windows cut at random.
    pub(crate) fn random_cuts(&self, seed: u64) -> Vec<usize> {
        let mut numbers = Numbers(seed);
        let inner = (1..self.steps).filter(|_| numbers.below(3) == 0);
        [0].into_iter().chain(inner).chain([self.steps]).collect()
    }
}

/// A problem in the kernels' element type, with its packed cell. The runs take the boundaries of their windows,
/// `[0, …, T]`: each window is a call of its own, from the state that the one before it left.
pub(crate) struct Setup<E> {
    cell: PackedCell<E>,
    threads: Threads,
    shape: Shape,
    steps: usize,
    batch: usize,
    x: Vec<E>,
    ids: Vec<u32>,
    table: Option<TokenTable<E>>,
    h: Vec<E>,
    c: Vec<E>,
    dout: Vec<E>,
    dh: Vec<E>,
    dc: Vec<E>,
}

impl<E: Element> Setup<E> {
    pub(crate) fn new(problem: &Problem, level: Level, threads: Threads) -> Self {
        let params = convert(&problem.params);
        let params = problem.shape.split(&params).unwrap();
        let tokens = problem.tokens.as_ref();
        let uses = Uses {
            dense_input: tokens.is_none_or(|tokens| !tokens.one_hot),
            backward: true,
        };
        let mut cell = PackedCell::new(level, problem.shape, uses).unwrap();
        cell.pack(params);
        let table = tokens.map(|tokens| {
            let input = problem.shape.input();
            let vocabulary = tokens.vectors.len() / input;
            let mut table = cell.token_table(vocabulary).unwrap();
            if tokens.one_hot {
                cell.fill_one_hot(params, &mut table);
            } else {
                let vectors = convert(&tokens.vectors);
                let vectors = MatRef::new(&vectors, vocabulary, input).unwrap();
                cell.fill_table(vectors, &mut table, threads);
            }
            table
        });
        Self {
            cell,
            threads,
            shape: problem.shape,
            steps: problem.steps,
            batch: problem.batch,
            x: convert(&problem.x),
            ids: tokens.map_or_else(Vec::new, |tokens| tokens.ids.clone()),
            table,
            h: convert(&problem.h),
            c: convert(&problem.c),
            dout: convert(&problem.dout),
            dh: convert(&problem.dh),
            dc: convert(&problem.dc),
        }
    }

    pub(crate) fn whole(&self) -> [usize; 2] {
        [0, self.steps]
    }

    /// Without a tape.
    pub(crate) fn infer(&self, cuts: &[usize]) -> States<E> {
        let hidden = self.shape.hidden();
        let (mut h, mut c) = (self.h.clone(), self.c.clone());
        let mut out = Vec::new();
        for window in windows(cuts) {
            let steps = window.len();
            let rows = steps * self.batch;
            // Rows apart: the kernels must not write between them.
            let stride = hidden + 3;
            let mut strided = vec![E::from_f64(7.0); rows * stride];
            let mut scratch = Guarded::new(self.cell.forward_scratch_len(steps, self.batch));
            self.cell.infer(
                Infer {
                    steps,
                    batch: self.batch,
                    input: self.input(window),
                    h: &mut h,
                    c: &mut c,
                    out: MatMut::with_stride(&mut strided, rows, hidden, stride).unwrap(),
                    scratch: scratch.elements(),
                },
                self.threads,
            );
            for row in strided.chunks_exact(stride) {
                out.extend_from_slice(&row[..hidden]);
                assert!(
                    row[hidden..].iter().all(|gap| *gap == E::from_f64(7.0)),
                    "written between the rows of out"
                );
            }
        }
        States { out, h, c }
    }

    /// Records a tape for each window, then runs backwards through the windows, last first.
    pub(crate) fn train(&self, cuts: &[usize]) -> Trained<E> {
        let (states, mut tapes) = self.record(cuts);
        let gates = tapes.iter().flat_map(all_gates).collect();
        let gradients = self.backprop(cuts, &mut tapes);
        Trained {
            states,
            gates,
            gradients,
        }
    }

    fn record(&self, cuts: &[usize]) -> (States<E>, Vec<Tape<E>>) {
        let (mut h, mut c) = (self.h.clone(), self.c.clone());
        let mut out = Vec::new();
        let mut tapes = Vec::new();
        for window in windows(cuts) {
            let steps = window.len();
            // A used tape where there is one, else one with room to spare: neither may show.
            let used = tapes
                .last()
                .filter(|tape: &&Tape<E>| tape.fits(steps, self.batch));
            let mut tape = used
                .cloned()
                .unwrap_or_else(|| Tape::new(self.shape, steps + 1, self.batch + 1).unwrap());
            let mut scratch = Guarded::new(self.cell.forward_scratch_len(steps, self.batch));
            self.cell.forward(
                Record {
                    steps,
                    batch: self.batch,
                    input: self.input(window),
                    h: &h,
                    c: &c,
                    tape: &mut tape,
                    scratch: scratch.elements(),
                },
                self.threads,
            );
            (h, c) = (tape.h(steps).to_vec(), tape.c(steps).to_vec());
            let output = tape.output();
            for row in 0..output.rows() {
                out.extend_from_slice(output.row(row));
            }
            tapes.push(tape);
        }
        (States { out, h, c }, tapes)
    }

    fn backprop(&self, cuts: &[usize], tapes: &mut [Tape<E>]) -> Gradients<E> {
        let (input, hidden, columns) = (
            self.shape.input(),
            self.shape.hidden(),
            self.shape.columns(),
        );
        let zeros = |n: usize| vec![E::ZERO; n];
        let table_rows = self.table.as_ref().map_or(input, TokenTable::vocabulary);
        let mut w = zeros(table_rows * columns);
        let mut u = zeros(hidden * columns);
        let mut b = zeros(self.shape.bias_len());
        let (mut h, mut c) = (self.dh.clone(), self.dc.clone());
        let dense = self.table.is_none();
        let mut x = zeros(if dense { self.x.len() } else { 0 });
        let mut scratch = Guarded::new(self.cell.backward_scratch_len(self.batch, self.threads));
        for (window, tape) in windows(cuts).zip(&mut *tapes).rev() {
            let rows = window.start * self.batch..window.end * self.batch;
            let dout = &self.dout[rows.start * hidden..rows.end * hidden];
            let dx = dense.then(|| &mut x[rows.start * input..rows.end * input]);
            self.cell.backward(
                Backprop {
                    input: self.input(window),
                    tape,
                    dout: MatRef::new(dout, rows.len(), hidden).unwrap(),
                    dh: &mut h,
                    dc: &mut c,
                    grads: ifog_kernels::ParamsMut {
                        w: &mut w,
                        u: &mut u,
                        b: &mut b,
                    },
                    dx: dx.map(|dx| MatMut::new(dx, rows.len(), input).unwrap()),
                    scratch: scratch.elements(),
                },
                self.threads,
            );
        }
        let gates = tapes.iter().flat_map(all_gates).collect();
        Gradients {
            gates,
            w,
            u,
            b,
            x,
            h,
            c,
        }
    }

    /// dx of the whole window as the backward pass gives it, and from the gradients that it leaves on the tape.
    pub(crate) fn input_gradients(&self) -> [Vec<E>; 2] {
        let cuts = self.whole();
        let (_, mut tapes) = self.record(&cuts);
        let gradients = self.backprop(&cuts, &mut tapes);
        let mut x = vec![E::ZERO; gradients.x.len()];
        let (rows, input) = (self.steps * self.batch, self.shape.input());
        let dx = MatMut::new(&mut x, rows, input).unwrap();
        self.cell
            .input_gradient(tapes[0].input_gates(), dx, self.threads);
        [gradients.x, x]
    }

    fn input(&self, window: Range<usize>) -> Input<'_, E> {
        let rows = window.start * self.batch..window.end * self.batch;
        let width = self.shape.input();
        match &self.table {
            Some(table) => Input::Tokens {
                ids: &self.ids[rows],
                table,
            },
            None => Input::Dense(
                MatRef::new(
                    &self.x[rows.start * width..rows.end * width],
                    rows.len(),
                    width,
                )
                .unwrap(),
            ),
        }
    }
}

impl<E: Element> States<E> {
    pub(crate) fn named(&self) -> [(&'static str, &[E]); 3] {
        [("out", &self.out), ("h_T", &self.h), ("c_T", &self.c)]
    }
}

impl<E: Element> Gradients<E> {
    pub(crate) fn named(&self) -> [(&'static str, &[E]); 7] {
        [
            ("dA", &self.gates),
            ("dW", &self.w),
            ("dU", &self.u),
            ("db", &self.b),
            ("dx", &self.x),
            ("dh0", &self.h),
            ("dc0", &self.c),
        ]
    }
}

impl<E: Element> Trained<E> {
    pub(crate) fn named(&self) -> Vec<(&'static str, &[E])> {
        let mut all = self.states.named().to_vec();
        all.push(("gates", &self.gates));
        all.extend(self.gradients.named());
        all
    }
}

/// Fails at the first bit that differs, signs of zero included.
#[track_caller]
pub(crate) fn assert_same_bits<E: Element>(
    actual: &[(&str, &[E])],
    expected: &[(&str, &[E])],
    what: &dyn std::fmt::Debug,
) {
    for ((name, actual), (_, expected)) in actual.iter().zip(expected) {
        assert_eq!(actual.len(), expected.len(), "length of {name}: {what:?}");
        for (k, (a, b)) in actual.iter().zip(*expected).enumerate() {
            // f32 to f64 is exact, so the bits of the f64 are those of the f32.
            assert!(
                a.to_f64().to_bits() == b.to_f64().to_bits(),
                "{name}[{k}] is {a:e}, not {b:e}: {what:?}",
                a = a.to_f64(),
                b = b.to_f64()
            );
        }
    }
}

/// Scratch that no kernel may rely on, between guards that no kernel may touch.
pub(crate) struct Guarded<E: Element> {
    buffer: Vec<E>,
}

const GUARD: usize = 64;

impl<E: Element> Guarded<E> {
    pub(crate) fn new(len: usize) -> Self {
        let mut buffer = vec![E::from_f64(7.0); GUARD + len + GUARD];
        buffer[GUARD..GUARD + len].fill(E::from_f64(f64::NAN));
        Self { buffer }
    }

    pub(crate) fn elements(&mut self) -> &mut [E] {
        let end = self.buffer.len() - GUARD;
        &mut self.buffer[GUARD..end]
    }
}

impl<E: Element> Drop for Guarded<E> {
    fn drop(&mut self) {
        let end = self.buffer.len() - GUARD;
        let guards = self.buffer[..GUARD].iter().chain(&self.buffer[end..]);
        let untouched = guards.copied().all(|guard| guard == E::from_f64(7.0));
        assert!(
            untouched || std::thread::panicking(),
            "written outside the scratch"
        );
    }
}

/// The windows `cuts[k]..cuts[k + 1]`.
fn windows(cuts: &[usize]) -> impl DoubleEndedIterator<Item = Range<usize>> + ExactSizeIterator {
    cuts.windows(2).map(|pair| pair[0]..pair[1])
}

fn all_gates<E: Element>(tape: &Tape<E>) -> Vec<E> {
    let gates = tape.gates();
    (0..gates.rows())
        .flat_map(|row| gates.row(row))
        .copied()
        .collect()
}

fn convert<E: Element>(values: &[f64]) -> Vec<E> {
    values.iter().map(|value| E::from_f64(*value)).collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// `n` values in [−scale, scale), each exactly an f32.
    pub(crate) fn take(&mut self, n: usize, scale: f64) -> Vec<f64> {
        let unit = |bits: u64| (bits >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        (0..n)
            .map(|_| f64::from((scale * unit(self.next())) as f32))
            .collect()
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
