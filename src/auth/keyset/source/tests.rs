use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::auth::testing::{
    Signer, bearer, claims, compile, key_set, main_provider, now, policy, view,
};
use crate::auth::{Answers, Denied, Evidence, Memory, Question, authenticate};
use crate::fault::Reject;
use crate::model::Resolved;

/// Nothing here waits for time to pass; this is how long a stuck test takes to say so.
const STUCK: Duration = Duration::from_secs(20);

/// An issuer of hand-written answers.
struct Issuer {
    url: String,
    answer: Arc<Mutex<Vec<u8>>>,
    /// What `/discovery` answers.
    document: Arc<Mutex<Vec<u8>>>,
    fetches: Arc<AtomicUsize>,
    /// The last request, in lower case.
    request: Arc<Mutex<String>>,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(Vec::new()));
        let fetches = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&fetches));
        let (document, request) = <(Arc<Mutex<Vec<u8>>>, Arc<Mutex<String>>)>::default();
        let (documents, last) = (Arc::clone(&document), Arc::clone(&request));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                let text = String::from_utf8_lossy(&request).to_lowercase();
                let answer = if text.starts_with("get /discovery") {
                    documents.lock().clone()
                } else {
                    count.fetch_add(1, Ordering::SeqCst);
                    *last.lock() = text;
                    answers.lock().clone()
                };
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, answer, document, fetches, request }
    }

    /// What it answers from now on, with these header lines.
    fn says_with(&self, status: &str, lines: &str, body: &[u8]) {
        *self.answer.lock() = response(status, lines, body);
    }

    /// What the discovery document says.
    fn discovers(&self, issuer: &str, keys: &str) {
        let document = serde_json::json!({"issuer": issuer, "jwks_uri": keys}).to_string();
        *self.document.lock() = response("200 OK", "", document.as_bytes());
    }

    fn says(&self, status: &str, body: &[u8]) {
        self.says_with(status, "", body);
    }

    fn publishes(&self, keys: &[Value]) {
        self.says("200 OK", &key_set(keys));
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn discovery_yaml(&self, rest: &str) -> String {
        let url = self.url.replace("/keys", "/discovery");
        main_provider(&format!("    algorithms: [EdDSA]\n    discoveryUrl: {url}\n{rest}"))
    }

    fn yaml(&self, rest: &str) -> String {
        main_provider(&format!("    algorithms: [EdDSA]\n    jwksUrl: {}\n{rest}", self.url))
    }
}

fn response(status: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{lines}connection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A key source with its background work under way, and a route that uses it.
struct Node {
    source: Arc<KeySource>,
    providers: Arc<Providers>,
    metrics: Arc<Metrics>,
    memory: Memory,
    /// Ends with the node.
    running: JoinSet<()>,
}

impl Node {
    fn start(yaml: &str) -> Self {
        Self::start_in(None, yaml)
    }

    /// With this folder for sets on disk.
    fn start_in(folder: Option<&Path>, yaml: &str) -> Self {
        let mut node = Self::prepared(folder, yaml);
        node.run();
        node
    }

    /// Before its background work begins.
    fn prepared(folder: Option<&Path>, yaml: &str) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let source = Arc::new(KeySource::with_state(Arc::clone(&metrics), folder));
        let providers = providers(yaml);
        source.adopt(&providers);
        let memory = Memory::with_tokens(8, &metrics);
        Self { source, providers, memory, metrics, running: JoinSet::new() }
    }

    fn run(&mut self) {
        let source = Arc::clone(&self.source);
        self.running.spawn(async move { source.run().await });
    }

    /// The waits until the next fetch that a test can change: asks for one, as a request with
    /// an unknown key does.
    async fn again(&self) {
        let ended = *self.feed().ended.borrow();
        assert_ne!(self.feed().ask(clock::now().tick), Asked::Refused);
        self.ended(ended + 1).await;
    }

    fn reasons(&self, reason: &str) -> u64 {
        self.metrics.keyring_failures.with_label_values(&["main", reason]).get()
    }

    fn on_disk(&self, outcome: &str) -> u64 {
        self.metrics.keyring_store.with_label_values(&["main", outcome]).get()
    }

    /// Waits until so many sets were written to disk, or could not be.
    async fn written(&self, outcome: &str, count: u64) {
        let wait = async {
            while self.on_disk(outcome) < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(STUCK, wait).await.unwrap();
    }

    fn feed(&self) -> Arc<Feed> {
        Arc::clone(&self.source.shared.feeds.load()[0])
    }

    /// Waits until so many fetches have ended.
    async fn ended(&self, count: u64) {
        let mut ended = self.feed().ended.subscribe();
        let wait = ended.wait_for(|ended| *ended >= count);
        tokio::time::timeout(STUCK, wait).await.unwrap().unwrap();
    }

    fn show(&self, token: &str) -> Result<(), Denied> {
        let headers = bearer(token);
        let policy = policy(&self.providers, "auth: required");
        let view = view(&http::Method::GET, &headers);
        let ring = self.source.current();
        let (memory, answers) = (&self.memory, &Answers::default());
        let evidence =
            Evidence { providers: &self.providers, keys: &ring, memory, answers, now: now() };
        authenticate(&policy, &view, &evidence).map(drop)
    }

    /// What the data plane does with a token.
    async fn admit(&self, token: &str) -> Result<(), u16> {
        let mut outcome = self.show(token);
        if let Err(Denied::Ask(Question::Key(unknown))) = &outcome
            && self.source.refetch(unknown).await
        {
            outcome = self.show(token);
        }
        outcome.map_err(|denied| Reject::from(denied).fault.status())
    }

    fn count(&self, outcome: &str) -> u64 {
        self.metrics.keyring_fetches.with_label_values(&["main", outcome]).get()
    }
}

fn providers(yaml: &str) -> Arc<Providers> {
    let (providers, problems) = compile(yaml, &Resolved::default());
    assert_eq!(problems, [""; 0]);
    Arc::new(providers)
}

fn token(signer: &Signer, kid: &str) -> String {
    signer.token("EdDSA", Some(kid), &claims(&serde_json::json!({})))
}

#[tokio::test]
async fn the_first_set_is_fetched_in_the_background() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    let node = Node::start(&issuer.yaml(""));
    assert_eq!(node.admit(&token(&signer, "k1")).await, Err(503), "no request waits for it");
    assert_eq!(*node.source.waiting(), [std::sync::Arc::<str>::from("main")]);
    node.ended(1).await;
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    assert!(node.source.waiting().is_empty());
    assert_eq!((issuer.fetches(), node.count("changed")), (1, 1));
}

