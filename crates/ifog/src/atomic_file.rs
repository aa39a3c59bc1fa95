//! Writing a file so that a crash leaves the old one or the new one, never a part of either.
//!
//! The recipe: a new temporary file in the same directory, write, fsync, rename over the target,
//! fsync the directory (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014). A
//! failed fsync is reported and never repeated on the same handle: on Linux the failure marks the
//! lost pages as clean, so a second fsync would succeed without having written them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Replaces the content of `path` by `bytes`, or leaves it as it was.
///
/// The file is complete on disk when this returns `Ok`. The temporary file is called
/// `.NAME.PID-N.tmp` and is removed on every error; only a crash can leave one behind, and it is
/// safe to delete. A symbolic link at `path` is replaced, not followed.
///
/// # Errors
///
/// [`WriteError`] naming the file, the step that failed and what to do. Up to
/// [`Step::Rename`] the old file is untouched; after a failed [`Step::SyncDirectory`] the new one
/// is in place and only its survival of a power loss is in doubt.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let failed = |step| move |source| WriteError::at(path, step, source);
    let (mut file, temporary) = create_beside(path).map_err(failed(Step::Create))?;
    let replaced = file
        .write_all(bytes)
        .map_err(failed(Step::Write))
        .and_then(|()| file.sync_all().map_err(failed(Step::Sync)))
        .and_then(|()| {
            // Some systems refuse to rename an open file.
            drop(file);
            fs::rename(&temporary, path).map_err(failed(Step::Rename))
        });
    if let Err(error) = replaced {
        // The first error is the one to report; that the removal may fail as well changes nothing.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(directory_of(path)).map_err(failed(Step::SyncDirectory))
}

/// Removes the temporary files that crashes within [`write_atomically`] left in `directory`, for the names that `of` picks. Only for
/// who alone writes them.
pub fn remove_unfinished(directory: &Path, of: impl Fn(&str) -> bool) {
    let entries = fs::read_dir(directory).ok().into_iter().flatten();
    for entry in entries.flatten() {
        let found = entry.file_name();
        let found = found.to_str().and_then(|found| found.strip_prefix('.'));
        let found = found.and_then(|found| found.strip_suffix(".tmp"));
        if found
            .and_then(|found| found.rsplit_once('.'))
            .is_some_and(|(name, _)| of(name))
        {
            // What cannot be removed is no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether [`write_atomically`] can begin: to be asked before long work whose result goes to `path`.
///
/// # Errors
///
/// [`WriteError`] if no file can be created beside `path`, or `path` is a directory.
pub fn check_writable(path: &Path) -> Result<(), WriteError> {
    let failed = |step| move |source| WriteError::at(path, step, source);
    if path.is_dir() {
        return Err(failed(Step::Rename)(io::ErrorKind::IsADirectory.into()));
    }
    let (file, temporary) = create_beside(path).map_err(failed(Step::Create))?;
    drop(file);
    fs::remove_file(temporary).map_err(failed(Step::Create))
}

/// A file could not be written. The previous content is still there unless
/// [`step`](WriteError::step) says otherwise.
#[derive(Debug)]
pub struct WriteError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// The step that failed.
    pub step: Step,
    /// What the operating system said.
    pub source: io::Error,
}

/// The steps of [`write_atomically`], in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creating the temporary file.
    Create,
    /// Writing to it.
    Write,
    /// Bringing it to disk.
    Sync,
    /// Renaming it over the target.
    Rename,
    /// Bringing the directory entry to disk.
    SyncDirectory,
}

impl WriteError {
    fn at(path: &Path, step: Step, source: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            step,
            source,
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, step, source } = self;
        let path = path.display();
        match step {
            Step::Create => write!(
                f,
                "cannot create a file beside {path}: {source}; choose a directory that exists and \
                 can be written to"
            ),
            Step::Write | Step::Sync => write!(
                f,
                "cannot write {path}: {source}; what was there before is unchanged, make room on \
                 the disk or choose another one"
            ),
            Step::Rename => write!(
                f,
                "cannot replace {path}: {source}; what was there before is unchanged, choose a \
                 path that is no directory and can be written to"
            ),
            Step::SyncDirectory => write!(
                f,
                "{path} is written but may not survive a power loss: {source}; check the disk and \
                 save again"
            ),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A new file in the directory of `path`, under a name that nothing had before.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);

    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    for _ in 0..CREATE_ATTEMPTS {
        let mut unique = std::ffi::OsString::from(".");
        unique.push(name);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        unique.push(format!(".{}-{n}.tmp", std::process::id()));
        let temporary = path.with_file_name(unique);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
        {
            Ok(file) => return Ok((file, temporary)),
            // Left by a crashed process that had the same id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        "the directory is full of temporary files of crashed runs",
    ))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// Creates a directory that a power loss does not take back; its parent must be there.
///
/// # Errors
///
/// What the operating system says, `AlreadyExists` if there is something of that name.
pub fn create_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    sync_directory(directory_of(path))
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    synced(File::open(directory)?.sync_all())
}

/// Some file systems, among them those over a network, cannot bring a directory to disk, and say so: there the rename is
/// all there is.
#[cfg(unix)]
fn synced(result: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, Unsupported};
    match result {
        Err(error) if matches!(error.kind(), InvalidInput | Unsupported) => Ok(()),
        result => result,
    }
}

