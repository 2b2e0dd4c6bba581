//! Every case of `tests/hostile`, sent to the real binary.

#[path = "../hostile/mod.rs"]
mod table;

use std::time::{SystemTime, UNIX_EPOCH};

use table::{Case, Table, World};
use tidegate_kit::{Origin, Outcome, RawConnection, Response, Result};

use crate::{api, gateway};

const ROUTE: &str = "routes:
  - {name: private, match: {pathPrefix: /private}, upstream: {service: api},
     policies: {auth: required}}
";

#[expect(clippy::disallowed_methods, reason = "tokens carry the time of day; this is no data path")]
fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or_default())
}

/// A request with these headers, which may hold any bytes.
fn request(headers: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"GET /private HTTP/1.1\r\nhost: api.example.com\r\n".to_vec();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// What is wrong with the answer to a case.
fn judge(case: &Case, answer: &Response) -> Option<String> {
    let wrong = |what: &str| Some(format!("{}: {what}: {answer}", case.name));
    if answer.problem(401, case.expect.code).is_err() {
        return wrong("not this refusal");
    }
    if answer.header("www-authenticate") != Some(&case.expect.challenge()) {
        return wrong("not this challenge");
    }
    let whole = answer.to_string();
    for (_, value) in &case.headers {
        let value = String::from_utf8_lossy(value);
        let pieces = value.split(['.', ' ']).filter(|piece| piece.len() > 8);
        for piece in pieces {
            if whole.contains(piece) {
                return wrong("it echoes the token");
            }
        }
    }
    None
}

#[tokio::test]
async fn every_hostile_token_is_refused_by_the_real_binary() -> Outcome {
    let (origin, lure) = (Origin::start("api").await?, Origin::start("lure").await?);
    let world = World::new(unix_now(), format!("http://{}/keys", lure.address()));
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let jwks = file("keys.jwks", &world.jwks())?;
    let pem = file("key.pem", World::PUBLIC_PEM)?;
    let config = api(&[origin.address()]) + &World::providers(&jwks, &pem) + ROUTE;
    let gateway = gateway(config).start().await?;

    let table = Table::of(&world);
    assert!(table.0.len() >= 120, "{} cases", table.0.len());
    let mut wrong = Vec::new();
    for case in &table.0 {
        let mut connection = RawConnection::connect(gateway.address()).await?;
        connection.send(&request(&case.headers)).await?;
        wrong.extend(judge(case, &connection.response().await?));
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(origin.total(), 0, "a service saw a request of the table");
    assert_eq!(lure.connections(), 0, "a place that a token named was asked");

    // The table would prove nothing if nobody passed.
    for (name, value) in world.good() {
        let mut connection = RawConnection::connect(gateway.address()).await?;
        connection.send(&request(&[("authorization", value)])).await?;
        let answer = connection.response().await?;
        assert_eq!(answer.status, 200, "{name}: {answer}");
        assert_eq!(answer.echoed("x-user-id")?.as_deref(), Some("mallory"), "{name}");
    }
    Ok(())
}