#[tokio::test]
async fn a_rotated_key_is_accepted_at_once_and_costs_one_fetch() {
    let issuer = Issuer::start().await;
    let (old, new) = (Signer::new("EdDSA"), Signer::new("EdDSA"));
    issuer.publishes(&[old.jwk("k1")]);
    let node = Arc::new(Node::start(&issuer.yaml("")));
    node.ended(1).await;
    issuer.publishes(&[old.jwk("k1"), new.jwk("k2")]);
    let mut surge = JoinSet::new();
    for _ in 0..200 {
        let (node, token) = (Arc::clone(&node), token(&new, "k2"));
        surge.spawn(async move { node.admit(&token).await });
    }
    let outcomes = surge.join_all().await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(node.admit(&token(&old, "k1")).await, Ok(()));
}

#[tokio::test]
async fn unknown_keys_cause_no_more_fetches_than_the_rate() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    let node = Arc::new(Node::start(&issuer.yaml("    jwks: {fetchesPerMinute: 4}\n")));
    node.ended(1).await;
    let began = Instant::now();
    for n in 0..1000 {
        assert_eq!(node.admit(&token(&signer, &format!("random-{n}"))).await, Err(401));
    }
    // Two at once and one more every twenty seconds, whatever this machine took.
    let allowed = 2 + usize::try_from(began.elapsed().as_secs() / 20).unwrap();
    assert_eq!(issuer.fetches(), 1 + allowed);
    let unknown = node.metrics.keyring_unknown.with_label_values(&["main"]).get();
    assert_eq!((unknown, node.count("unchanged")), (1000, allowed as u64));
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
}

#[tokio::test]
async fn an_unchanged_set_keeps_what_was_proved() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    let node = Node::start(&issuer.yaml(""));
    node.ended(1).await;
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    assert_eq!(node.admit(&token(&signer, "other")).await, Err(401));
    node.ended(2).await;
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    assert_eq!(node.metrics.token_cache.with_label_values(&["hit"]).get(), 1);
}

