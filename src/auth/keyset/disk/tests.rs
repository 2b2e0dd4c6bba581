use std::os::unix::fs::PermissionsExt;

use super::*;

const NOW: u64 = 1_800_000_000;
const DOCUMENT: &str = r#"{"keys": [{"kid": "ü"}]}"#;

struct Place {
    folder: tempfile::TempDir,
    store: Store,
    id: SetId,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("state/sets"), NOW);
        Self { folder, store, id: SetId::at("main", "https://issuer.test/keys?key=word") }
    }

    fn stored(&self) -> Stored {
        let validators =
            Validators { etag: Some(HeaderValue::from_static("W/\"1\"")), last_modified: None };
        let url = "https://issuer.test/keys";
        let stored = Stored::new(&self.id, url, &validators, DOCUMENT.as_bytes()).unwrap();
        Stored { fetched_at: NOW, ..stored }
    }

    fn saved() -> Self {
        let place = Self::new();
        place.store.save(&place.id, &place.stored()).unwrap();
        place
    }

    fn path(&self) -> PathBuf {
        self.store.path(&self.id)
    }

    fn ignored(&self) -> String {
        self.store.load(&self.id, NOW).unwrap_err().to_string()
    }

    /// Changes the text of the file.
    fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path()).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.path(), text.replace(from, to)).unwrap();
    }
}

#[test]
fn what_was_saved_comes_back() {
    let place = Place::saved();
    let stored = place.store.load(&place.id, NOW + 5).unwrap().unwrap();
    assert_eq!((stored.document.as_str(), stored.fetched_at), (DOCUMENT, NOW));
    assert_eq!(stored.validators(), place.stored().validators());
    assert_eq!(stored.age(NOW + 5), Duration::from_secs(5));
    // The clock was set back.
    assert_eq!(stored.age(NOW - 5), Duration::ZERO);
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let folder = fs::metadata(place.folder.path().join("state")).unwrap().permissions().mode();
    assert_eq!(folder & 0o777, 0o700);
    // Saving again replaces it and leaves nothing beside it.
    place.store.save(&place.id, &Stored { fetched_at: NOW + 9, ..place.stored() }).unwrap();
    assert_eq!(place.store.load(&place.id, NOW).unwrap().unwrap().fetched_at, NOW + 9);
    assert_eq!(fs::read_dir(&place.store.folder).unwrap().count(), 1);
}

#[test]
fn nothing_on_disk_is_nothing_wrong() {
    let place = Place::new();
    assert!(place.store.load(&place.id, NOW).unwrap().is_none());
}

#[test]
fn sets_are_told_apart_by_provider_url_and_issuer() {
    let place = Place::saved();
    let ids = [
        SetId::at("other", &place.id.url),
        SetId::at("main", "https://issuer.test/other"),
        SetId::discovered("main", &place.id.url, "https://issuer.test"),
        SetId::discovered("main", &place.id.url, "https://issuer.test/"),
    ];
    for id in ids {
        assert!(place.store.load(&id, NOW).unwrap().is_none(), "{id:?}");
        // A file under another's name.
        fs::copy(place.path(), place.store.path(&id)).unwrap();
        let why = place.store.load(&id, NOW).unwrap_err().to_string();
        assert_eq!(why, "it is of another issuer or URL", "{id:?}");
    }
}

#[test]
fn a_providers_name_cannot_lead_out_of_the_folder() {
    let place = Place::new();
    let id = SetId::at(&format!("../../{}ä/x", "n".repeat(100)), "https://issuer.test/");
    let path = place.store.path(&id);
    assert_eq!(path.parent(), Some(place.store.folder.as_path()));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("jwks-______nnn") && name.len() < 100, "{name}");
    // Names that look alike in the file's name are not alike.
    let alike = |name| place.store.path(&SetId::at(name, "https://issuer.test/"));
    assert_ne!(alike("a/b"), alike("a_b"));
}

#[test]
fn a_file_that_others_can_write_is_ignored() {
    let place = Place::saved();
    for (mode, is_used) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
        fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
        let loaded = place.store.load(&place.id, NOW);
        assert_eq!(loaded.is_ok(), is_used, "{mode:o}");
    }
}

#[test]
fn a_file_that_was_changed_is_ignored() {
    let place = Place::saved();
    place.edit("ü", "u");
    assert_eq!(place.ignored(), "its digest is not that of its document");
    let text = fs::read_to_string(Place::saved().path()).unwrap();
    for end in 0..text.len() {
        fs::write(place.path(), &text.as_bytes()[..end]).unwrap();
        assert!(place.store.load(&place.id, NOW).is_err(), "cut at {end}");
    }
    for (from, to) in [("\"form\":1", "\"form\":2"), ("issuer.test/keys?", "other.test/keys?")] {
        let place = Place::saved();
        place.edit(from, to);
        assert_eq!(place.ignored(), "it is of another issuer or URL", "{from}");
    }
    let place = Place::saved();
    fs::write(place.path(), vec![b' '; FILE_BYTES_MAX + 1]).unwrap();
    assert_eq!(place.ignored(), "it is too large");
}

#[test]
fn a_set_counts_for_seven_days() {
    let place = Place::saved();
    let week = STORED_AGE_MAX.as_secs();
    assert!(place.store.load(&place.id, NOW + week).is_ok());
    let late = place.store.load(&place.id, NOW + week + 1);
    assert!(matches!(late, Err(Ignored::TooOld)), "{late:?}");
}

#[test]
fn what_is_no_file_is_ignored() {
    let place = Place::saved();
    fs::remove_file(place.path()).unwrap();
    let elsewhere = place.folder.path().join("elsewhere");
    fs::write(&elsewhere, "{}").unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.path()).unwrap();
    assert_eq!(place.ignored(), "it is no regular file");
    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    assert_eq!(place.ignored(), "it is no regular file");
    // Nor can it be replaced; what cannot be saved is said, and leaves nothing behind.
    assert!(place.store.save(&place.id, &place.stored()).is_err());
    assert_eq!(fs::read_dir(&place.store.folder).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_of_saving_alone() {
    let place = Place::new();
    let file = place.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let store = Store::new(&file.join("state"), NOW);
    assert!(store.save(&place.id, &place.stored()).is_err());
    assert!(store.load(&place.id, NOW).is_err());
}

#[test]
fn half_written_files_of_ended_processes_are_removed() {
    let place = Place::saved();
    let file = fs::metadata(place.path()).unwrap();
    let written = file.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let draft = place.store.folder.join("jwks-main-0.json.7.draft");
    let others = place.store.folder.join("revocations.json.7.draft");
    fs::write(&draft, "").unwrap();
    fs::write(&others, "").unwrap();
    Store::new(&place.store.folder, written + 60);
    assert!(draft.exists(), "it may be being written");
    Store::new(&place.store.folder, written + 2 * DRAFT_AGE_MAX.as_secs());
    assert!(!draft.exists());
    assert!(others.exists() && place.path().exists());
}

#[test]
fn a_document_that_is_not_text_is_not_stored() {
    let id = SetId::at("main", "https://issuer.test/");
    assert!(Stored::new(&id, "", &Validators::default(), b"{\"a\": \"\xff\"}").is_none());
}
