//! What is written is read, by the reference implementation too, and nothing else is.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use proptest::prelude::*;
use safetensors as oracle;

use super::*;

/// A file of this header, as it stands, and this many zero bytes of data.
fn file(header: &str, data_len: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data_len, 0);
    bytes
}

fn refusal(header: &str, data_len: usize) -> String {
    SafeTensors::read(&file(header, data_len))
        .unwrap_err()
        .to_string()
}

/// Reads, and checks that the reference implementation accepts whatever we do, with the same
/// content.
fn read_both(bytes: &[u8]) -> bool {
    let Ok(ours) = SafeTensors::read(bytes) else {
        return false;
    };
    let (_, header) = oracle::SafeTensors::read_metadata(bytes).unwrap();
    let theirs = oracle::SafeTensors::deserialize(bytes).unwrap();
    assert_eq!(ours.tensors().len(), theirs.len());
    for tensor in ours.tensors() {
        let same = theirs.tensor(tensor.name()).unwrap();
        assert_eq!(same.dtype(), oracle::Dtype::F32);
        assert_eq!(same.shape(), tensor.shape());
        let bytes: Vec<u8> = tensor.values().flat_map(f32::to_le_bytes).collect();
        assert_eq!(same.data(), bytes);
    }
    let metadata = header.metadata().clone().unwrap_or_default();
    assert_eq!(ours.metadata(), &metadata.into_iter().collect::<Metadata>());
    true
}

fn sample() -> Vec<u8> {
    let metadata = Metadata::from([
        ("format".into(), "ifog".into()),
        ("a \"quoted\"\n".into(), "ü".into()),
    ]);
    let tensors = [
        Tensor {
            name: "rnn.weight",
            shape: &[2, 3],
            values: &[1.0, -2.0, 0.5, f32::MIN, 0.0, 9.0],
        },
        Tensor {
            name: "empty",
            shape: &[0, 7],
            values: &[],
        },
        Tensor {
            name: "scalar",
            shape: &[],
            values: &[f32::INFINITY],
        },
        Tensor {
            name: "bias",
            shape: &[1, 1, 1, 2],
            values: &[-0.0, 1e-40],
        },
    ];
    write(&metadata, &tensors).unwrap()
}

#[test]
fn what_is_written_is_read_in_the_same_order() {
    let bytes = sample();
    assert!(read_both(&bytes));
    let file = SafeTensors::read(&bytes).unwrap();
    let names: Vec<_> = file.tensors().iter().map(TensorView::name).collect();
    assert_eq!(names, ["rnn.weight", "empty", "scalar", "bias"]);
    assert_eq!(file.tensor("rnn.weight").unwrap().shape(), [2, 3]);
    assert_eq!(file.tensor("scalar").unwrap().to_vec(), [f32::INFINITY]);
    let bias = file.tensor("bias").unwrap().to_vec();
    assert_eq!(bias[0].to_bits(), (-0.0f32).to_bits());
    assert_eq!(bias[1], 1e-40);
    assert!(file.tensor("empty").unwrap().to_vec().is_empty());
    assert!(file.tensor("absent").is_none());
    assert_eq!(file.metadata()["a \"quoted\"\n"], "ü");
}

/// The layout byte for byte: a reader elsewhere relies on it.
#[test]
fn the_bytes_are_fixed() {
    let metadata = Metadata::from([("b".into(), "2".into()), ("a".into(), "1".into())]);
    let tensors = [
        Tensor {
            name: "z",
            shape: &[2],
            values: &[1.0, 2.0],
        },
        Tensor {
            name: "a",
            shape: &[1, 1],
            values: &[-1.0],
        },
    ];
    let bytes = write(&metadata, &tensors).unwrap();
    let header = concat!(
        r#"{"__metadata__":{"a":"1","b":"2"},"#,
        r#""z":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"#,
        r#""a":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]}} "#
    );
    assert_eq!(header.len() % 8, 0);
    let mut expected = file(header, 0);
    expected.extend([0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0x80, 0xbf]);
    assert_eq!(bytes, expected);
}

#[test]
fn a_file_without_tensors_is_a_file() {
    let bytes = write(&Metadata::new(), &[]).unwrap();
    assert_eq!(bytes, b"\x08\0\0\0\0\0\0\0{}      ");
    assert!(read_both(&bytes));
}

