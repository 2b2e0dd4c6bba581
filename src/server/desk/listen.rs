//! The file of the upgrade socket: whose is it?

use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use crate::server::channel::Channel;

/// A socket file that this process made.
#[derive(Debug)]
pub(in crate::server) struct Listening {
    path: PathBuf,
    inode: (u64, u64),
}

impl Listening {
    /// Listens at this path. A file that a crashed process has left there is replaced, and so is
    /// that of the process which this one takes over from.
    ///
    /// # Errors
    /// `AddrInUse` when another gateway listens there; others where no file can be made.
    pub(in crate::server) fn at(
        path: &Path,
        predecessor: Option<Pid>,
    ) -> io::Result<(Self, UnixListener)> {
        make_folder(path)?;
        let other = match Channel::connect(path) {
            Ok(channel) if Some(channel.peer()) == predecessor => None,
            Ok(channel) => {
                let pid = channel.peer().as_raw_nonzero();
                Some(format!("another gateway, process {pid}, has this upgrade socket"))
            }
            // Whoever else that is, it lives: its socket is not replaced.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Some(format!("another user's gateway may have this upgrade socket: {error}"))
            }
            Err(_) => None,
        };
        if let Some(why) = other {
            let why = format!("{}: {why}", path.display());
            return Err(io::Error::new(ErrorKind::AddrInUse, why));
        }
        // Made beside and renamed: there is never a moment without one.
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let _ = std::fs::remove_file(&draft);
        let listener = UnixListener::bind(&draft)?;
        let made = std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::metadata(&draft))
            .and_then(|made| std::fs::rename(&draft, path).map(|()| made));
        match made {
            Ok(made) => {
                let inode = (made.dev(), made.ino());
                Ok((Self { path: path.to_owned(), inode }, listener))
            }
            Err(error) => {
                let _ = std::fs::remove_file(&draft);
                Err(error)
            }
        }
    }

    /// Removes the file, unless another process has put its own there.
    pub(in crate::server) fn remove(&self) {
        let found = std::fs::metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.inode) {
            // A file that cannot be removed leads to nobody, which the next process finds out.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The folder of the upgrade socket, closed to others where it has to be made: whoever can connect
/// can ask for the sockets, and is then judged by who it is.
fn make_folder(socket: &Path) -> io::Result<()> {
    let folder = socket.parent().unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_left_behind_is_replaced_and_a_live_gateway_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/upgrade.sock");
        let (left, listener) = Listening::at(&path, None).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
        drop(listener);
        assert!(path.exists());
        let (ours, _live) = Listening::at(&path, None).unwrap();
        let error = Listening::at(&path, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains("another gateway"), "{error}");
        left.remove();
        assert!(path.exists(), "it is not his any more");
        ours.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_predecessor_makes_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let (old, _old) = Listening::at(&path, None).unwrap();
        let (_new, _listener) = Listening::at(&path, Some(rustix::process::getpid())).unwrap();
        old.remove();
        assert!(path.exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no drafts are left");
    }
}
