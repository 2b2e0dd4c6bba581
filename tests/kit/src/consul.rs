//! Consul's health API: registrations, checks, blocking queries, and everything that can go
//! wrong with an agent.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::Result;
use crate::http_server::{Abort, Answer, Connection, Handler, HttpServer};

/// What asking the agent is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsulMood {
    /// It works.
    #[default]
    Well,
    /// It answers with this status and a line of text, as Consul does without a leader.
    Status(u16),
    /// It answers 200 and HTML, as a proxy in front of it might.
    Garbage,
    /// It answers 200 and a list that breaks off, framed as if it were whole.
    Broken,
    /// It answers 200 and a list of 2 MiB.
    Huge,
    /// It accepts the request and never answers.
    Hang,
    /// It answers after this time.
    Slow(Duration),
    /// It answers that there are no instances, as after its state was lost.
    Empty,
    /// It ignores `passing`.
    Unfiltered,
    /// It answers blocking queries at once, changed or not.
    Restless,
}

/// An instance of a service, as it is registered.
#[derive(Clone, Debug)]
pub struct Registration {
    id: String,
    service: String,
    node_address: IpAddr,
    address: String,
    port: u16,
    tags: Vec<String>,
    weight: i64,
    status: String,
}

impl Registration {
    /// An instance that passes its checks, at an address of its own.
    #[must_use]
    pub fn new(id: &str, service: &str, address: SocketAddr) -> Self {
        Self {
            id: id.to_owned(),
            service: service.to_owned(),
            // Documentation range: whoever uses the node's address instead is found out.
            node_address: [192, 0, 2, 1].into(),
            address: address.ip().to_string(),
            port: address.port(),
            tags: Vec::new(),
            weight: 1,
            status: "passing".to_owned(),
        }
    }

    /// Registers it without an address: that of its node counts.
    #[must_use]
    pub fn at_its_node(mut self) -> Self {
        if let Ok(address) = self.address.parse() {
            self.node_address = address;
        }
        self.address = String::new();
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }

    /// Sets its share.
    #[must_use]
    pub const fn weight(mut self, weight: i64) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the state of its check: `passing`, `warning`, `critical`.
    #[must_use]
    pub fn status(mut self, status: &str) -> Self {
        status.clone_into(&mut self.status);
        self
    }

    /// The entry of the health API, in the shape that Consul documents.
    fn entry(&self, index: u64) -> Value {
        let node = json!({
            "ID": "40e4a748-2192-161a-0510-9bf59fe950b5",
            "Node": "foobar",
            "Address": self.node_address.to_string(),
            "Datacenter": "dc1",
            "TaggedAddresses": {"lan": "192.0.2.1", "wan": "192.0.2.1"},
            "Meta": {"instance_type": "t2.medium"},
            "CreateIndex": 5,
            "ModifyIndex": 5
        });
        let service = json!({
            "ID": self.id,
            "Service": self.service,
            "Tags": self.tags,
            "Address": self.address,
            "TaggedAddresses": {},
            "Meta": {"redis_version": "4.0"},
            "Port": self.port,
            "Weights": {"Passing": self.weight, "Warning": 1},
            "EnableTagOverride": false,
            "Namespace": "default",
            "CreateIndex": index,
            "ModifyIndex": index
        });
        let check = |id: &str, name: &str, status: &str, own: bool| {
            json!({
                "Node": "foobar",
                "CheckID": id,
                "Name": name,
                "Status": status,
                "Notes": "",
                "Output": "",
                "ServiceID": if own { self.id.as_str() } else { "" },
                "ServiceName": if own { self.service.as_str() } else { "" },
                "ServiceTags": if own { self.tags.clone() } else { Vec::new() },
                "Namespace": "default"
            })
        };
        let checks = [
            check(&format!("service:{}", self.id), "Service check", &self.status, true),
            check("serfHealth", "Serf Health Status", "passing", false),
        ];
        json!({ "Node": node, "Service": service, "Checks": checks })
    }
}

/// An agent of Consul on loopback: `GET /v1/health/service/NAME` with `passing`, `tag`, `dc`,
/// `index` and `wait`, as Consul documents them.
pub struct Consul {
    server: HttpServer,
    state: Arc<State>,
}

struct State {
    catalog: Mutex<Vec<Registration>>,
    index: watch::Sender<u64>,
    mood: Mutex<ConsulMood>,
    token: Mutex<Option<String>>,
    queries: Mutex<Vec<String>>,
}

