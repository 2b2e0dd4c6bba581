//! The last good key sets on disk, for a start while the issuer is away.
//!
//! One file for each set, replaced in one step. It is the gateway's own word, so it is believed
//! only where nobody else can have written it; whatever is wrong with it, the set is fetched as
//! if there were none.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use reqwest::header::HeaderValue;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::fetch::{DOCUMENT_BYTES_MAX, Validators};
use super::keyring::SetId;
use crate::drill;
use crate::edge::hex;

/// Longest time since the issuer last confirmed a set for it to count at a start. A key that an
/// issuer has withdrawn counts no longer than this, however long the issuer stays away.
pub(super) const STORED_AGE_MAX: Duration = Duration::from_hours(7 * 24);

/// Largest file read, in bytes: a document with every byte escaped, and room for the rest.
const FILE_BYTES_MAX: usize = 6 * DOCUMENT_BYTES_MAX + 64 * 1024;
/// Age from which a half-written file is that of a process which has ended.
const DRAFT_AGE_MAX: Duration = Duration::from_hours(1);
/// The form of the file.
const FORM: u32 = 1;

/// A key set as it is on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Stored {
    form: u32,
    provider: String,
    url: String,
    #[serde(default)]
    discovers: Option<String>,
    /// Where the document itself was.
    pub(super) keys_url: String,
    /// When the issuer last confirmed it, in Unix seconds.
    pub(super) fetched_at: u64,
    /// SHA-256 of the document, in hexadecimal digits.
    digest: String,
    #[serde(default)]
    etag: Option<String>,
    #[serde(default)]
    last_modified: Option<String>,
    /// The document as the issuer sent it.
    pub(super) document: String,
}

impl Stored {
    /// A document that was fetched; none where it is not UTF-8, of which no usable part could
    /// be told apart from any other.
    pub(super) fn new(
        id: &SetId,
        keys_url: &str,
        validators: &Validators,
        document: &[u8],
    ) -> Option<Self> {
        let text = |value: &Option<HeaderValue>| {
            value.as_ref().and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        Some(Self {
            form: FORM,
            provider: id.provider.to_string(),
            url: id.url.to_string(),
            discovers: id.discovers.as_deref().map(str::to_owned),
            keys_url: keys_url.to_owned(),
            fetched_at: 0,
            digest: hex(digest(&SHA256, document).as_ref()),
            etag: text(&validators.etag),
            last_modified: text(&validators.last_modified),
            document: String::from_utf8(document.to_vec()).ok()?,
        })
    }

    /// The same, confirmed by the issuer at this time.
    pub(super) fn confirmed_at(self, unix_seconds: u64) -> Self {
        Self { fetched_at: unix_seconds, ..self }
    }

    /// What to ask the issuer with.
    pub(super) fn validators(&self) -> Validators {
        let value =
            |text: &Option<String>| text.as_ref().and_then(|text| HeaderValue::from_str(text).ok());
        Validators { etag: value(&self.etag), last_modified: value(&self.last_modified) }
    }

    /// Time since the issuer last confirmed it; nothing where the clock says that this is yet
    /// to come.
    pub(super) const fn age(&self, now_unix_seconds: u64) -> Duration {
        Duration::from_secs(now_unix_seconds.saturating_sub(self.fetched_at))
    }

    fn is_of(&self, id: &SetId) -> bool {
        *self.provider == *id.provider
            && *self.url == *id.url
            && self.discovers.as_deref() == id.discovers.as_deref()
    }
}

/// Why a file is ignored.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ignored {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no regular file")]
    Kind,
    #[error("it belongs to another user, or others may write it")]
    Writable,
    #[error("it is too large")]
    TooLarge,
    #[error("it is not what was written: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("its digest is not that of its document")]
    Digest,
    #[error("it is of another issuer or URL")]
    Other,
    #[error("the issuer last confirmed it more than seven days ago")]
    TooOld,
}

