//! The list on disk, so that a restart while Redis is away forgets nothing.
//!
//! One file, replaced as a whole: whoever reads it finds the old list or the new one. It names
//! callers, so that only its owner may read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::record::Record;
use crate::drill;

/// Name of the file in the state folder.
const FILE: &str = "revocations.json";

/// Largest file that is read, in bytes: some 300 for each of a million revocations.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Where the list is kept.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Keeps the list in a folder.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// What was kept last, and how much of it could not be read; nothing where there is no file.
    ///
    /// # Errors
    /// When there is one and it cannot be read, or is no list.
    pub(super) fn read(&self) -> io::Result<(Vec<Record>, usize)> {
        let file = match File::open(self.folder.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        let mut document: Value = serde_json::from_slice(&text)?;
        let Some(Value::Array(items)) = document.get_mut("revocations").map(Value::take) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no list"));
        };
        let count = items.len();
        let records: Vec<Record> = items.into_iter().filter_map(Record::from_value).collect();
        let unreadable = count - records.len();
        Ok((records, unreadable))
    }

    /// Replaces what was kept. Blocks until it is on the disk.
    ///
    /// # Errors
    /// When it cannot be written; then what was there is still there.
    pub(super) fn write(&self, records: &[Record]) -> io::Result<()> {
        let items: Vec<Value> = records.iter().map(Record::to_value).collect();
        drill::disk()?;
        let text = serde_json::to_vec(&json!({ "revocations": items }))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        // With the process in its name: a successor may write at the same time.
        let draft = self.folder.join(format!(".{FILE}.{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        let placed = written.and_then(|()| fs::rename(&draft, self.folder.join(FILE)));
        if placed.is_err() {
            let _ = fs::remove_file(&draft);
        }
        placed?;
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::auth::revocation::record::Grounds;

    fn record(id: &str) -> Record {
        Record::new(Grounds::Token { id: id.to_owned(), provider: None }, 2_000_000_000, 1)
    }

    #[test]
    fn what_was_written_is_read_and_only_its_owner_may() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(&folder.path().join("new/state"));
        assert_eq!(disk.read().unwrap(), (Vec::new(), 0));
        disk.write(&[record("a"), record("b")]).unwrap();
        assert_eq!(disk.read().unwrap(), (vec![record("a"), record("b")], 0));
        let place = folder.path().join("new/state");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&place.join(FILE))), (0o700, 0o600));
        disk.write(&[record("c")]).unwrap();
        assert_eq!(disk.read().unwrap().0, [record("c")]);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1, "no draft stays");
    }

    #[test]
    fn garbage_is_an_error_or_counted_and_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        let file = folder.path().join(FILE);
        for garbage in ["", "{", "[]", "{}", "{\"revocations\": 1}", "\u{0}\u{1}"] {
            fs::write(&file, garbage).unwrap();
            assert!(disk.read().is_err(), "{garbage:?}");
        }
        let mut forged = record("a").to_value();
        forged["tokenId"] = "b".into();
        let text = json!({"revocations": [1, {}, forged, record("c").to_value()]});
        fs::write(&file, text.to_string()).unwrap();
        assert_eq!(disk.read().unwrap(), (vec![record("c")], 3));
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Disk::new(&file).write(&[record("a")]).is_err());
        assert!(Disk::new(&file).read().is_err());
    }
}