#[tokio::test]
async fn an_outage_keeps_the_old_set() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    let node = Node::start(&issuer.yaml("    jwks: {fetchesPerMinute: 60}\n"));
    node.ended(1).await;
    let endless = vec![b' '; crate::auth::keyset::fetch::DOCUMENT_BYTES_MAX + 1];
    let symmetric = key_set(&[Signer::new("HS256").jwk("k1")]);
    let failures: [(&str, &[u8]); 7] = [
        ("500 Internal Server Error", b""),
        ("302 Found\r\nlocation: /elsewhere", b""),
        ("204 No Content", b""),
        ("200 OK", b"<html>"),
        ("200 OK", b"{\"keys\":[]}"),
        ("200 OK", &symmetric),
        ("200 OK", &endless),
    ];
    for (count, (status, body)) in failures.iter().enumerate() {
        issuer.says(status, body);
        assert_eq!(node.admit(&token(&signer, "k2")).await, Err(401), "{status}");
        assert_eq!(node.count("failed"), count as u64 + 1, "{status}");
        assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()), "{status}");
    }
    // No answer at all.
    *issuer.answer.lock() = Vec::new();
    assert_eq!(node.admit(&token(&signer, "k2")).await, Err(401));
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    // And back again, with a new key.
    let new = Signer::new("EdDSA");
    issuer.publishes(&[signer.jwk("k1"), new.jwk("k2")]);
    assert_eq!(node.admit(&token(&new, "k2")).await, Ok(()));
}

#[tokio::test]
async fn a_reload_keeps_sets_of_known_urls_without_asking_again() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    let mut node = Node::start(&issuer.yaml(""));
    node.ended(1).await;
    let feed = node.feed();
    // Other settings of the provider, same set: the feed itself goes on.
    node.providers = providers(&issuer.yaml("    clockToleranceSeconds: 5\n"));
    node.source.adopt(&node.providers);
    assert!(Arc::ptr_eq(&feed, &node.feed()));
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    // Another name for the same URL: a new feed starts from the known set.
    let renamed = issuer.yaml("").replace("  main:", "  renamed:");
    let before = Arc::clone(&node.providers);
    node.providers = providers(&renamed);
    node.source.adopt(&node.providers);
    assert!(!Arc::ptr_eq(&feed, &node.feed()));
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    // A request that still holds the snapshot before is not turned away.
    node.providers = before;
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    assert_eq!(issuer.fetches(), 1);
    assert!(node.source.waiting().is_empty());
}

#[tokio::test]
async fn a_key_of_a_set_that_nobody_keeps_is_refused_at_once() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    let node = Node::start(&issuer.yaml(""));
    node.ended(1).await;
    node.source.adopt(&Arc::new(Providers::default()));
    assert_eq!(node.admit(&token(&signer, "k2")).await, Err(401));
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_a_bounded_time_for_a_fetch_that_does_not_come() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let source = KeySource::new(metrics);
    let yaml = main_provider("    algorithms: [EdDSA]\n    jwksUrl: http://127.0.0.1:1/keys\n");
    source.adopt(&providers(&yaml));
    let set = source.shared.feeds.load()[0].id.clone();
    let began = Instant::now();
    // Nobody polls `run`.
    assert!(!source.refetch(&UnknownKey { set, kid: "k".into() }).await);
    assert_eq!(began.elapsed(), REFETCH_WAIT);
}

#[tokio::test]
async fn ages_are_shown_for_sets_that_are_there() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    let node = Node::start(&issuer.yaml(""));
    node.ended(1).await;
    node.source.shared.show_all();
    let age = node.metrics.keyring_age.with_label_values(&["main"]).get();
    assert!((0.0..20.0).contains(&age), "{age}");
    assert_eq!(node.metrics.keyring_keys.with_label_values(&["main"]).get(), 1);
}

#[tokio::test]
async fn an_issuer_that_knows_of_no_change_confirms_the_set() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    let dated = "etag: \"v1\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    issuer.says_with("200 OK", dated, &key_set(&[signer.jwk("k1")]));
    let node = Node::start(&issuer.yaml(""));
    node.ended(1).await;
    assert!(!issuer.request.lock().contains("if-"), "{}", issuer.request.lock());
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    issuer.says_with("304 Not Modified", "", b"");
    node.again().await;
    let request = issuer.request.lock().clone();
    assert!(request.contains("if-none-match: \"v1\"\r\n"), "{request}");
    assert!(request.contains("if-modified-since: sun, 06 nov 1994 08:49:37 gmt\r\n"), "{request}");
    assert_eq!((node.count("changed"), node.count("unchanged"), node.count("failed")), (1, 1, 0));
    // What was proved stays proved.
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    assert_eq!(node.metrics.token_cache.with_label_values(&["hit"]).get(), 1);
    // A new set comes with validators of its own; without any, nothing is asked with.
    issuer.says_with("200 OK", "etag: \"v2\"\r\n", &key_set(&[signer.jwk("k2")]));
    node.again().await;
    issuer.publishes(&[signer.jwk("k3")]);
    node.again().await;
    let request = issuer.request.lock().clone();
    assert!(request.contains("if-none-match: \"v2\"\r\n"), "{request}");
    assert!(!request.contains("if-modified-since"), "{request}");
    node.again().await;
    assert!(!issuer.request.lock().contains("if-"), "{}", issuer.request.lock());
    assert_eq!(node.admit(&token(&signer, "k3")).await, Ok(()));
}

