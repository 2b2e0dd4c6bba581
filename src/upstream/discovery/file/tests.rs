use super::*;

fn shown(text: &str) -> Result<Vec<String>, String> {
    let places = parse(text)?;
    Ok(places
        .iter()
        .map(|place| format!("{}:{} {}", place.ip, place.port.unwrap_or(0), place.weight))
        .collect())
}

#[test]
fn a_line_is_an_address_and_perhaps_a_weight() {
    let text = "# orders\n10.0.0.1:80\n\n  10.0.0.2:8080   5 # big\n[2001:db8::1]:9 0\r\n#\n";
    assert_eq!(shown(text).unwrap(), ["10.0.0.1:80 1", "10.0.0.2:8080 5", "2001:db8::1:9 0"]);
    assert_eq!(shown("").unwrap(), [""; 0]);
    assert_eq!(shown("# nobody\n").unwrap(), [""; 0]);
}

#[test]
fn the_first_wrong_line_is_named_and_refuses_the_file() {
    for (line, why) in [
        ("orders:80", "not an IP address"),
        ("10.0.0.1", "no port"),
        ("10.0.0.1:0", "not a port"),
        ("10.0.0.1:65536", "not a port"),
        ("2001:db8::1:80", "brackets"),
        ("http://10.0.0.1:80", "scheme"),
        ("10.0.0.1:80 heavy", "not a weight"),
        ("10.0.0.1:80 -1", "not a weight"),
        ("10.0.0.1:80 1 2", "nothing more"),
        ("\u{0}\u{1}", "not a host name"),
    ] {
        let error = shown(&format!("10.0.0.9:80\n{line}\n")).unwrap_err();
        assert!(error.starts_with("line 2: ") && error.contains(why), "{line}: {error}");
    }
}

/// Else `10.0.0.1:80` would be read where `10.0.0.1:8080` is being written.
#[test]
fn a_file_that_breaks_off_is_refused() {
    let error = shown("10.0.0.1:8080\n10.0.0.2:80").unwrap_err();
    assert!(error.starts_with("line 2: ") && error.contains("half-written"), "{error}");
    assert!(shown("10.0.0.1:8080\n10.0.0.2:80\n").is_ok());
}

#[test]
fn there_is_a_bound() {
    let line = "10.0.0.1:80\n";
    assert_eq!(parse(&line.repeat(INSTANCES_MAX)).unwrap().len(), INSTANCES_MAX);
    assert!(parse(&line.repeat(INSTANCES_MAX + 1)).unwrap_err().contains("more than"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("endpoints");
    std::fs::write(&file, "#".repeat(FILE_BYTES_MAX - 1) + "\n").unwrap();
    assert_eq!(load(&file), Ok(Vec::new()));
    std::fs::write(&file, "#".repeat(FILE_BYTES_MAX) + "\n").unwrap();
    assert!(load(&file).unwrap_err().contains("1 MiB"));
    std::fs::write(&file, [0xff, b'\n']).unwrap();
    assert!(load(&file).unwrap_err().contains("UTF-8"));
    assert!(load(&folder.path().join("none")).unwrap_err().contains("cannot be read"));
    assert!(load(folder.path()).unwrap_err().contains("cannot be read"));
}

/// However a file is replaced.
#[tokio::test]
async fn a_change_is_noticed_long_before_the_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("endpoints");
    std::fs::write(&file, "").unwrap();
    let mut watched = Watched::begin(&file);
    let hour = Duration::from_hours(1);
    let soon = Duration::from_secs(10);
    // What was written before anybody watched.
    tokio::time::timeout(soon, watched.changed_within(hour)).await.unwrap();

    std::fs::write(&file, "10.0.0.1:80\n").unwrap();
    tokio::time::timeout(soon, watched.changed_within(hour)).await.unwrap();

    let draft = folder.path().join("draft");
    std::fs::write(&draft, "10.0.0.2:80\n").unwrap();
    std::fs::rename(&draft, &file).unwrap();
    tokio::time::timeout(soon, watched.changed_within(hour)).await.unwrap();
}

/// What is read at once need not be read again for what happened before.
#[tokio::test(start_paused = true)]
async fn what_is_read_at_once_has_seen_every_change_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let mut watched = Watched::begin(&folder.path().join("endpoints"));
    watched.changed_within(Duration::ZERO).await;
    let began = tokio::time::Instant::now();
    watched.changed_within(Duration::from_secs(10)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn without_a_folder_to_watch_the_time_counts() {
    let mut watched = Watched::begin(Path::new("/nonexistent/folder/endpoints"));
    let began = tokio::time::Instant::now();
    watched.changed_within(Duration::from_secs(10)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(10));
}
