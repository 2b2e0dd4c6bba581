//! A log file that may be moved away while it is written.
//!
//! Whoever keeps logs (logrotate, a person with `mv`) renames the file, and a new one of the old
//! name is begun: after a signal, or by itself a little later. Nothing is copied and cut off, so
//! nothing is lost: what was written in between is in the file that was moved.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An open file, and the name under which there should be one.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and number of the open file.
    identity: (u64, u64),
    /// Whether the last look could not open a new file; said once.
    stuck: bool,
}

impl LogFile {
    /// Opens the file to append to it, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let identity = identity(&file.metadata()?);
        Ok(Self { path: path.to_owned(), file, identity, stuck: false })
    }

    /// Goes on in a new file where the name no longer leads to the open one. Where a new one
    /// cannot be opened, the open one is kept: lines in a file of another name are not lost.
    pub(super) fn follow(&mut self) {
        let in_place = match std::fs::metadata(&self.path) {
            Ok(metadata) => identity(&metadata) == self.identity,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        if in_place {
            return;
        }
        match Self::open(&self.path) {
            Ok(new) => {
                *self = new;
                tracing::info!(file = %self.path.display(), "the access log goes on in a new file");
            }
            Err(error) if !self.stuck => {
                self.stuck = true;
                let file = self.path.display();
                tracing::error!(%file, %error, "no new access log, the one moved away is kept");
            }
            Err(_) => {}
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let mut log = LogFile::open(&path).unwrap();
        log.write_all(b"one\n").unwrap();
        log.follow();
        std::fs::rename(&path, &moved).unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(text(&moved), "one\ntwo\n", "until it looks");
        log.follow();
        log.write_all(b"three\n").unwrap();
        log.follow();
        log.write_all(b"four\n").unwrap();
        assert_eq!((text(&moved), text(&path)), ("one\ntwo\n".into(), "three\nfour\n".into()));
    }

    #[test]
    fn a_file_that_another_one_took_the_name_of_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut log = LogFile::open(&path).unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, "of another process\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        log.follow();
        log.write_all(b"ours\n").unwrap();
        assert_eq!(text(&path), "of another process\nours\n");
    }

    #[test]
    fn without_a_place_for_a_new_file_the_old_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let path = logs.join("access.log");
        let mut log = LogFile::open(&path).unwrap();
        let moved = folder.path().join("moved");
        std::fs::rename(&logs, &moved).unwrap();
        log.follow();
        log.write_all(b"one\n").unwrap();
        assert_eq!(text(&moved.join("access.log")), "one\n");
        std::fs::create_dir(&logs).unwrap();
        log.follow();
        log.write_all(b"two\n").unwrap();
        assert_eq!(text(&path), "two\n");
    }
}
