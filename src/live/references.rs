//! The files that a configuration was read from: what they held then, and where a change of them
//! would show.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock;
use crate::model::{Resolved, load_file};

/// The configuration file and the files it names, as they were when they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct References {
    file: PathBuf,
    sha256: String,
    /// Digests by path; none for a file that could not be read.
    named: BTreeMap<String, Option<[u8; 32]>>,
}

impl References {
    /// What a configuration was read from: `sha256` is the digest of the document in `file`.
    #[must_use]
    pub fn of(file: &Path, sha256: &str, resolved: &Resolved) -> Self {
        let digest = |path: &String| (path.clone(), resolved.digest(path));
        Self {
            file: file.to_owned(),
            sha256: sha256.to_owned(),
            named: resolved.wanted.iter().map(digest).collect(),
        }
    }

    /// A document that names nothing because it could not be read, in place of this one: the
    /// files that this one names are still of interest.
    #[must_use]
    pub fn unreadable(&self, sha256: &str) -> Self {
        Self { sha256: sha256.to_owned(), ..self.clone() }
    }

    /// Whether every file still holds what it held. Reads them all.
    #[must_use]
    pub fn are_unchanged(&self) -> bool {
        let same = |(path, digest): (&String, &Option<[u8; 32]>)| {
            std::fs::read(path).ok().map(|bytes| Sha256::digest(bytes).into()) == *digest
        };
        load_file(&self.file).sha256 == self.sha256 && self.named.iter().all(same)
    }

    /// Waits until the files hold the same for so long, and at most `longest`. Blocks the thread.
    pub fn settle(&self, quiet: Duration, longest: Duration) {
        until_same(|| self.contents(), quiet, longest);
    }

    /// What the files hold at this moment; nothing for one that cannot be read.
    fn contents(&self) -> Vec<Option<[u8; 32]>> {
        let named = self.named.keys().map(Path::new);
        let digest = |path: &Path| std::fs::read(path).ok().map(|b| Sha256::digest(b).into());
        named.chain([self.file.as_path()]).map(digest).collect()
    }

    /// The entries of folders whose change may mean that a file has another content: the file
    /// itself, and every symbolic link on the way to it.
    #[must_use]
    pub fn places(&self) -> BTreeSet<PathBuf> {
        let named = self.named.keys().map(Path::new);
        named.chain([self.file.as_path()]).flat_map(places).collect()
    }
}

/// Looks until two looks, `quiet` apart, find the same, and for `longest` at most.
fn until_same<T: PartialEq>(mut look: impl FnMut() -> T, quiet: Duration, longest: Duration) {
    let began = clock::now().tick;
    let mut before = look();
    while clock::now().tick.since(began) < longest {
        thread::sleep(quiet);
        let now = look();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Links followed before a path is given up: the kernel's own limit.
const LINKS: usize = 40;

/// The entries that lead to a file, with folders in their real form, so that one folder has one
/// name: `/etc/tls/..data` and `/etc/tls/..2026/tls.crt` for `/etc/tls/tls.crt` as Kubernetes
/// mounts it, beside that entry itself.
fn places(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(path) = std::path::absolute(path) else { return found };
    let mut here = PathBuf::from("/");
    let mut rest = parts(&path);
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            here.pop();
            continue;
        }
        let entry = here.join(&part);
        match std::fs::read_link(&entry) {
            Ok(target) if links < LINKS => {
                links += 1;
                found.push(entry);
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                let mut way = parts(&target);
                way.append(&mut rest);
                rest = way;
            }
            _ => {
                if rest.is_empty() {
                    found.push(entry.clone());
                }
                here = entry;
            }
        }
    }
    found
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn references(folder: &Path, named: &[&str]) -> References {
        let mut resolved = Resolved::default();
        for name in named {
            let path = folder.join(name).display().to_string();
            resolved.wanted.insert(path.clone());
            if let Ok(bytes) = fs::read(&path) {
                resolved.files.insert(path, bytes);
            }
        }
        let file = folder.join("gateway.yaml");
        References::of(&file, &load_file(&file).sha256, &resolved)
    }

    /// A file that is being written is not taken for whole.
    #[test]
    fn what_changes_is_looked_at_again() {
        let (quiet, longest) = (Duration::from_millis(1), Duration::from_mins(1));
        let mut seen = vec![4, 3, 3, 2, 1];
        until_same(|| seen.pop(), quiet, longest);
        assert_eq!(seen, [4], "3 was the same twice");
        let mut other = 0;
        until_same(|| (other += 1, other), quiet, Duration::from_millis(20));
        assert!(other > 1, "what never rests is not waited for");
    }

    #[test]
    fn contents_count_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("gateway.yaml"), "routes: []\n").unwrap();
        fs::write(path("a"), "one").unwrap();
        let before = references(folder.path(), &["a", "absent"]);
        assert!(before.are_unchanged());
        fs::write(path("a"), "one").unwrap();
        assert!(before.are_unchanged(), "written again");
        fs::write(path("a"), "two").unwrap();
        assert!(!before.are_unchanged(), "other contents");
        fs::write(path("a"), "one").unwrap();
        fs::write(path("absent"), "").unwrap();
        assert!(!before.are_unchanged(), "there now");
        fs::remove_file(path("absent")).unwrap();
        fs::remove_file(path("a")).unwrap();
        assert!(!before.are_unchanged(), "gone");
        fs::write(path("a"), "one").unwrap();
        assert!(before.are_unchanged());
        fs::write(path("gateway.yaml"), "routes: [ ]\n").unwrap();
        assert!(!before.are_unchanged(), "the document");
        let sha256 = load_file(&path("gateway.yaml")).sha256;
        assert!(before.unreadable(&sha256).are_unchanged());
    }

    #[test]
    fn every_link_on_the_way_is_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("..2026")).unwrap();
        fs::write(root.join("..2026/tls.crt"), "x").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/tls.crt", root.join("tls.crt")).unwrap();
        let expected = ["tls.crt", "..data", "..2026/tls.crt"].map(|name| root.join(name));
        assert_eq!(places(&root.join("tls.crt")), expected);

        symlink(&root, root.join("self")).unwrap();
        let found = places(&root.join("self/./..2026/../absent"));
        assert_eq!(found, [root.join("self"), root.join("absent")]);

        symlink("loop", root.join("loop")).unwrap();
        assert!(places(&root.join("loop")).len() <= LINKS + 1);
    }
}
