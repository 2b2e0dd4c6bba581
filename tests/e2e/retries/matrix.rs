//! Methods, failures and body sizes, each with each (R127 to R130): how often the service is
//! asked, and whether what it gets is whole each time.

use std::fmt::Write as _;
use std::rc::Rc;

use sha2::{Digest, Sha256};
use tidegate_kit::{Context, Gateway, Origin, Outcome, Request, Result, ports};
use tokio::task::{JoinSet, LocalSet};

use super::AMPLE;
use crate::gateway;

/// What Pingora keeps of a body.
const KEPT: usize = 64 * 1024;

const SIZES: [usize; 6] = [0, 20_000, KEPT - 1, KEPT, KEPT + 1, 1_000_000];

/// Requests at once.
const AT_ONCE: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Get,
    Put,
    Post,
    PostWithKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    Refused,
    Reset,
    Unavailable,
    Slow,
    Cut,
}

/// One cell, with a service and a route of its own, so that none spoils another's endpoint.
#[derive(Clone, Copy, Debug)]
struct Cell {
    number: usize,
    call: Call,
    failing: Failing,
    size: usize,
}

impl Cell {
    fn all() -> Vec<Self> {
        use {Call::*, Failing::*};
        let mut cells = Vec::new();
        for call in [Get, Put, Post, PostWithKey] {
            for failing in [Refused, Reset, Unavailable, Slow, Cut] {
                for size in SIZES {
                    cells.push(Self { number: cells.len(), call, failing, size });
                }
            }
        }
        cells
    }

    fn path(&self) -> String {
        let verb = match self.failing {
            Failing::Refused => "refused",
            Failing::Reset => "reset",
            Failing::Unavailable => "status/503",
            Failing::Slow => "delay/60000",
            Failing::Cut => "cut/5000",
        };
        format!("/c{}/{verb}", self.number)
    }

    fn body(&self) -> Vec<u8> {
        (0..self.size).map(|n| u8::try_from((n + self.number) % 251).unwrap_or(0)).collect()
    }

    fn request(&self) -> Request {
        let method = match self.call {
            Call::Get => "GET",
            Call::Put => "PUT",
            Call::Post | Call::PostWithKey => "POST",
        };
        let mut request = Request::new(method, &self.path()).header("x-request-id", &self.id());
        if self.size > 0 || self.call != Call::Get {
            request = request.body(self.body());
        }
        if self.call == Call::PostWithKey {
            request = request.header("idempotency-key", &self.id());
        }
        request
    }

    fn id(&self) -> String {
        format!("matrix-cell-{}", self.number)
    }

    /// How often the service is asked: three times where the request may be sent again and can
    /// be, and no answer has begun.
    fn attempts(&self) -> usize {
        let once = self.call == Call::Post || self.failing == Failing::Cut || self.size > KEPT;
        if once { 1 } else { 3 }
    }

    async fn check(self, gateway: &Gateway, origin: &Origin) -> Outcome {
        let answer = gateway.send(&self.request()).await;
        // A refusal may be lost where most of the body is still on its way.
        let heard = match (&answer, self.failing) {
            (Ok(answer), Failing::Refused | Failing::Reset | Failing::Cut) => answer.status == 502,
            (Ok(answer), Failing::Unavailable) => answer.status == 503,
            (Ok(answer), Failing::Slow) => answer.status == 504,
            (Err(_), failing) => failing == Failing::Cut || self.size > KEPT,
        };
        assert!(heard, "{self:?}: {answer:?}");
        let line = gateway.access_line(&self.id()).await?;
        assert_eq!(line.get("attempts"), Some(&self.attempts().into()), "{self:?}: {line}");
        let seen: Vec<_> =
            origin.seen().into_iter().filter(|seen| seen.target == self.path()).collect();
        let hits = if self.failing == Failing::Refused { 0 } else { self.attempts() };
        assert_eq!(seen.len(), hits, "{self:?}");
        let sum = Sha256::digest(self.body()).iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        for hit in seen {
            // The origin resets without reading; everything else it reads to the end first.
            if self.failing != Failing::Reset {
                assert_eq!(hit.body_length, Some(self.size), "{self:?}");
                assert_eq!(hit.body_sha256.as_deref(), Some(sum.as_str()), "{self:?}");
            }
            let key = (self.call == Call::PostWithKey).then(|| self.id());
            assert_eq!(hit.header("idempotency-key"), key.as_deref(), "{self:?}");
        }
        Ok(())
    }
}

