//! The same bits from every instruction set and any number of threads.

use std::fs;

use crate::command::{Folder, rhyme};

/// Trains with IFOG_ISA = `level`; `None` if this machine lacks it.
fn model(folder: &Folder, level: &str, threads: &str, cell: &str) -> Option<Vec<u8>> {
    let out = format!("{cell}-{level}-{threads}");
    let trained = folder
        .ifog([
            "train",
            "rhyme.txt",
            "--steps",
            "50",
            "--seed",
            "1",
            "--cell",
            cell,
            "--quiet",
        ])
        .args([
            "--hidden",
            "40",
            "--batch",
            "7",
            "--seq-len",
            "20",
            "--dropout",
            "0.1",
        ])
        .args(["--threads", threads, "--out", &out, "--json"])
        .env("IFOG_ISA", level)
        .run();
    if trained.code == 2 && trained.stderr.contains("lacks") {
        println!("{level}: not tested, this machine lacks it");
        return None;
    }
    assert_eq!(trained.json()["isa"], level);
    Some(fs::read(folder.path(&out).join("model.safetensors")).unwrap())
}

#[test]
fn levels_and_threads_do_not_change_the_model_file() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    for cell in ["lstm", "gru", "gru-after", "rnn"] {
        let reference = model(&folder, "scalar-fma", "1", cell).expect("every machine has it");
        for level in ["avx2", "avx512", "neon"] {
            for threads in ["1", "2", "3"] {
                if let Some(model) = model(&folder, level, threads, cell) {
                    assert!(model == reference, "{cell} {level} {threads} threads");
                }
            }
        }
    }
}

#[test]
fn the_seed_changes_the_model_file() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let train = |seed: &str, out: &str| {
        folder
            .ifog([
                "train",
                "rhyme.txt",
                "--steps",
                "3",
                "--hidden",
                "8",
                "--seed",
                seed,
                "--out",
                out,
            ])
            .run()
            .succeeded();
        fs::read(folder.path(out).join("model.safetensors")).unwrap()
    };
    let first = train("1", "a");
    assert!(first == train("1", "b"));
    assert!(first != train("2", "c"));
}
