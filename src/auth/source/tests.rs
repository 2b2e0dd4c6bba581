use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::testing::{
    Signer, bearer, claims, compile, key_set, main_provider, now, policy, view,
};
use super::super::{Denied, TokenCache, authenticate};
use super::*;
use crate::fault::Reject;
use crate::model::Resolved;

/// Nothing here waits for time to pass; this is how long a stuck test takes to say so.
const STUCK: Duration = Duration::from_secs(20);

/// An issuer of hand-written answers.
struct Issuer {
    url: String,
    answer: Arc<Mutex<Vec<u8>>>,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(Vec::new()));
        let fetches = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&fetches));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answers.lock().clone();
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, answer, fetches }
    }

    fn says(&self, status: &str, body: &[u8]) {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        *self.answer.lock() = [head.as_bytes(), body].concat();
    }

    fn publishes(&self, keys: &[Value]) {
        self.says("200 OK", &key_set(keys));
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn yaml(&self, rest: &str) -> String {
        main_provider(&format!("    algorithms: [EdDSA]\n    jwksUrl: {}\n{rest}", self.url))
    }
}

/// A key source with its background work under way, and a route that uses it.
struct Node {
    source: Arc<KeySource>,
    providers: Arc<Providers>,
    metrics: Arc<Metrics>,
    cache: TokenCache,
}

impl Node {
    fn start(yaml: &str) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let source = Arc::new(KeySource::new(Arc::clone(&metrics)));
        let providers = providers(yaml);
        source.adopt(&providers);
        let running = Arc::clone(&source);
        tokio::spawn(async move { running.run().await });
        Self { source, providers, cache: TokenCache::new(8, &metrics), metrics }
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
        authenticate(&policy, &self.providers, &view, &ring, &self.cache, now()).map(drop)
    }

    /// What the data plane does with a token.
    async fn admit(&self, token: &str) -> Result<(), u16> {
        let mut outcome = self.show(token);
        if let Err(Denied::UnknownKey(unknown)) = &outcome
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
    let endless = vec![b' '; super::fetch::DOCUMENT_BYTES_MAX + 1];
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
    assert!(!source.refetch(&UnknownKey { set, generation: 1 }).await);
    assert_eq!(began.elapsed(), REFETCH_WAIT);
}

#[tokio::test]
async fn ages_are_shown_for_sets_that_are_there() {
    let (issuer, signer) = (Issuer::start().await, Signer::new("EdDSA"));
    issuer.publishes(&[signer.jwk("k1")]);
    let node = Node::start(&issuer.yaml(""));
    node.ended(1).await;
    node.source.shared.show_ages();
    let age = node.metrics.keyring_age.with_label_values(&["main"]).get();
    assert!((0.0..20.0).contains(&age), "{age}");
}