/// The folder.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    /// One writer at a time: a set may be saved by the feed of a reload before.
    saving: Mutex<()>,
}

impl Store {
    /// A store in this folder, which is made when something is saved. Removes what processes
    /// that ended in the middle of saving have left.
    pub(super) fn new(folder: &Path, now_unix_seconds: u64) -> Self {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("jwks-") && name.ends_with(DRAFT) {
                let written = entry.metadata().and_then(|data| data.modified()).ok();
                let written = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                let now = Duration::from_secs(now_unix_seconds);
                if written.is_some_and(|at| now.saturating_sub(at) > DRAFT_AGE_MAX) {
                    // What cannot be removed is in nobody's way.
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
        Self { folder: folder.to_owned(), saving: Mutex::new(()) }
    }

    /// What is on disk of a set; none if nothing is. Blocks.
    ///
    /// # Errors
    /// Why what is there is not used.
    pub(super) fn load(&self, id: &SetId, now_unix: u64) -> Result<Option<Stored>, Ignored> {
        let path = self.path(id);
        // The name first, so that no pipe is opened, which would wait for a writer.
        match fs::symlink_metadata(&path) {
            Ok(data) if data.is_file() => {}
            Ok(_) => return Err(Ignored::Kind),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let file = File::open(&path)?;
        let data = file.metadata()?;
        let user = rustix::process::geteuid().as_raw();
        if data.mode() & 0o022 != 0 || (data.uid() != user && data.uid() != 0) {
            return Err(Ignored::Writable);
        }
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
        if text.len() > FILE_BYTES_MAX {
            return Err(Ignored::TooLarge);
        }
        let stored: Stored = serde_json::from_slice(&text)?;
        if stored.form != FORM || !stored.is_of(id) {
            return Err(Ignored::Other);
        }
        if stored.digest != hex(digest(&SHA256, stored.document.as_bytes()).as_ref()) {
            return Err(Ignored::Digest);
        }
        if stored.age(now_unix) > STORED_AGE_MAX {
            return Err(Ignored::TooOld);
        }
        Ok(Some(stored))
    }

    /// Puts a set on disk in one step. Blocks until it is there for good.
    ///
    /// # Errors
    /// Whatever the file system says; what was there before is there still.
    pub(super) fn save(&self, id: &SetId, stored: &Stored) -> io::Result<()> {
        let _alone = self.saving.lock();
        drill::disk()?;
        let text = serde_json::to_vec(stored)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.path(id);
        let mut draft = path.clone().into_os_string();
        // Processes that share the folder may have the same number, in containers of their own.
        draft.push(format!(".{:016x}{DRAFT}", fastrand::u64(..)));
        let draft = PathBuf::from(draft);
        let written = write(&draft, &text).and_then(|()| fs::rename(&draft, &path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written?;
        // The new name is there for good only with its folder.
        File::open(&self.folder)?.sync_all()
    }

    /// The file of a set. The provider's name is for people; the digest tells sets apart.
    fn path(&self, id: &SetId) -> PathBuf {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name: String = id
            .provider
            .chars()
            .map(|c| if is_plain(c) { c } else { '_' })
            .take(NAME_CHARS_MAX)
            .collect();
        let parts = [&*id.provider, &*id.url, id.discovers.as_deref().unwrap_or_default()];
        let whole = digest(&SHA256, &serde_json::to_vec(&parts).unwrap_or_default());
        let short: String = hex(whole.as_ref()).chars().take(DIGEST_CHARS).collect();
        self.folder.join(format!("jwks-{name}-{short}.json"))
    }
}

/// End of the name of a file that is being written.
const DRAFT: &str = ".draft";
/// Characters of a provider's name in the name of its file.
const NAME_CHARS_MAX: usize = 48;
/// Digits of the digest in the name of a file.
const DIGEST_CHARS: usize = 32;

/// Writes a new file that nobody else can read.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
