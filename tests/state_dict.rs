//! Modules of PyTorch, as `safetensors.torch` saves them, in ifog: their outputs, and their files again.
//!
//! The bound: outputs below 2 in size, of at most 10 products a sum, 4 steps and 2 layers: some 80 roundings of 6e-8 if all pointed the
//! same way, 5e-6.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use ifog::config::{InputConfig, NetworkConfig};
use ifog::network::{Inputs, Packed, Reader};
use ifog::parameters::Layout;
use ifog::safetensors::SafeTensors;
use ifog::{Cell, Level, Threads, pytorch};

const CASES: [(&str, Cell); 3] = [
    ("lstm", Cell::Lstm),
    ("gru", Cell::GruAfter),
    ("rnn", Cell::Rnn),
];

fn layout(cell: Cell, hidden: usize) -> Layout {
    let input = InputConfig::Dense { width: 3 };
    let config = NetworkConfig {
        cell,
        input,
        hidden,
        layers: 2,
        outputs: 2,
    };
    Layout::new(config).unwrap()
}

fn file(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
    std::fs::read(format!("{folder}/torch_{name}.safetensors")).unwrap()
}

#[test]
fn a_module_of_pytorch_computes_the_same_here() {
    for (name, cell) in CASES {
        let layout = layout(cell, 5);
        let bytes = file(name);
        let parameters = pytorch::from_bytes(&layout, &bytes).unwrap();
        let tensors = SafeTensors::read(&bytes).unwrap();
        let values = |name: &str| tensors.tensor(name).unwrap().to_vec();
        let (x, y) = (values("x"), values("y"));

        let mut weights = Packed::new(&layout, Level::best(), false).unwrap();
        weights.load(&parameters, Threads::SINGLE);
        let mut reader = Reader::new(&weights, 4, 2).unwrap();
        let ours = reader.read(&weights, Inputs::Vectors(&x), 4, Threads::SINGLE);
        for (ours, theirs) in ours.iter().zip(&y) {
            assert!((ours - theirs).abs() < 5e-6, "{name}: {ours} {theirs}");
        }

        // And back: theirs but for the two biases, of which the sum is what counts.
        let written = pytorch::to_bytes(&layout, &parameters).unwrap();
        let again = SafeTensors::read(&written).unwrap();
        for tensor in again
            .tensors()
            .iter()
            .filter(|t| !t.name().contains("bias_"))
        {
            let theirs = tensors.tensor(tensor.name()).unwrap();
            assert_eq!(tensor.shape(), theirs.shape());
            assert_eq!(tensor.to_vec(), theirs.to_vec(), "{name} {}", tensor.name());
        }
        assert_eq!(pytorch::from_bytes(&layout, &written).unwrap(), parameters);
    }
}

#[test]
fn a_module_of_another_shape_is_named() {
    let error = |cell, hidden, bytes: &[u8]| {
        let error = pytorch::from_bytes(&layout(cell, hidden), bytes).unwrap_err();
        error.to_string()
    };
    let gru = file("gru");
    assert!(error(Cell::Lstm, 5, &gru).contains("rnn.weight_ih_l0 has the shape [15, 3]"));
    assert!(error(Cell::GruAfter, 6, &gru).contains("ask for [18, 3]"));
    error(Cell::GruAfter, 5, &gru[..gru.len() - 4]);
    let mut renamed = gru.clone();
    let at = renamed
        .windows(12)
        .position(|w| w == b"decoder.bias")
        .unwrap();
    renamed[at..at + 7].copy_from_slice(b"another");
    assert!(error(Cell::GruAfter, 5, &renamed).contains("tensor decoder.bias is missing"));
}