#[tokio::test]
async fn every_method_failure_and_body() -> Outcome {
    let origin = Rc::new(Origin::start("api").await?);
    let cells = Cell::all();
    let gateway = Rc::new(gateway(config(&cells, &origin)?).start().await?);
    LocalSet::new().run_until(check_all(cells, gateway, origin)).await
}

async fn check_all(cells: Vec<Cell>, gateway: Rc<Gateway>, origin: Rc<Origin>) -> Outcome {
    let mut running: JoinSet<Outcome> = JoinSet::new();
    for cell in cells {
        if running.len() == AT_ONCE
            && let Some(done) = running.join_next().await
        {
            done.context("a cell")??;
        }
        let (gateway, origin) = (gateway.clone(), origin.clone());
        running.spawn_local(async move { cell.check(&gateway, &origin).await });
    }
    while let Some(done) = running.join_next().await {
        done.context("a cell")??;
    }
    Ok(())
}

/// `retryBodyBytes` draws the line earlier; bodies in chunks are measured as they come.
#[tokio::test]
async fn a_route_may_keep_less_of_a_body() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = super::patient(&[origin.address()], AMPLE)
        + &crate::open_route("retries: 1, retryOn: [503], retryBodyBytes: 1KiB");
    let gateway = gateway(config).start().await?;
    for (size, attempts) in [(0, 2), (1023, 2), (1024, 2), (1025, 1), (5000, 1)] {
        let declared = format!("/status/503/declared-{size}");
        let put = Request::new("PUT", &declared).body(vec![b'x'; size]);
        gateway.send(&put).await?.expect(503)?;
        let chunked = format!("/status/503/chunked-{size}");
        let chunks = if size == 0 { vec![] } else { vec![vec![b'x'; size]] };
        gateway.send(&Request::new("PUT", &chunked).chunked(chunks)).await?.expect(503)?;
        for target in [declared, chunked] {
            assert_eq!(origin.count(&target), attempts, "{target}");
            let mut seen = origin.seen();
            seen.retain(|seen| seen.target == target);
            assert!(seen.iter().all(|seen| seen.body_length == Some(size)), "{target}: {seen:?}");
        }
    }
    Ok(())
}

/// A body that is sent again is not counted again.
#[tokio::test]
async fn a_repeated_body_is_measured_once() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = super::patient(&[origin.address()], AMPLE)
        + "requestPolicy: {maxBodyBytes: 1000}\n"
        + &crate::open_route("retries: 2, retryOn: [503]");
    let gateway = gateway(config).start().await?;
    for chunks in [vec![vec![b'x'; 900]], vec![vec![b'x'; 500], vec![b'y'; 500]]] {
        gateway.send(&Request::new("PUT", "/status/503").chunked(chunks)).await?.expect(503)?;
    }
    assert_eq!(origin.total(), 6);
    Ok(())
}

fn config(cells: &[Cell], origin: &Origin) -> Result<String> {
    let mut services = String::from("services:\n");
    let mut routes = String::from(
        "policies:\n  auth: none\n  timeoutMs: 20000\n  attemptTimeoutMs: 400\n  retries: 2\n  \
         retryOn: [connect-failure, reset, timeout, 503]\n  retryIdempotencyKey: true\nroutes:\n",
    );
    for cell in cells {
        let number = cell.number;
        let address = match cell.failing {
            Failing::Refused => ([127, 0, 0, 1], ports::free()?).into(),
            _ => origin.address(),
        };
        let _ =
            writeln!(services, "  c{number}: {{endpoints: [{{address: \"{address}\"}}], {AMPLE}}}");
        let _ = writeln!(
            routes,
            "  - {{name: c{number}, match: {{pathPrefix: /c{number}}}, \
             upstream: {{service: c{number}}}}}"
        );
    }
    Ok(services + &routes)
}
