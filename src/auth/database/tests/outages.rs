//! Databases that are away, stuck, replaced or somebody else's.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use tidegate_kit::{Authority, wait};

use super::*;

/// A time limit that a test can afford to wait for.
const SHORT: Duration = Duration::from_millis(700);
/// What a call may take beyond it on a busy machine.
const SLACK: Duration = Duration::from_secs(4);

fn short(settings: DatabaseSettings) -> DatabaseSettings {
    DatabaseSettings { timeout: SHORT, ..settings }
}

/// Waits for a call and says how long it took.
#[expect(clippy::disallowed_methods, reason = "the test measures how long it waits")]
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    (call.await, began.elapsed())
}

#[tokio::test]
async fn a_server_that_is_down_is_an_error_until_it_is_back() {
    let mut postgres = Postgres::start().await.unwrap();
    let settings = short(settings(postgres.database("keys").await.unwrap()));
    let issued = make(&settings, &client("a")).await;
    let database = Database::new(&settings).unwrap();
    assert!(database.find_key(&issued.stored.hash).await.unwrap().is_some());

    postgres.kill().await.unwrap();
    for _ in 0..3 {
        let (answer, took) = timed(database.find_key(&issued.stored.hash)).await;
        let why = message(answer);
        assert!(!why.contains("hunter22") && took < SHORT + SLACK, "{why} after {took:?}");
    }
    assert!(registry(&settings).revoke("key_a", NOW).await.is_err());
    postgres.restart().await.unwrap();
    assert!(database.find_key(&issued.stored.hash).await.unwrap().is_some());
    // Connections that the server has closed meanwhile cost nobody an answer.
    postgres.restart().await.unwrap();
    assert!(database.find_key(&issued.stored.hash).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_hangs_costs_the_time_limit_and_no_more() {
    let postgres = Postgres::start().await.unwrap();
    let settings = short(settings(postgres.database("keys").await.unwrap()));
    let issued = make(&settings, &client("a")).await;
    let database = Database::new(&settings).unwrap();
    assert!(database.find_key(&issued.stored.hash).await.unwrap().is_some());

    postgres.freeze().unwrap();
    // More calls than connections: all are answered in the same time.
    let hash = issued.stored.hash;
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let database = database.clone();
            tokio::spawn(async move { timed(database.find_key(&hash)).await })
        })
        .collect();
    for call in calls {
        let (answer, took) = call.await.unwrap();
        assert!(matches!(answer, Err(DatabaseError::Timeout)), "{answer:?}");
        assert!(took >= SHORT && took < SHORT + SLACK, "{took:?}");
    }
    postgres.thaw().unwrap();
    wait::until("an answer of the server", async || database.find_key(&hash).await.ok())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn look_ups_that_were_given_up_do_not_pile_up_in_the_server() {
    let postgres = Postgres::start().await.unwrap();
    let settings = short(settings(postgres.database("keys").await.unwrap()));
    let issued = make(&settings, &client("a")).await;
    let database = Database::new(&settings).unwrap();
    let mut holder = open(&settings).await;
    holder.script("BEGIN; LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE").await.unwrap();
    for _ in 0..2 {
        let answer = database.find_key(&issued.stored.hash).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    wait::until("the server to give up too", async || {
        let count = postgres.query("keys", waiting).await.ok()?;
        (count == "0").then_some(())
    })
    .await
    .unwrap();
    holder.script("ROLLBACK").await.unwrap();
    assert!(database.find_key(&issued.stored.hash).await.unwrap().is_some());
}

#[tokio::test]
async fn connections_are_bounded_and_kept() {
    let postgres = Postgres::start().await.unwrap();
    let settings = settings(postgres.database("keys").await.unwrap());
    let issued = make(&settings, &client("a")).await;
    let database = Database::new(&settings).unwrap();
    let hash = issued.stored.hash;
    for _ in 0..3 {
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let database = database.clone();
                tokio::spawn(async move { database.find_key(&hash).await })
            })
            .collect();
        for call in calls {
            assert!(call.await.unwrap().unwrap().is_some());
        }
    }
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tidegate'";
    let count = postgres.query("keys", ours).await.unwrap();
    assert!(["1", "2"].contains(&count.as_str()), "{count}");
}

