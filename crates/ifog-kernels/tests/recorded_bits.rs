//! The same-bits contract between machines: what other tests compare among the levels of one machine is compared here with
//! what was recorded.
//!
//! A hash *is* the contract: it has these bits on every machine, for every level with a fused multiply-add. Who changes it
//! changes the results of everybody, and says so in the changelog.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod problem;

use ifog_kernels::{Cell, Element, Level, Threads, math};
use problem::{Feed, Numbers, Problem, Setup, Sizes};

/// Of all outputs, gates and gradients of a forward and a backward pass: the cell, in f32, in f64.
const CELLS: [(Cell, u64, u64); 4] = [
    (Cell::Rnn, 0x84B5_5D7B_583F_A957, 0x5FE0_C784_BBEF_D10C),
    (Cell::Lstm, 0x4FB5_982D_8317_85E5, 0x8760_2D76_A433_A195),
    (Cell::Gru, 0xF67F_F1D6_CBF8_253D, 0x7889_4C96_FDA1_8DB0),
    (Cell::GruAfter, 0xF6E3_D1C2_C0C2_C98D, 0xDB1F_1ABB_C07C_05D6),
];

/// The same of exp, sigmoid and tanh.
const FUNCTIONS: [(&str, u64, u64); 3] = [
    ("exp", 0x6E89_83FB_4860_9EC3, 0x2BB7_25D4_CCB5_A409),
    ("sigmoid", 0x578E_5C28_855A_1886, 0xF83B_B305_7F4A_C021),
    ("tanh", 0x2E42_F0F9_318B_BDE1, 0x7CC2_564A_26E1_16E5),
];

#[test]
fn cells_have_the_bits_that_were_recorded() {
    let mut actual = CELLS;
    for level in fused_levels() {
        for (cell, single, double) in &mut actual {
            *single = cell_hash::<f32>(*cell, level);
            *double = cell_hash::<f64>(*cell, level);
        }
        assert!(actual == CELLS, "{level} has {actual:#x?}");
    }
}

#[test]
fn gate_functions_have_the_bits_that_were_recorded() {
    // Every 65,521st f32; numbers within ±760, beyond which exp is 0 or ∞, and within ±24, where tanh is not ±1.
    let single: Vec<f32> = (0..=u32::MAX)
        .step_by(65_521)
        .map(f32::from_bits)
        .filter(|x| !x.is_nan())
        .collect();
    let mut double = Numbers(1).take(1 << 16, 760.0);
    double.extend(Numbers(2).take(1 << 16, 24.0));
    let mut actual = FUNCTIONS;
    for level in fused_levels() {
        for (name, in_single, in_double) in &mut actual {
            *in_single = function_hash(name, level, &single);
            *in_double = function_hash(name, level, &double);
        }
        assert!(actual == FUNCTIONS, "{level} has {actual:#x?}");
    }
}

/// Rows, units and inputs that are no multiple of a tile or a vector.
fn cell_hash<E: Element>(cell: Cell, level: Level) -> u64 {
    let sizes = Sizes {
        cell,
        steps: 11,
        batch: 9,
        input: 21,
        hidden: 37,
        seed: 1,
    };
    let problem = Problem::random(sizes, Feed::Dense);
    let setup = Setup::<E>::new(&problem, level, Threads::SINGLE);
    let trained = setup.train(&setup.whole());
    // An RNN keeps no gates.
    let named = trained.named().into_iter();
    let kept = named.filter(|(name, _)| cell != Cell::Rnn || *name != "gates");
    let results: Vec<&[E]> = kept.map(|(_, values)| values).collect();
    hash(&results)
}

fn function_hash<E: Element>(name: &str, level: Level, numbers: &[E]) -> u64 {
    let function = match name {
        "exp" => math::exp_slice,
        "sigmoid" => math::sigmoid_slice,
        _ => math::tanh_slice,
    };
    let mut results = numbers.to_vec();
    function(level, &mut results);
    hash(&[&results])
}

/// FNV-1a of the bits as f64, which is exact for f32, too.
fn hash<E: Element>(results: &[&[E]]) -> u64 {
    let values = results.iter().copied().flatten();
    let bytes = values.flat_map(|value| value.to_f64().to_bits().to_le_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// Without `std` there may be none.
fn fused_levels() -> Vec<Level> {
    let levels: Vec<_> = Level::available()
        .filter(|level| level.is_fused())
        .collect();
    assert!(!levels.is_empty() || cfg!(not(feature = "std")));
    levels
}
