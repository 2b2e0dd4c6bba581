//! What clients send.
//!
//! | Line | Means |
//! |---|---|
//! | `-> 400 request.malformed` | an answer with this status, and this code where one is named |
//! | `-> 200 head` | the same, to a HEAD |
//! | `-> closed` | then the connection ends, without a further byte |
//! | `-> open` | then the connection serves another request |
//! | `=> GET / HTTP/1.1` | what reached the origin, request by request, in order |
//! | `=> x: 1` | … with this field, and no other of its name |
//! | `=> !x` | … without this field |
//! | `=> "hello"` | … with this body; without such a line there must be none |
//!
//! Where no request is named, none may have reached the origin, not even the beginning of one.

use std::time::Duration;

use tidegate_kit::{
    Error, Gateway, Outcome, RawConnection, Request, Result, Step, Taken, WireOrigin,
};

use crate::table::{self, Case};

const CASES: &str = include_str!("requests.case");
/// Fewer would mean that the table was not read to its end.
const CASES_MIN: usize = 150;
/// Long enough for what was sent before to be read on its own.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test]
async fn every_request_is_read_in_one_way_or_refused() -> Outcome {
    let (origin, gateway) = crate::start().await?;
    let cases = table::read(CASES)?;
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let mut failed = Vec::new();
    for case in &cases {
        if let Err(error) = check(case, &origin, &gateway).await {
            failed.push(format!("{}: {error}", case.name));
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let count = failed.len();
    Err(Error::new(format!("{count} of {} cases:\n{}", cases.len(), failed.join("\n"))))?
}

async fn check(case: &Case, origin: &WireOrigin, gateway: &Gateway) -> Result<()> {
    drop(origin.take());
    let mut connection = RawConnection::connect(gateway.address()).await?;
    for step in &case.steps {
        match step {
            // The gateway may have refused what came before, and left.
            Step::Say(bytes) => drop(connection.send(bytes).await),
            Step::Pause => tokio::time::sleep(PAUSE).await,
            Step::Close => connection.finish().await?,
        }
    }
    for wanted in case.expect("->") {
        answered(&mut connection, wanted).await?;
    }
    // Whatever the case has sent to the origin, it has sent before this is answered.
    gateway.get("/fence").await?.expect(200)?;
    let mut taken = origin.take();
    if taken.pop().is_none_or(|last| last.line != "GET /fence HTTP/1.1") {
        return Err(Error::new("the request behind the case was not the last one"));
    }
    taken.retain(|taken| taken.line != "GET /after HTTP/1.1");
    reached(case, &taken)
}

/// Checks one line about what the client gets.
async fn answered(connection: &mut RawConnection, wanted: &str) -> Result<()> {
    let (wanted, detail) = wanted.split_once(' ').unwrap_or((wanted, ""));
    match wanted {
        "closed" => connection.closed().await,
        "open" => {
            let after = connection.request(&Request::get("/after")).await?;
            after.expect(200).map(|_| ())
        }
        status => {
            let response = match detail {
                "head" => connection.head_response().await?,
                _ => connection.response().await?,
            };
            let status = status.parse().map_err(|_| Error::new(format!("-> {status}?")))?;
            match detail {
                "" | "head" => response.expect(status).map(|_| ()),
                code => response.problem(status, code).map(|_| ()),
            }
        }
    }
}

/// Checks what the origin got.
fn reached(case: &Case, taken: &[Taken]) -> Result<()> {
    let wrong = |what: &str| Err(Error::new(format!("{what}; the origin saw {taken:?}")));
    let mut requests = taken.iter();
    let mut current: Option<&Taken> = None;
    let mut body = String::new();
    for line in case.expect("=>") {
        if line.ends_with("HTTP/1.1") {
            if current.is_some_and(|taken| taken.body != body.as_bytes()) {
                return wrong("another body");
            }
            body.clear();
            current = requests.next();
            if current.is_none_or(|taken| taken.line != line) {
                return wrong(&format!("no {line:?}"));
            }
            continue;
        }
        let Some(current) = current else { return wrong("no request") };
        if let Some(text) = line.strip_prefix('"') {
            text.trim_end_matches('"').clone_into(&mut body);
            continue;
        }
        let (name, value) = match line.strip_prefix('!') {
            Some(name) => (name, None),
            None => line.split_once(':').map_or((line, None), |(name, v)| (name, Some(v.trim()))),
        };
        let values = current.headers.iter().filter(|(known, _)| known == name);
        let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        if values != value.into_iter().collect::<Vec<_>>() {
            return wrong(&format!("{line:?} does not hold"));
        }
    }
    if current.is_some_and(|taken| taken.body != body.as_bytes()) {
        return wrong("another body");
    }
    if requests.next().is_some() {
        return wrong("more than expected");
    }
    Ok(())
}