#[tokio::test]
async fn an_issuer_that_confirms_what_it_was_not_asked_about_is_not_believed() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.says_with("304 Not Modified", "", b"");
    let node = Node::start(&issuer.yaml(""));
    node.ended(1).await;
    assert_eq!((node.count("failed"), node.reasons("status")), (1, 1));
    assert_eq!(node.admit(&token(&signer, "k1")).await, Err(503));
}

#[tokio::test]
async fn a_discovery_document_leads_to_the_set() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    issuer.discovers(crate::auth::testing::ISSUER, &issuer.url);
    let node = Node::start(&issuer.discovery_yaml(""));
    node.ended(1).await;
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    // It is read anew with each refresh: the set has moved, and etags of the former place say
    // nothing of it.
    issuer.says_with("200 OK", "etag: \"v1\"\r\n", &key_set(&[signer.jwk("k1")]));
    node.again().await;
    let moved = Issuer::start().await;
    moved.publishes(&[signer.jwk("k2")]);
    issuer.discovers(crate::auth::testing::ISSUER, &moved.url);
    node.again().await;
    assert_eq!((moved.fetches(), issuer.fetches()), (1, 2));
    assert!(!moved.request.lock().contains("if-"), "{}", moved.request.lock());
    assert_eq!(node.show(&token(&signer, "k2")).map_err(|_| ()), Ok(()));
}

#[tokio::test]
async fn a_discovery_document_that_is_wrong_keeps_the_last_good_set() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    issuer.discovers(crate::auth::testing::ISSUER, &issuer.url);
    let node = Node::start(&issuer.discovery_yaml("    jwks: {fetchesPerMinute: 60}\n"));
    node.ended(1).await;
    let name = crate::auth::testing::ISSUER;
    for (issuer_name, keys) in
        [("https://other.test/", &*issuer.url), (name, "http://192.0.2.1/keys"), (name, "keys")]
    {
        issuer.discovers(issuer_name, keys);
        node.again().await;
    }
    for (status, body) in [("200 OK", "<html>"), ("404 Not Found", ""), ("302 Found", "")] {
        *issuer.document.lock() = response(status, "location: /keys\r\n", body.as_bytes());
        node.again().await;
    }
    assert_eq!((node.count("failed"), issuer.fetches()), (6, 1));
    assert_eq!((node.reasons("discovery"), node.reasons("status")), (4, 2));
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
}

#[tokio::test]
async fn without_a_discovery_document_nothing_is_known() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    issuer.discovers("https://other.test/", &issuer.url);
    let node = Node::start(&issuer.discovery_yaml(""));
    node.ended(1).await;
    assert_eq!(node.admit(&token(&signer, "k1")).await, Err(503));
    assert_eq!(issuer.fetches(), 0, "nobody's keys are asked for");
}

#[tokio::test]
async fn a_set_of_more_keys_than_allowed_is_refused() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    let keys = [signer.jwk("k1"), signer.jwk("k2"), signer.jwk("k3")];
    issuer.publishes(&keys[..2]);
    let node = Node::start(&issuer.yaml("    jwks: {maxKeys: 2}\n"));
    node.ended(1).await;
    assert_eq!((node.count("changed"), node.count("failed")), (1, 0));
    issuer.publishes(&keys);
    node.again().await;
    assert_eq!((node.count("failed"), node.reasons("keys")), (1, 1));
    assert_eq!(node.admit(&token(&signer, "k2")).await, Ok(()));
    assert_eq!(node.metrics.keyring_keys.with_label_values(&["main"]).get(), 2);
}

#[tokio::test]
async fn an_issuer_that_asks_to_be_left_alone_is_not_asked_for_unknown_keys() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    let node = Node::start(&issuer.yaml(""));
    node.ended(1).await;
    issuer.says_with("429 Too Many Requests", "retry-after: 3600\r\n", b"");
    node.again().await;
    assert_eq!(node.admit(&token(&signer, "k2")).await, Err(401));
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
}

