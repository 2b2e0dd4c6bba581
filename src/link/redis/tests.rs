//! What needs no server. The rest is in `tests/e2e/redis.rs` and `tests/lua.rs`.

use super::super::{Address, Place, Tls};
use super::*;

fn settings(place: Place) -> Settings {
    let mut settings = Settings::server("redis://unused", "a{b}");
    settings.address = Address {
        place,
        username: Some("gateway".to_owned()),
        password: Some("secret".to_owned()),
        database: 0,
        tls: Some(Tls::default()),
    };
    settings
}

fn sentinels(address: &str) -> Place {
    Place::Sentinel {
        addresses: vec![address.to_owned()],
        master: "limits".to_owned(),
        username: None,
        password: Some("other secret".to_owned()),
    }
}

#[test]
fn nothing_that_is_shown_holds_a_secret() {
    for settings in [
        Settings::server("redis://:secret@localhost/0", "a{b}"),
        settings(Place::Cluster(vec!["localhost:7000".to_owned()])),
        settings(sentinels("localhost:26379")),
    ] {
        let redis = Redis::new(&settings);
        assert!(redis.target.is_some());
        assert_eq!(redis.prefix(), "a_b_:");
        assert!(!format!("{redis:?}{settings:?}").contains("secret"));
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_a_failure_and_never_a_panic() {
    for settings in [
        Settings::server("redis://:secret@host:port", "x"),
        Settings::server("rediss://host/#insecure", "x"),
        settings(Place::Cluster(vec![])),
        settings(Place::Cluster(vec!["host".to_owned()])),
        settings(sentinels("host")),
    ] {
        let redis = Redis::new(&settings);
        let failure = redis.query::<()>(&redis::cmd("PING")).await.unwrap_err();
        assert!(matches!(failure, Failure::Address), "{failure:?}");
        assert!(matches!(redis.listen().await, Err(Failure::Address)));
    }
}

#[tokio::test]
async fn a_failure_says_why_nobody_could_be_reached() {
    // Nobody listens on a port that was just closed, and nobody else gets it: it stays bound.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = socket.local_addr().unwrap().to_string();
    let address = |place| Address { place, tls: None, ..Address::server("redis://unused") };
    for (place, why) in [
        (Place::Server(format!("redis://{at}")), "refused"),
        (Place::Cluster(vec![at.clone()]), "refused"),
        (sentinels(&at), "no Sentinel answers"),
    ] {
        let mut settings = Settings::server("redis://unused", "x");
        settings.address = address(place);
        let redis = Redis::new(&settings.with_timeout_min(Duration::from_secs(20)));
        let failure = redis.query::<()>(&redis::cmd("PING")).await.unwrap_err();
        assert!(matches!(failure, Failure::Connect(_)), "{failure:?}");
        assert!(failure.to_string().contains(why), "{failure}");
    }
}
