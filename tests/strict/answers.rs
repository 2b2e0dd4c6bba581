//! What services say.
//!
//! | Line | Means |
//! |---|---|
//! | `-> 502 upstream.response_invalid` | the client gets this status and this code |
//! | `-> 200 "hello"` | the client gets this status and this body, whole |
//! | `-> 200 cut` | the client gets this status, and the connection ends within the body |
//! | `-> head` | the request was a HEAD; the other lines follow |
//! | `-> upgrade websocket` | the request asked for this protocol; the other lines follow |
//! | `<= x: 1` | … with this field, and no other of its name |
//! | `<= !x` | … without this field |
//!
//! A case ends with `close` where the service ends the connection; else that stays open, and the
//! requests behind the case show that it was not used again where it must not be.

use tidegate_kit::{Error, Gateway, Outcome, RawConnection, Response, Result, WireOrigin};

use crate::table::{self, Case};

const CASES: &str = include_str!("answers.case");
/// Fewer would mean that the table was not read to its end.
const CASES_MIN: usize = 30;

#[tokio::test]
async fn every_answer_is_read_in_one_way_or_refused() -> Outcome {
    let (origin, gateway) = crate::start().await?;
    let cases = table::read(CASES)?;
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let mut failed = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        if let Err(error) = check(case, number, &origin, &gateway).await {
            failed.push(format!("{}: {error}", case.name));
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let count = failed.len();
    Err(Error::new(format!("{count} of {} cases:\n{}", cases.len(), failed.join("\n"))))?
}

async fn check(case: &Case, number: usize, origin: &WireOrigin, gateway: &Gateway) -> Result<()> {
    let target = format!("/{number}");
    origin.script(&target, case.steps.clone());
    let (mut method, mut fields) = ("GET", String::new());
    let mut wanted = None;
    for line in case.expect("->") {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("head", _) => method = "HEAD",
            ("upgrade", protocol) => {
                fields = format!("connection: upgrade\r\nupgrade: {protocol}\r\n");
            }
            (status, what) => wanted = Some((status, what)),
        }
    }
    let (status, what) = wanted.ok_or_else(|| Error::new("nothing is expected"))?;
    let status = status.parse().map_err(|_| Error::new(format!("-> {status}?")))?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let request = format!("{method} {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    connection.send(request.as_bytes()).await?;
    if what == "cut" {
        return cut(&mut connection, status, gateway).await;
    }
    let response = match method {
        "HEAD" => connection.head_response().await?,
        _ => connection.response().await?,
    };
    match what.strip_prefix('"') {
        Some(body) => {
            let response = response.clone().expect(status)?;
            if response.text() != body.trim_end_matches('"') {
                return Err(Error::new(format!("another body: {response}")));
            }
        }
        None => drop(response.problem(status, what)?),
    }
    has_fields(case, &response)?;
    still_in_step(gateway).await
}

/// The header comes, the whole of the body never does.
async fn cut(connection: &mut RawConnection, status: u16, gateway: &Gateway) -> Result<()> {
    let begin = connection.peek().await?;
    if !begin.starts_with(&format!("HTTP/1.1 {status} ")) {
        return Err(Error::new(format!("expected the begin of a {status}, got {begin:?}")));
    }
    match connection.response().await {
        Ok(response) => Err(Error::new(format!("expected a cut answer, got {response}"))),
        Err(_) => still_in_step(gateway).await,
    }
}

/// Requests behind the case get their own answers, whatever was left on a connection.
async fn still_in_step(gateway: &Gateway) -> Result<()> {
    for _ in 0..2 {
        let next = gateway.get("/fence").await?.expect(200)?;
        if next.text() != "ok" {
            return Err(Error::new(format!("the next request got the wrong answer: {next}")));
        }
    }
    Ok(())
}

fn has_fields(case: &Case, response: &Response) -> Result<()> {
    for line in case.expect("<=") {
        let (name, value) = match line.strip_prefix('!') {
            Some(name) => (name, None),
            None => line.split_once(':').map_or((line, None), |(name, v)| (name, Some(v.trim()))),
        };
        let values = response.headers.iter().filter(|(known, _)| known == name);
        let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        if values != value.into_iter().collect::<Vec<_>>() {
            return Err(Error::new(format!("{line:?} does not hold in {response}")));
        }
    }
    Ok(())
}