/// Elsewhere a directory cannot be opened as a file; the rename itself is all there is.
#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

const CREATE_ATTEMPTS: usize = 1000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn names_in(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn creates_and_replaces_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        for content in [b"a long first content".as_slice(), b"", b"second"] {
            write_atomically(&path, content).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        assert_eq!(names_in(directory.path()), ["model.safetensors"]);
    }

    #[test]
    fn a_leftover_of_a_crashed_run_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        for n in 0..50 {
            let name = format!(".m.{}-{n}.tmp", std::process::id());
            fs::write(directory.path().join(name), "x").unwrap();
        }
        let path = directory.path().join("m");
        write_atomically(&path, b"content").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert_eq!(names_in(directory.path()).len(), 51);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("absent").join("model");
        let error = write_atomically(&path, b"x").unwrap_err();
        assert_eq!(error.step, Step::Create);
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
        let text = error.to_string();
        assert!(
            text.contains(path.to_str().unwrap()) && text.contains("choose"),
            "{text}"
        );
    }

    #[test]
    fn a_file_in_place_of_the_directory_fails() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "kept").unwrap();
        let error = write_atomically(&file.join("model"), b"x").unwrap_err();
        assert_eq!(error.step, Step::Create);
        assert_eq!(fs::read(&file).unwrap(), b"kept");
    }

    #[test]
    fn a_directory_in_place_of_the_file_is_kept_and_the_temporary_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "kept").unwrap();
        let error = write_atomically(&path, b"x").unwrap_err();
        assert_eq!(error.step, Step::Rename);
        assert_eq!(names_in(directory.path()), ["model"]);
        assert_eq!(names_in(&path), ["inside"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_directory_that_takes_no_files_fails_also_for_root() {
        let error = write_atomically(Path::new("/proc/model"), b"x").unwrap_err();
        assert_eq!(error.step, Step::Create);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_directory_that_cannot_be_synced_is_no_error_and_one_that_fails_is() {
        use rustix::io::Errno;
        let said = |errno: Errno| synced(Err(errno.into()));
        for errno in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS] {
            assert!(said(errno).is_ok(), "{errno:?}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
            assert!(said(errno).is_err(), "{errno:?}");
        }
    }

    #[test]
    fn a_path_without_a_file_name_is_refused() {
        for path in ["", "..", "/"] {
            let error = write_atomically(Path::new(path), b"x").unwrap_err();
            assert_eq!(error.step, Step::Create, "{path:?}");
        }
    }

    #[test]
    fn the_directory_of_a_bare_name_is_the_current_one() {
        assert_eq!(directory_of(Path::new("model")), Path::new("."));
        assert_eq!(directory_of(Path::new("runs/model")), Path::new("runs"));
    }

    #[test]
    fn threads_writing_the_same_file_leave_one_whole_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model");
        std::thread::scope(|scope| {
            for byte in 0..8u8 {
                let path = &path;
                scope.spawn(move || write_atomically(path, &[byte; 100_000]).unwrap());
            }
        });
        let content = fs::read(&path).unwrap();
        assert_eq!(content, [content[0]; 100_000]);
        assert_eq!(names_in(directory.path()), ["model"]);
    }
}
