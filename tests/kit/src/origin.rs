//! Origins: the services behind the gateway.

mod raw;
mod script;
mod wire;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::http_server::{Abort, Answer, Connection, Handler, HttpServer};
use crate::{Result, wait};

pub use crate::http_server::Speaks;
pub use raw::RawOrigin;
pub use wire::{Step, Taken, WireOrigin};

/// An HTTP server on loopback that does what the path of each request asks for, and
/// remembers what it saw.
///
/// A verb may stand anywhere in the path, so that it works below any route's prefix:
///
/// | Verb | Answer |
/// |---|---|
/// | (none) | 200 with the request as JSON: method, target, headers, length of the body, … |
/// | `status/N` | the same with status N |
/// | `delay/MS` | the same after that many milliseconds |
/// | `hold/NAME` | the same after [`Origin::release`] |
/// | `told/NAME` | what the request's header of that name says |
/// | `page` | what [`Origin::publish`] was told last |
/// | `bytes/N` | N bytes with `Content-Length` |
/// | `chunks/N` | N chunks of 1 KiB |
/// | `trailers/N` | the same with a trailer, `x-end`, that nothing announces (HTTP/2 only) |
/// | `hold-body/NAME` | a header and one chunk now, a second chunk after the release |
/// | `reset` | the connection is reset, no byte sent |
/// | `cut/N` | a header that promises 2N bytes, N bytes, then a reset |
///
/// Query parameters add response headers: `cc=` is `Cache-Control`, `vary=`, `etag=` (answered
/// with 304 when `If-None-Match` names it), `set-cookie=`, and `header=NAME:VALUE` any other.
/// Every answer carries `x-origin` with the origin's name and `x-serial`, which counts up.
pub struct Origin {
    server: HttpServer,
    state: Arc<State>,
}

/// A request as an origin saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The target of the request line.
    pub target: String,
    /// The fields of the header, names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// Length of the body; none while it is still coming or when it broke off.
    pub body_length: Option<usize>,
    /// SHA-256 of the body in hexadecimal.
    pub body_sha256: Option<String>,
    /// `HTTP/1.1` or `HTTP/2.0`. Of HTTP/2 the target is the path alone, and the authority is
    /// the header `host`.
    pub version: String,
    /// The name that the client asked for in its TLS handshake.
    pub server_name: Option<String>,
    /// The client's certificate, in DER.
    pub certificate: Option<Vec<u8>>,
}

impl Seen {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// How many fields of this name there were.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(known, _)| known == name).count()
    }
}

/// What an origin does with every request, whatever its path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Habit {
    /// As the path says.
    #[default]
    Scripted,
    /// This status.
    Status(u16),
    /// A reset connection.
    Reset,
    /// No answer at all.
    Hang,
}

/// What an origin knows.
pub(crate) struct State {
    pub(crate) name: String,
    habit: Mutex<Habit>,
    seen: Mutex<Vec<Seen>>,
    /// The number of requests, for those who wait for one.
    arrivals: watch::Sender<u64>,
    released: watch::Sender<BTreeSet<String>>,
    /// The page, and its `Cache-Control`.
    page: Mutex<(String, String)>,
}

