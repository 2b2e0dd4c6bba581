//! The file that holds the process id.

use std::path::{Path, PathBuf};

use nix::unistd::Pid;

/// A pid file that this process wrote.
pub(super) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes this process's id, replacing that of a process that hands over.
    pub(super) fn write(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension("new");
        std::fs::write(&beside, format!("{}\n", std::process::id()))?;
        std::fs::rename(&beside, path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// The process that a pid file names.
    pub(super) fn read(path: &Path) -> Option<Pid> {
        let text = std::fs::read_to_string(path).ok()?;
        text.trim().parse().ok().filter(|pid| *pid > 0).map(Pid::from_raw)
    }

    /// Removes the file, unless another process has taken it over.
    pub(super) fn remove(&self) {
        let ours = i32::try_from(std::process::id()).ok().map(Pid::from_raw);
        if Self::read(&self.path) == ours {
            // A file that cannot be removed names a dead process, which readers must expect.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
