//! Files whose content is taken as a whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The content of a regular file of at most `most` bytes. A device or a pipe has no size, and perhaps no end.
///
/// # Errors
/// What the system says; or that it is no regular file, or a larger one.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let refused = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    // Asked before it is opened: opening a pipe waits for who writes to it.
    let size = match std::fs::metadata(path)? {
        found if found.is_file() => found.len(),
        _ => return Err(refused("it is no regular file".to_owned())),
    };
    let too_large = |size: u64| refused(format!("it has {size} bytes, and the most is {most}"));
    if size > most {
        return Err(too_large(size));
    }
    let mut content = Vec::new();
    let read = File::open(path)?
        .take(most.saturating_add(1))
        .read_to_end(&mut content)?;
    match read as u64 > most {
        true => Err(too_large(read as u64)),
        false => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn what_is_no_file_or_too_large_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read_regular(&path, 4).unwrap(), b"four");
        let refused = |path: &Path, most| read_regular(path, most).unwrap_err().to_string();
        assert!(refused(&path, 3).contains("4 bytes, and the most is 3"));
        assert!(refused(directory.path(), 9).contains("no regular file"));
        let absent = read_regular(&directory.path().join("absent"), 9).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        #[cfg(unix)]
        assert!(refused(Path::new("/dev/zero"), u64::MAX).contains("no regular file"));
    }
}
