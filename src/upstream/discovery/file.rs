//! Reads endpoints from a file: one `host:port` a line, or `host:port weight`; `#` begins a
//! comment.
//!
//! The file is refused whole where a line cannot be read. It must end with a line break: a
//! writer that is half done would otherwise leave `10.0.0.1:80` where `10.0.0.1:8080` was meant.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::answer::{Answer, Hint, INSTANCES_MAX, Place};
use crate::upstream::split_address;

/// Longest file read, in bytes.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// How long a file must have been quiet: some write in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// Most such pauses in a row: a file that is written all the time is read all the same.
const QUIET_MAX: u32 = 10;

/// A file whose changes are noticed.
pub(super) struct Watched {
    changes: mpsc::Receiver<()>,
    watcher: Option<notify::RecommendedWatcher>,
}

impl Watched {
    /// Begins to watch. A file that cannot be watched is read again every so often all the same.
    ///
    /// Whoever has read it before does so once more: it may have changed while nobody watched.
    pub(super) fn begin(path: &Path) -> Self {
        let (sender, changes) = mpsc::channel(1);
        let _ = sender.try_send(());
        let watcher = watch(path, sender)
            .inspect_err(|error| {
                let file = path.display();
                tracing::warn!(%file, %error, "the file is not watched, only read periodically");
            })
            .ok();
        Self { changes, watcher }
    }

    /// Returns once the file has changed and is quiet again, or when the time is over.
    pub(super) async fn changed_within(&mut self, time: Duration) {
        if self.watcher.is_none() {
            tokio::time::sleep(time).await;
            return;
        }
        if time.is_zero() {
            // What has changed so far is about to be read.
            while self.changes.try_recv().is_ok() {}
            return;
        }
        if tokio::time::timeout(time, self.changes.recv()).await.is_err() {
            return;
        }
        for _ in 0..QUIET_MAX {
            if tokio::time::timeout(QUIET, self.changes.recv()).await.is_err() {
                return;
            }
        }
    }
}

/// Watches the folder, because a file that is replaced by renaming is another file.
fn watch(path: &Path, changed: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let name = path.file_name().map(ToOwned::to_owned);
    // Kubernetes mounts files as links through `..data`, which is exchanged as a whole.
    let is_ours = move |path: &PathBuf| {
        let changed = path.file_name();
        changed == name.as_deref() || changed.is_some_and(|name| name == "..data")
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let ours = event.is_ok_and(|event| {
            !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(&is_ours)
        });
        if ours {
            // A full channel means that the file is about to be read anyway.
            let _ = changed.try_send(());
        }
    })?;
    watcher.watch(folder.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Reads the file once.
pub(super) async fn ask(path: &Path, limit: Duration) -> Answer {
    let path: PathBuf = path.to_owned();
    // A network file system that hangs would hang the thread with it.
    let read = tokio::task::spawn_blocking(move || load(&path));
    match tokio::time::timeout(limit, read).await {
        Ok(Ok(places)) => Answer { places, hint: Hint::None },
        Ok(Err(_)) => Answer::failed("reading ended by a defect"),
        Err(_) => Answer::failed(format!("the file could not be read within {limit:?}")),
    }
}

fn load(path: &Path) -> Result<Vec<Place>, String> {
    let cannot = |error: std::io::Error| format!("the file cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err("the file is longer than 1 MiB".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "the file is not text in UTF-8".to_owned())?;
    parse(&text)
}

/// Reads the text of a file.
///
/// # Errors
/// The first line that is wrong, and why.
fn parse(text: &str) -> Result<Vec<Place>, String> {
    let mut places = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let content = line.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        if places.len() == INSTANCES_MAX {
            return Err(format!("line {number}: more than {INSTANCES_MAX} endpoints"));
        }
        places.push(place(content).map_err(|why| format!("line {number}: {why}"))?);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        let last = text.lines().count();
        return Err(format!("line {last}: no line break at the end; is the file half-written?"));
    }
    Ok(places)
}

fn place(content: &str) -> Result<Place, String> {
    let mut words = content.split_whitespace();
    let address = words.next().unwrap_or_default();
    let weight = match words.next() {
        None => 1,
        Some(word) => word.parse().map_err(|_| format!("`{word}` is not a weight"))?,
    };
    if words.next().is_some() {
        return Err("a line holds an address, a weight and nothing more".to_owned());
    }
    let (host, port) = split_address(address)?;
    let ip: IpAddr = host
        .parse()
        .map_err(|_| format!("`{host}` is not an IP address; names are looked up by `dns`"))?;
    let port = port.ok_or_else(|| format!("`{address}` has no port"))?;
    Ok(Place { ip, port: Some(port), host: host.into(), weight })
}

#[cfg(test)]
mod tests;
