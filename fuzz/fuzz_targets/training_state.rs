//! Whatever the bytes, a training state is refused or goes on; under a right checksum, too.
#![no_main]

use std::sync::{Mutex, OnceLock, PoisonError};

use ifog::safetensors::{Metadata, SafeTensors, Tensor, write};
use ifog::train::{TrainConfig, Trainer};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

fuzz_target!(|data: &[u8]| {
    let trainer = trainer().lock();
    let mut trainer = trainer.unwrap_or_else(PoisonError::into_inner);
    go_on(&mut trainer, data);
    // A changed byte breaks the checksum: so what a state holds is changed before that is made.
    let [what, which, rest @ ..] = data else {
        return;
    };
    let file = SafeTensors::read(valid()).expect("a trainer made it");
    let mut metadata = file.metadata().clone();
    metadata.remove("digest");
    let mut values: Vec<Vec<f32>> = file.tensors().iter().map(|t| t.to_vec()).collect();
    let key = metadata.keys().nth(usize::from(*which) % metadata.len());
    let key = key.expect("there are some").clone();
    match what % 4 {
        0 => drop(metadata.insert(key, String::from_utf8_lossy(rest).into_owned())),
        1 => drop(metadata.remove(&key)),
        2 => {
            let tensor = usize::from(*which) % values.len();
            let bits = rest.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            for (value, bits) in values[tensor].iter_mut().zip(bits) {
                *value = f32::from_le_bytes(bits);
            }
        }
        _ => {
            let tensor = usize::from(*which) % values.len();
            values[tensor].truncate(rest.len());
        }
    }
    go_on(&mut trainer, &encoded(metadata, &file, &values));
});

/// A state that is taken can be trained from, even if that leaves the finite numbers.
fn go_on(trainer: &mut Trainer, bytes: &[u8]) {
    if trainer.restore(bytes).is_ok() {
        let _ = trainer.step();
    }
}

fn encoded(mut metadata: Metadata, file: &SafeTensors<'_>, values: &[Vec<f32>]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for text in metadata.iter().flat_map(|(name, value)| [name, value]) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    for value in values.iter().flatten() {
        hash.update(value.to_le_bytes());
    }
    let digest = hash.finalize();
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    metadata.insert("digest".to_owned(), digest);
    let shapes: Vec<[usize; 1]> = values.iter().map(|values| [values.len()]).collect();
    let tensors: Vec<Tensor<'_>> = (file.tensors().iter().zip(values).zip(&shapes))
        .map(|((view, values), shape)| Tensor {
            name: view.name(),
            shape,
            values,
        })
        .collect();
    write(&metadata, &tensors).expect("the edits keep within the format")
}

fn trainer() -> &'static Mutex<Trainer> {
    static TRAINER: OnceLock<Mutex<Trainer>> = OnceLock::new();
    TRAINER.get_or_init(|| Mutex::new(fresh()))
}

fn valid() -> &'static [u8] {
    static VALID: OnceLock<Vec<u8>> = OnceLock::new();
    VALID.get_or_init(|| {
        let mut trainer = fresh();
        trainer.step().expect("a first step is finite");
        let kept = Metadata::from([("step".to_owned(), "1".to_owned())]);
        trainer.state(&kept).expect("it is small")
    })
}

fn fresh() -> Trainer {
    let config = TrainConfig {
        hidden: 3,
        layers: 2,
        dropout: 0.1,
        ema: 0.9,
        threads: 1,
        ..TrainConfig::default()
    };
    Trainer::new(config, b"hello hello").expect("it is small")
}
