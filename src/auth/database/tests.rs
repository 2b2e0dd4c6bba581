//! The same of both databases, on real ones.

mod outages;
mod suite;

use std::path::Path;
use std::time::Duration;

use tidegate_kit::Postgres;

use super::connection::{Access, Connection};
use super::*;

/// A time in the tests' own year.
const NOW: u64 = 1_800_000_000;

fn settings(url: impl Into<String>) -> DatabaseSettings {
    let timeout = Duration::from_secs(5);
    DatabaseSettings { url: url.into(), ca: None, max_connections: 2, timeout }
}

fn file(folder: &Path, name: &str) -> DatabaseSettings {
    settings(format!("sqlite:{}", folder.join(name).display()))
}

fn registry(settings: &DatabaseSettings) -> Registry {
    Registry::new(settings, "tester").unwrap()
}

fn secret() -> HashKey {
    HashKey::new("0123456789abcdef0123456789abcdef").unwrap()
}

fn client(name: &str) -> NewKey {
    NewKey { client_id: name.to_owned(), ..NewKey::default() }
}

async fn make(settings: &DatabaseSettings, new: &NewKey) -> Issued {
    registry(settings).create(&secret(), new, NOW).await.unwrap()
}

/// Runs SQL that is not the store's own.
async fn sql(settings: &DatabaseSettings, sql: &'static str) {
    let mut connection = open(settings).await;
    connection.script(sql).await.unwrap();
    connection.close().await;
}

async fn open(settings: &DatabaseSettings) -> Connection {
    let address = Address::parse(settings).unwrap();
    Connection::open(&address, Access::Change, Duration::from_secs(30)).await.unwrap()
}

fn message<T: std::fmt::Debug>(result: Result<T, impl std::fmt::Display>) -> String {
    result.map_err(|error| error.to_string()).unwrap_err()
}

#[tokio::test]
async fn sqlite_keeps_keys_and_tenants() {
    let folder = tempfile::tempdir().unwrap();
    suite::run(async |name| file(folder.path(), name)).await;
}

#[tokio::test]
async fn postgresql_keeps_keys_and_tenants() {
    let postgres = Postgres::start().await.unwrap();
    suite::run(async |name| settings(postgres.database(name).await.unwrap())).await;
}

/// What the data plane asks must be able to move between threads.
#[tokio::test]
async fn look_ups_may_move_between_threads() {
    fn may_move<T: Send>(future: T) -> T {
        future
    }
    let folder = tempfile::tempdir().unwrap();
    let database = Database::new(&file(folder.path(), "absent.db")).unwrap();
    assert!(may_move(database.find_key(&[0; 32])).await.is_err());
    assert!(may_move(database.find_tenant("acme")).await.is_err());
}
