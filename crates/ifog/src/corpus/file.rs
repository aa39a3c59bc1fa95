//! Corpus files.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::CorpusError;

/// The content of a corpus file.
///
/// Any content will do here; whether it is text is for the vocabulary to say
/// ([`Vocabulary::of_text`](crate::vocabulary::Vocabulary::of_text)).
///
/// # Errors
///
/// [`CorpusError::Missing`], [`Directory`](CorpusError::Directory),
/// [`EmptyFile`](CorpusError::EmptyFile), [`LargeFile`](CorpusError::LargeFile),
/// [`Unreadable`](CorpusError::Unreadable).
pub fn read_corpus_file(path: &Path) -> Result<Vec<u8>, CorpusError> {
    let refused = |source: io::Error| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => CorpusError::Missing { path },
            io::ErrorKind::IsADirectory => CorpusError::Directory { path },
            _ => CorpusError::Unreadable { path, source },
        }
    };
    if fs::metadata(path).map_err(refused)?.is_dir() {
        return Err(CorpusError::Directory {
            path: path.to_owned(),
        });
    }
    // A pipe or a device has no size, and perhaps no end.
    let mut content = Vec::new();
    let file = fs::File::open(path).map_err(refused)?;
    let read = file.take(LARGEST + 1).read_to_end(&mut content);
    if read.map_err(refused)? as u64 > LARGEST {
        return Err(CorpusError::LargeFile {
            path: path.to_owned(),
        });
    }
    if content.is_empty() {
        return Err(CorpusError::EmptyFile {
            path: path.to_owned(),
        });
    }
    Ok(content)
}

/// Bytes of the largest corpus: 4 GiB, of which one epoch of the default model takes a core 17 hours.
const LARGEST: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn files_that_are_no_corpus_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("empty"), "").unwrap();
        fs::write(path("text"), b"a\0\xff").unwrap();
        assert_eq!(read_corpus_file(&path("text")).unwrap(), b"a\0\xff");
        let refused = |path: &Path| read_corpus_file(path).unwrap_err();
        assert!(matches!(
            refused(&path("absent")),
            CorpusError::Missing { .. }
        ));
        assert!(matches!(
            refused(directory.path()),
            CorpusError::Directory { .. }
        ));
        assert!(matches!(
            refused(&path("empty")),
            CorpusError::EmptyFile { .. }
        ));
        assert!(matches!(
            refused(&path("text").join("below")),
            CorpusError::Unreadable { .. }
        ));
        let text = refused(&path("absent")).to_string();
        assert!(
            text.contains("absent") && text.contains("check the path"),
            "{text}"
        );
    }
}