impl Origin {
    /// Starts an origin on a free port.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_on(name, 0).await
    }

    /// Starts an origin on a port; 0 takes a free one.
    pub async fn start_on(name: &str, port: u16) -> Result<Self> {
        Self::start_speaking(name, port, Speaks::Http1).await
    }

    /// Starts an origin that speaks something else, on a port; 0 takes a free one.
    pub async fn start_speaking(name: &str, port: u16, speaks: Speaks) -> Result<Self> {
        let state = Arc::new(State {
            name: name.to_owned(),
            habit: Mutex::default(),
            seen: Mutex::default(),
            arrivals: watch::Sender::new(0),
            released: watch::Sender::new(BTreeSet::new()),
            page: Mutex::default(),
        });
        let handler: Arc<dyn Handler> = Arc::clone(&state) as Arc<dyn Handler>;
        Ok(Self { server: HttpServer::start_speaking(speaks, handler, port).await?, state })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Stops listening and closes all connections; the next connect is refused.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Listens again, on the same port.
    pub async fn restart(&self) -> Result<()> {
        self.server.restart().await
    }

    /// Closes all connections and speaks something else, on the same port.
    pub async fn speak(&self, speaks: Speaks) -> Result<()> {
        self.server.speak(speaks);
        self.server.restart().await
    }

    /// Changes what every request meets.
    pub fn set_habit(&self, habit: Habit) {
        *self.state.habit.lock() = habit;
    }

    /// Lets all requests to `hold/NAME` and `hold-body/NAME` go on, present and future ones.
    pub fn release(&self, name: &str) {
        self.state.released.send_modify(|released| {
            released.insert(name.to_owned());
        });
    }

    /// Holds requests to `hold/NAME` and `hold-body/NAME` from now on, released before or not.
    pub fn hold(&self, name: &str) {
        self.state.released.send_modify(|released| {
            released.remove(name);
        });
    }

    /// Sets what `page` answers, and its `Cache-Control`.
    pub fn publish(&self, content: &str, cache_control: &str) {
        *self.state.page.lock() = (content.to_owned(), cache_control.to_owned());
    }

    /// Every request so far, in the order of arrival.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().clone()
    }

    /// The last request.
    #[must_use]
    pub fn last(&self) -> Option<Seen> {
        self.state.seen.lock().last().cloned()
    }

    /// Number of requests so far.
    #[must_use]
    pub fn total(&self) -> usize {
        self.state.seen.lock().len()
    }

    /// Number of requests for a path, whatever their query.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        let seen = self.state.seen.lock();
        seen.iter().filter(|seen| seen.target.split('?').next() == Some(path)).count()
    }

    /// Number of requests by path, without queries.
    #[must_use]
    pub fn counts(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for seen in self.state.seen.lock().iter() {
            let path = seen.target.split('?').next().unwrap_or_default();
            *counts.entry(path.to_owned()).or_default() += 1;
        }
        counts
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.server.connections()
    }

    /// Waits until this many requests have arrived in all.
    pub async fn arrived(&self, count: usize) -> Result<()> {
        let mut arrivals = self.state.arrivals.subscribe();
        let reached = arrivals.wait_for(|seen| *seen >= count as u64);
        wait::within(&format!("request {count} at {}", self.state.name), reached).await.map(|_| ())
    }
}

impl State {
    /// Notes a request; returns its number, from 1.
    fn note(&self, request: &hyper::Request<Incoming>, connection: &Connection) -> usize {
        let mut headers: Vec<(String, String)> = request
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        let mut target = request.uri().to_string();
        if request.version() == hyper::Version::HTTP_2 {
            target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
            if let Some(authority) = request.uri().authority() {
                headers.insert(0, ("host".to_owned(), authority.to_string()));
            }
        }
        let mut seen = self.seen.lock();
        seen.push(Seen {
            method: request.method().to_string(),
            target,
            headers,
            body_length: None,
            body_sha256: None,
            version: format!("{:?}", request.version()),
            server_name: connection.server_name.clone(),
            certificate: connection.certificate.clone(),
        });
        self.arrivals.send_modify(|count| *count += 1);
        seen.len()
    }

    /// Notes the body of a request, and returns all that is known of it.
    fn complete(&self, serial: usize, body: &[u8]) -> Seen {
        let mut seen = self.seen.lock();
        let entry = &mut seen[serial - 1];
        entry.body_length = Some(body.len());
        entry.body_sha256 = Some(hex(&Sha256::digest(body)));
        entry.clone()
    }

    /// What was published last.
    pub(crate) fn page(&self) -> (String, String) {
        self.page.lock().clone()
    }

    /// Returns once `release` was called for the name.
    pub(crate) async fn held(&self, name: &str) {
        let mut released = self.released.subscribe();
        let _ = released.wait_for(|names| names.contains(name)).await;
    }
}

impl Handler for State {
    fn handle(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
        connection: Connection,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<Answer, Abort>> + Send>> {
        let serial = self.note(&request, &connection);
        let habit = *self.habit.lock();
        Box::pin(async move {
            match habit {
                Habit::Scripted => script::answer(self, request, serial, &connection, None).await,
                Habit::Status(status) => {
                    script::answer(self, request, serial, &connection, Some(status)).await
                }
                Habit::Reset => {
                    connection.reset_on_close();
                    Err(Abort)
                }
                Habit::Hang => std::future::pending().await,
            }
        })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