#[test]
fn files_of_the_reference_implementation_are_read() {
    let values: Vec<u8> = (0..24u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let view = |shape: &[usize], from: usize, to: usize| {
        oracle::tensor::TensorView::new(
            oracle::Dtype::F32,
            shape.to_vec(),
            &values[4 * from..4 * to],
        )
        .unwrap()
    };
    let tensors = [
        ("w", view(&[2, 3, 2], 0, 12)),
        ("b", view(&[12], 12, 24)),
        ("e", view(&[0], 3, 3)),
    ];
    let metadata = std::collections::HashMap::from([("k".to_string(), "v".to_string())]);
    let bytes = oracle::serialize(tensors, Some(metadata)).unwrap();
    assert!(read_both(&bytes));
    assert_eq!(
        SafeTensors::read(&bytes)
            .unwrap()
            .tensor("w")
            .unwrap()
            .to_vec()[11],
        11.0
    );
}

/// The order of the header is free, as long as the data are covered.
#[test]
fn header_and_data_may_be_in_different_order() {
    let header = r#"{"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},
                     "a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"}}"#;
    assert!(read_both(&file(header, 8)));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = sample();
    for end in 0..bytes.len() {
        assert!(SafeTensors::read(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_flipped_bit_of_the_header_never_panics_nor_widens_what_is_accepted() {
    let bytes = sample();
    let header_end = bytes.len() - SafeTensors::read(&bytes).unwrap().data().len();
    let mut accepted = 0;
    for at in 0..header_end {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            accepted += usize::from(read_both(&flipped));
        }
    }
    // Other letters in names and metadata: a few, and not most of the 8 flips a byte.
    assert!(accepted > 0 && accepted < 4 * header_end, "{accepted}");
}

#[test]
fn a_flipped_bit_of_the_data_changes_the_digest() {
    let bytes = sample();
    let file = SafeTensors::read(&bytes).unwrap();
    let digest = file.digest();
    let mut data = file.data().to_vec();
    for bit in 0..8 * data.len() {
        data[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(data_digest(&data), digest);
        data[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(data_digest(&data), digest);
}

#[test]
fn a_header_length_is_not_believed() {
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert_eq!(
        SafeTensors::read(&huge).unwrap_err(),
        FormatError::HeaderTooLong { claimed: u64::MAX }
    );
    let above = [&(MAX_HEADER_BYTES as u64 + 1).to_le_bytes()[..], b"{}"].concat();
    assert!(matches!(
        SafeTensors::read(&above),
        Err(FormatError::HeaderTooLong { .. })
    ));
    let short = [&(MAX_HEADER_BYTES as u64).to_le_bytes()[..], b"{}"].concat();
    let error = SafeTensors::read(&short).unwrap_err();
    assert_eq!(
        error,
        FormatError::Truncated {
            found: 10,
            needed: 1_048_584
        }
    );
    let empty = FormatError::Truncated {
        found: 0,
        needed: 8,
    };
    assert_eq!(SafeTensors::read(b"").unwrap_err(), empty);
    assert_eq!(
        empty.to_string(),
        "the file has 0 bytes but its header needs 8: it is cut short or no safetensors file, \
         get it again"
    );
}

#[test]
fn damaged_headers_are_refused_with_the_reason() {
    let entry =
        |offsets: &str| format!(r#"{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}"#);
    let one = entry("[0,4]");
    let cases = [
        ("".to_string(), 0, "does not start with '{'"),
        (" {}".into(), 0, "does not start with '{'"),
        ("[]".into(), 0, "does not start with '{'"),
        ("{} {}".into(), 0, "trailing characters"),
        ("{".repeat(100_000), 0, "header is not valid"),
        (
            format!(r#"{{"a":{}"#, "[".repeat(100_000)),
            0,
            "header is not valid",
        ),
        (
            format!(r#"{{"a":{one},"a":{}}}"#, entry("[4,8]")),
            8,
            "'a' stands twice",
        ),
        (
            format!(r#"{{"a":{one},"\u0061":{one}}}"#),
            4,
            "'a' stands twice",
        ),
        (
            r#"{"__metadata__":{},"__metadata__":{}}"#.into(),
            0,
            "stands twice",
        ),
        (
            r#"{"__metadata__":{"k":"1","k":"2"}}"#.into(),
            0,
            "'k' stands twice",
        ),
        (r#"{"__metadata__":{"k":1}}"#.into(), 0, "expected a string"),
        (
            r#"{"__metadata__":null}"#.into(),
            0,
            "expected an object of strings",
        ),
        (format!(r#"{{"":{one}}}"#), 4, "empty name"),
        (
            format!(r#"{{"{}":{one}}}"#, "n".repeat(257)),
            4,
            "name has 257 bytes",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1]}}"#.into(),
            4,
            "missing field `data_offsets`",
        ),
        (
            r#"{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.into(),
            4,
            "duplicate field",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":0}}"#.into(),
            4,
            "unknown field",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[0,4]}}"#.into(),
            4,
            "at most 4 sizes",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#.into(),
            4,
            "invalid value",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#.into(),
            4,
            "invalid type",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]}}"#.into(),
            4,
            "invalid type",
        ),
        (
            format!(r#"{{"a":{}}}"#, entry("[0,-4]")),
            4,
            "invalid value",
        ),
        (
            format!(r#"{{"a":{}}}"#, entry("[0,4,8]")),
            4,
            "trailing characters",
        ),
        (
            format!(r#"{{"a":{}}}"#, entry("[4]")),
            4,
            "invalid length 1",
        ),
        (
            format!(r#"{{"a":{}}}"#, entry("[4,0]")),
            4,
            "hole from byte 0 to 4",
        ),
        (
            format!(r#"{{"a":{one},"b":{}}}"#, entry("[4,0]")),
            4,
            "ends at byte 0, before its start",
        ),
        (
            format!(r#"{{"a":{one},"b":{}}}"#, entry("[8,12]")),
            12,
            "hole from byte 4 to 8 before the tensor 'b'",
        ),
        (
            format!(r#"{{"a":{one},"b":{}}}"#, entry("[2,6]")),
            6,
            "'b' starts at byte 2, inside",
        ),
        (
            format!(r#"{{"a":{one},"b":{one}}}"#),
            4,
            "inside the one before it",
        ),
        (
            format!(r#"{{"a":{one}}}"#),
            5,
            "end at byte 4 and the data section at 5",
        ),
        (
            format!(r#"{{"a":{one}}}"#),
            3,
            "end at byte 4 and the data section at 3",
        ),
        ("{}".into(), 1, "end at byte 0 and the data section at 1"),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#.into(),
            4,
            "needs 8 bytes and has 4",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#.into(),
            4,
            "overflows",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}"#.into(),
            0,
            "overflows",
        ),
        (
            r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#.into(),
            4,
            "'a' has dtype F16",
        ),
        (
            r#"{"a":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}}"#.into(),
            4,
            "'a' has dtype f32",
        ),
    ];
    for (header, data_len, expected) in cases {
        let error = refusal(&header, data_len);
        let start: String = header.chars().take(80).collect();
        assert!(
            error.contains(expected),
            "{start}\n  gives    {error}\n  expected {expected}"
        );
    }
    let mut not_utf8 = file(r#"{"a":1}"#, 0);
    not_utf8[10] = 0xff;
    let error = SafeTensors::read(&not_utf8).unwrap_err().to_string();
    assert!(error.contains("utf-8"), "{error}");
}

#[test]
fn the_limits_are_what_they_say() {
    let entries = |count: usize| {
        let entries: Vec<_> = (0..count)
            .map(|i| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#))
            .collect();
        format!("{{{}}}", entries.join(","))
    };
    assert!(read_both(&file(&entries(MAX_TENSORS), 0)));
    assert!(refusal(&entries(MAX_TENSORS + 1), 0).contains("more than 4096 tensors"));

    let padded = format!("{{}}{}", " ".repeat(MAX_HEADER_BYTES - 2));
    assert!(read_both(&file(&padded, 0)));

    let name = "é".repeat(128);
    let tensor = Tensor {
        name: &name,
        shape: &[1],
        values: &[1.0],
    };
    assert!(read_both(&write(&Metadata::new(), &[tensor]).unwrap()));
}

proptest! {
    #[test]
    fn round_trip(
        tensors in prop::collection::btree_map(
            "[a-z.\"\\\\é\u{1}]{1,20}",
            prop::collection::vec(0usize..4, 0..=4),
            0..6,
        ),
        metadata in prop::collection::btree_map(any::<String>(), any::<String>(), 0..4),
        bits in any::<u32>(),
    ) {
        let values: Vec<f32> = (0..256u32)
            .map(|i| f32::from_bits(bits.wrapping_mul(2 * i + 1)))
            .collect();
        let written: Vec<_> = tensors
            .iter()
            .map(|(name, shape)| Tensor { name, shape, values: &values[..shape.iter().product()] })
            .collect();
        let bytes = write(&metadata, &written).unwrap();
        prop_assert!(read_both(&bytes));
        let file = SafeTensors::read(&bytes).unwrap();
        prop_assert_eq!(file.metadata(), &metadata);
        prop_assert_eq!(file.digest(), tensors_digest(&written));
        prop_assert_eq!(file.tensors().len(), written.len());
        for (read, tensor) in file.tensors().iter().zip(&written) {
            prop_assert_eq!(read.name(), tensor.name);
            prop_assert_eq!(read.shape(), tensor.shape);
            // Bits, so that NaN payloads count.
            prop_assert!(read.values().map(f32::to_bits).eq(tensor.values.iter().map(|v| v.to_bits())));
        }
    }

    /// Mutants of a valid file: a few bytes replaced, inserted or removed anywhere.
    #[test]
    fn mutants_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 1..4)) {
        let mut bytes = sample();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes.insert(at, byte),
                1 => drop(bytes.remove(at)),
                // Digits and punctuation are what headers are made of.
                2 => bytes[at] = b"0123456789[]{},:\"\\"[usize::from(byte) % 18],
                _ => bytes[at] = byte,
            }
        }
        read_both(&bytes);
    }
}