#[tokio::test]
async fn a_server_proves_itself_where_it_is_asked_to() {
    let authority = Authority::new("databases").unwrap();
    let pair = authority.leaf(&["127.0.0.1"]).unwrap();
    let postgres = Postgres::start_with_tls(&pair).await.unwrap();
    let url = postgres.database("keys").await.unwrap();
    let good = DatabaseSettings { ca: Some(authority.pem().into_bytes()), ..settings(&url) };
    let issued = make(&good, &client("a")).await;
    let find = async |settings: DatabaseSettings| {
        Database::new(&settings).unwrap().find_key(&issued.stored.hash).await
    };
    assert!(find(good.clone()).await.unwrap().is_some());
    assert!(find(settings(format!("{url}?sslmode=require"))).await.unwrap().is_some());

    let stranger = Authority::new("strangers").unwrap().pem().into_bytes();
    let why = message(find(DatabaseSettings { ca: Some(stranger), ..good.clone() }).await);
    assert!(why.contains("certificate"), "{why}");
    let why = message(find(settings(format!("{url}?sslmode=verify-full"))).await);
    assert!(why.contains("certificate"), "{why}");
    let garbage = Some(b"not PEM".to_vec());
    assert!(find(DatabaseSettings { ca: garbage, ..good.clone() }).await.is_err());
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let why = message(find(DatabaseSettings { url: elsewhere, ..good }).await);
    assert!(why.contains("certificate"), "another name: {why}");

    let password = settings(url.replace("hunter22", "hunter23"));
    let why = message(find(password).await);
    assert!(why.contains("28P01") && !why.contains("hunter2"), "{why}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let postgres = Postgres::start().await.unwrap();
    let url = postgres.database("keys").await.unwrap();
    let database = Database::new(&settings(format!("{url}?sslmode=require"))).unwrap();
    let why = message(database.find_tenant("acme").await);
    assert!(why.contains("TLS"), "{why}");
}

#[tokio::test]
async fn a_file_comes_goes_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let settings = file(folder.path(), "keys.db");
    let database = Database::new(&settings).unwrap();
    assert!(message(database.find_tenant("acme").await).contains("is not there"));
    assert!(!path.exists(), "asking makes nothing");
    registry(&settings).set_tenant("acme", "ACTIVE", NOW).await.unwrap();
    let found = async || database.find_tenant("acme").await;
    assert_eq!(found().await.unwrap().as_deref(), Some("ACTIVE"));
    // A change by another connection is seen at once.
    registry(&settings).set_tenant("acme", "SUSPENDED", NOW).await.unwrap();
    assert_eq!(found().await.unwrap().as_deref(), Some("SUSPENDED"));

    // Whoever may only read the folder finds all there is in one file.
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 1);
    let backup = file(folder.path(), "backup.db");
    registry(&backup).set_tenant("acme", "RESTORED", NOW).await.unwrap();
    std::fs::rename(folder.path().join("backup.db"), &path).unwrap();
    assert_eq!(found().await.unwrap().as_deref(), Some("RESTORED"));
    std::fs::remove_file(&path).unwrap();
    assert!(message(found().await).contains("is not there"));
}

#[tokio::test]
async fn only_its_owner_can_read_a_file_and_no_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let settings = file(folder.path(), "keys.db");
    make(&settings, &client("a")).await;
    let mode = std::fs::metadata(folder.path().join("keys.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let lost = file(&folder.path().join("absent"), "keys.db");
    let why = message(registry(&lost).create(&secret(), &client("a"), NOW).await);
    assert!(why.contains("folder"), "{why}");
    assert!(!folder.path().join("absent").exists());
}

#[tokio::test]
async fn a_file_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let text = "these are not the bytes of a database\n".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let settings = file(folder.path(), "keys.db");
    let database = Database::new(&settings).unwrap();
    assert!(message(database.find_tenant("acme").await).contains("not a database"));
    assert!(registry(&settings).create(&secret(), &client("a"), NOW).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let place = self::settings(format!("sqlite:{}", folder.path().display()));
    assert!(registry(&place).create(&secret(), &client("a"), NOW).await.is_err());
}

#[tokio::test]
async fn a_writer_that_never_ends_stops_other_writers_and_no_reader() {
    let folder = tempfile::tempdir().unwrap();
    let settings = file(folder.path(), "keys.db");
    let issued = make(&settings, &client("a")).await;
    let mut holder = open(&settings).await;
    holder.begin().await.unwrap();
    let mut second = registry(&settings);
    second.timeout = SHORT;
    let (answer, took) = timed(second.revoke(&issued.stored.record.id, NOW)).await;
    assert!(answer.is_err() && took < SHORT + SLACK, "{answer:?} after {took:?}");
    let found = Database::new(&settings).unwrap().find_key(&issued.stored.hash).await;
    assert!(found.unwrap().unwrap().active);
    holder.script("ROLLBACK").await.unwrap();
    second.revoke(&issued.stored.record.id, NOW).await.unwrap();
}