#[tokio::test]
async fn a_set_on_disk_serves_a_start_without_the_issuer() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    let folder = tempfile::tempdir().unwrap();
    issuer.says_with("200 OK", "etag: \"v1\"\r\n", &key_set(&[signer.jwk("k1")]));
    let node = Node::start_in(Some(folder.path()), &issuer.yaml(""));
    node.written("saved", 1).await;
    drop(node);
    // The next process: the set is in force before anything was fetched.
    issuer.says("500 Internal Server Error", b"");
    let mut node = Node::prepared(Some(folder.path()), &issuer.yaml(""));
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    assert!(node.source.waiting().is_empty());
    assert_eq!((issuer.fetches(), node.on_disk("loaded")), (1, 1));
    // And it is asked for at once, with what is known of it.
    node.run();
    node.ended(1).await;
    assert_eq!((issuer.fetches(), node.count("failed")), (2, 1));
    assert!(issuer.request.lock().contains("if-none-match: \"v1\"\r\n"));
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    // The issuer is back and confirms it; what was proved stays, and the file is renewed.
    issuer.says_with("304 Not Modified", "", b"");
    node.ended(2).await;
    assert_eq!((node.count("changed"), node.count("unchanged")), (0, 1));
    node.written("saved", 1).await;
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    // What says the same is not written again within the hour, what says more is.
    node.again().await;
    issuer.publishes(&[signer.jwk("k2")]);
    node.again().await;
    node.written("saved", 2).await;
    assert_eq!(node.on_disk("saved"), 2);
}

#[tokio::test]
async fn the_age_counts_across_restarts() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    let folder = tempfile::tempdir().unwrap();
    issuer.publishes(&[signer.jwk("k1")]);
    let node = Node::start_in(Some(folder.path()), &issuer.yaml(""));
    node.written("saved", 1).await;
    drop(node);
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let written = std::fs::read_to_string(&file).unwrap();
    let at: u64 = {
        let value: Value = serde_json::from_str(&written).unwrap();
        value["fetchedAt"].as_u64().unwrap()
    };
    for (fetched_at, ages) in [(at - 1000, 1000.0..1100.0), (at + 1000, 0.0..100.0)] {
        let moved =
            written.replace(&format!("\"fetchedAt\":{at}"), &format!("\"fetchedAt\":{fetched_at}"));
        std::fs::write(&file, moved).unwrap();
        let node = Node::prepared(Some(folder.path()), &issuer.yaml(""));
        node.source.shared.show_all();
        let age = node.metrics.keyring_age.with_label_values(&["main"]).get();
        assert!(ages.contains(&age), "{fetched_at}: {age}");
    }
}

#[tokio::test]
async fn what_is_wrong_on_disk_is_ignored() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    let folder = tempfile::tempdir().unwrap();
    issuer.publishes(&[signer.jwk("k1"), signer.jwk("k2")]);
    let node = Node::start_in(Some(folder.path()), &issuer.yaml(""));
    node.written("saved", 1).await;
    drop(node);
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let written = std::fs::read_to_string(&file).unwrap();
    let prepared = |rest: &str| Node::prepared(Some(folder.path()), &issuer.yaml(rest));
    // Sound, but more keys than are allowed now.
    let node = prepared("    jwks: {maxKeys: 1}\n");
    assert_eq!((node.on_disk("ignored"), node.source.waiting().len()), (1, 1));
    std::fs::write(&file, &written[..written.len() / 2]).unwrap();
    let mut node = prepared("");
    assert_eq!((node.on_disk("ignored"), node.source.waiting().len()), (1, 1));
    assert_eq!(node.admit(&token(&signer, "k1")).await, Err(503));
    // It is replaced by what the issuer says.
    node.run();
    node.written("saved", 1).await;
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    assert_eq!(prepared("").on_disk("loaded"), 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_changes_nothing() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    issuer.publishes(&[signer.jwk("k1")]);
    let node = Node::start_in(Some(&file), &issuer.yaml(""));
    node.written("failed", 1).await;
    assert_eq!(node.admit(&token(&signer, "k1")).await, Ok(()));
    // It is tried again with the next fetch, whatever that brings.
    node.again().await;
    node.written("failed", 2).await;
}

#[tokio::test]
async fn a_key_that_is_published_while_a_fetch_is_under_way_is_found() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    let node = Node::start(&issuer.yaml(""));
    node.ended(1).await;
    // Looked for in the set before, while another request's fetch has brought a newer set that
    // does not hold it yet.
    let Err(Denied::Ask(Question::Key(unknown))) = node.show(&token(&signer, "k3")) else {
        panic!("a question")
    };
    issuer.publishes(&[signer.jwk("k1"), signer.jwk("k2")]);
    node.again().await;
    issuer.publishes(&[signer.jwk("k1"), signer.jwk("k2"), signer.jwk("k3")]);
    assert!(node.source.refetch(&unknown).await);
    assert_eq!(issuer.fetches(), 3);
}