impl Consul {
    /// Starts an agent that knows no service.
    pub async fn start() -> Result<Self> {
        let state = Arc::new(State {
            catalog: Mutex::default(),
            index: watch::Sender::new(10),
            mood: Mutex::default(),
            token: Mutex::default(),
            queries: Mutex::default(),
        });
        let handler: Arc<dyn Handler> = Arc::clone(&state) as Arc<dyn Handler>;
        Ok(Self { server: HttpServer::start(handler, 0).await?, state })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Registers an instance, instead of one with the same id.
    pub fn register(&self, registration: Registration) {
        self.change(|catalog| {
            catalog.retain(|known| known.id != registration.id);
            catalog.push(registration);
        });
    }

    /// Removes an instance.
    pub fn deregister(&self, id: &str) {
        self.change(|catalog| catalog.retain(|known| known.id != id));
    }

    /// Changes the state of an instance's check.
    pub fn set_status(&self, id: &str, status: &str) {
        self.change(|catalog| {
            for known in catalog.iter_mut().filter(|known| known.id == id) {
                status.clone_into(&mut known.status);
            }
        });
    }

    /// Changes what asking is like. Queries that wait go on as they began, except that all of
    /// them end now when the mood is [`ConsulMood::Empty`].
    pub fn set_mood(&self, mood: ConsulMood) {
        *self.state.mood.lock() = mood;
        if mood == ConsulMood::Empty {
            self.state.index.send_modify(|index| *index += 1);
        }
    }

    /// Lets the index go on from another number, as after a restored snapshot.
    pub fn set_index(&self, index: u64) {
        self.state.index.send_modify(|current| *current = index);
    }

    /// Asks for this token from now on: without one nothing is shown, a wrong one is refused.
    pub fn set_token(&self, token: &str) {
        *self.state.token.lock() = Some(token.to_owned());
    }

    /// Refuses connections until [`Consul::restart`].
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Listens again, on the same port.
    pub async fn restart(&self) -> Result<()> {
        self.server.restart().await
    }

    /// The targets of all queries so far.
    #[must_use]
    pub fn queries(&self) -> Vec<String> {
        self.state.queries.lock().clone()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Registration>)) {
        change(&mut self.state.catalog.lock());
        self.state.index.send_modify(|index| *index += 1);
    }
}

/// The parameters of a query.
#[derive(Default)]
struct Query {
    passing: bool,
    tag: Option<String>,
    datacenter: Option<String>,
    index: u64,
    wait: Duration,
}

impl Query {
    fn parse(text: &str) -> Self {
        // Consul waits five minutes where the query does not say.
        let mut query = Self { wait: Duration::from_mins(5), ..Self::default() };
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "passing" => query.passing = value != "false",
                "tag" => query.tag = Some(value.to_owned()),
                "dc" => query.datacenter = Some(value.to_owned()),
                "index" => query.index = value.parse().unwrap_or(0),
                "wait" => {
                    let ms = value.strip_suffix("ms").and_then(|number| number.parse().ok());
                    query.wait = ms.map_or(query.wait, Duration::from_millis);
                }
                _ => {}
            }
        }
        query
    }
}

impl State {
    async fn answer(&self, request: &hyper::Request<Incoming>) -> Option<Answer> {
        let uri = request.uri();
        let Some(service) = uri.path().strip_prefix("/v1/health/service/") else {
            return Some(text(StatusCode::NOT_FOUND, "not here"));
        };
        self.queries.lock().push(uri.to_string());
        let query = Query::parse(uri.query().unwrap_or_default());
        let token = request.headers().get("x-consul-token").and_then(|token| token.to_str().ok());
        let expected = self.token.lock().clone();
        let is_shown = match (&expected, token) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(expected), Some(token)) if expected == token => true,
            (Some(_), Some(_)) => return Some(text(StatusCode::FORBIDDEN, "ACL not found")),
        };
        if query.datacenter.as_deref().is_some_and(|datacenter| datacenter != "dc1") {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return Some(text(status, "No path to datacenter"));
        }
        let mood = *self.mood.lock();
        match mood {
            ConsulMood::Hang => return None,
            ConsulMood::Slow(time) => tokio::time::sleep(time).await,
            ConsulMood::Status(status) => {
                let status = StatusCode::from_u16(status).ok()?;
                return Some(text(status, "No cluster leader"));
            }
            ConsulMood::Garbage => return Some(text(StatusCode::OK, "<html>sign in</html>")),
            ConsulMood::Broken => return Some(text(StatusCode::OK, "[{\"Node\":{\"ID\":\"4")),
            ConsulMood::Huge => {
                let blank = " ".repeat(2 * 1024 * 1024);
                return Some(text(StatusCode::OK, &format!("[{blank}]")));
            }
            ConsulMood::Well
            | ConsulMood::Empty
            | ConsulMood::Unfiltered
            | ConsulMood::Restless => {}
        }
        if query.index > 0 && mood != ConsulMood::Restless {
            let mut index = self.index.subscribe();
            let change = index.wait_for(|index| *index > query.index);
            // Time over and change: both answer with what is there.
            let _ = tokio::time::timeout(query.wait, change).await;
        }
        Some(self.instances(service, &query, is_shown))
    }

    fn instances(&self, service: &str, query: &Query, is_shown: bool) -> Answer {
        let mood = *self.mood.lock();
        let index = *self.index.borrow();
        let catalog = self.catalog.lock();
        let is_asked_for = |known: &&Registration| {
            known.service == service
                && query.tag.as_ref().is_none_or(|tag| known.tags.contains(tag))
                && (!query.passing || mood == ConsulMood::Unfiltered || known.status == "passing")
        };
        let entries: Vec<Value> = catalog
            .iter()
            .filter(is_asked_for)
            .filter(|_| is_shown && mood != ConsulMood::Empty)
            .map(|known| known.entry(index))
            .collect();
        let mut answer = text(StatusCode::OK, &Value::from(entries).to_string());
        let headers = answer.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("x-consul-index", index.into());
        headers.insert("x-consul-knownleader", HeaderValue::from_static("true"));
        headers.insert("x-consul-lastcontact", HeaderValue::from_static("0"));
        answer
    }
}

impl Handler for State {
    fn handle(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
        _connection: Connection,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<Answer, Abort>> + Send>> {
        Box::pin(async move {
            match self.answer(&request).await {
                Some(answer) => Ok(answer),
                None => std::future::pending().await,
            }
        })
    }
}

fn text(status: StatusCode, text: &str) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text.to_owned()))));
    *response.status_mut() = status;
    response
}
