//! Gathers the corpus that `ifog train` uses when it is given none: the workspace's own Rust sources.
//!
//! `corpus/` holds symbolic links to the `src` directories of the crates. `cargo package` follows them, so
//! the packaged crate has the files themselves in their place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("corpus");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for directory in entries(&root)? {
        gather(&resolve(directory)?, &mut files)?;
    }
    let mut corpus = Vec::new();
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
        corpus.extend(fs::read(file)?);
        corpus.push(b'\n');
    }
    fs::write(
        Path::new(&variable("OUT_DIR")).join("corpus.txt"),
        without_carriage_returns(corpus),
    )
}

/// Appends the Rust files below `directory`, in the order of their names.
fn gather(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", directory.display());
    for path in entries(directory)? {
        if path.is_dir() {
            gather(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Sorted: the corpus must not depend on the order in which a file system lists its files.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let paths: io::Result<Vec<_>> = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect();
    let mut paths = paths?;
    paths.sort();
    Ok(paths)
}

/// Where a checkout without symbolic links has a file with the path of the target in the link's place.
fn resolve(link: PathBuf) -> io::Result<PathBuf> {
    if link.is_dir() {
        return Ok(link);
    }
    let target = fs::read_to_string(&link)?;
    Ok(link.with_file_name(target.trim_end()))
}

/// The same corpus from a checkout with CR LF line ends.
fn without_carriage_returns(mut text: Vec<u8>) -> Vec<u8> {
    text.retain(|&byte| byte != b'\r');
    text
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for a build script"))
}
