//! Nanoseconds of the pure path: everything that is decided about a request, without network.
//!
//! The route is the one that `compare` measures as `full`, compiled from the same document by
//! the same code that the gateway runs, and called through the same functions. Each group
//! answers one question:
//!
//! | Group | Question |
//! |---|---|
//! | `view` | what does reading a request cost, when its path is in normal form and when not |
//! | `match` | does finding a route cost more among 100,000 than among 10 |
//! | `token` | what does a signature cost, and what a token that has been seen |
//! | `plan` | limit keys, cache key and split together |
//! | `path` | all of it, as the gateway does it for an admitted request |
//! | `caller` | what knowing the caller costs: one route, open and with 1,000 tokens seen before |

use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use pingora::http::RequestHeader;
use tidegate::auth::{self, Answers, Evidence, KeyRing, KeySource, Memory};
use tidegate::clock::{self, Moment};
use tidegate::decide::{self, Attempt, Choice, Outbound, Plan};
use tidegate::edge::{
    Connection, EdgeLimits, Facts, Identity, RequestId, RequestView, TraceContext,
};
use tidegate::fault::{Fault, Reject};
use tidegate::live::{Missing, judge};
use tidegate::routing::Caller;
use tidegate::snapshot::{Route, Snapshot};
use tidegate::telemetry::Metrics;
use tidegate::upstream::Upstreams;
use tidegate_loadtest::document::{self, HOST, Place};
use tidegate_loadtest::token::Issuer;
use tidegate_loadtest::{Context, Error, Result};

/// Tokens that are verified in turn with room for one, so that each is verified anew.
const COLD_TOKENS: usize = 16;

/// Callers of the group `caller`, each with a token of its own.
const CALLERS: usize = 1_000;

/// Numbers of routes among which one is found.
const TABLES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];

fn benches(criterion: &mut Criterion) {
    if let Err(error) = run(criterion) {
        eprintln!("decide: {error}");
        std::process::exit(1);
    }
}

fn run(criterion: &mut Criterion) -> Result<()> {
    let folder = tempfile::tempdir().context("a folder")?;
    let issuer = Issuer::generate()?;
    let key = Place::public_key(folder.path());
    std::fs::write(&key, issuer.public_pem()).context(key.display())?;
    let full = Gateway::compile(folder.path(), document::full)?;
    view(criterion, &full, &issuer)?;
    matching(criterion, folder.path())?;
    token(criterion, &full, &issuer)?;
    plan(criterion, &full, &issuer)?;
    whole(criterion, &full, &issuer)?;
    let open = Gateway::compile(folder.path(), document::plain)?;
    let auth = Gateway::compile(folder.path(), document::auth)?;
    caller(criterion, &open, &auth, &issuer)
}

/// A configuration, compiled, and what a process holds beside it.
struct Gateway {
    metrics: Arc<Metrics>,
    snapshot: Snapshot,
    keys: Arc<KeyRing>,
    now: Moment,
}

impl Gateway {
    /// Compiles a document as the gateway would.
    fn compile(folder: &Path, document: impl Fn(&Place) -> String) -> Result<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let other = SocketAddr::from(([127, 0, 0, 1], 10));
        let place = Place {
            name: "bench",
            folder: folder.to_owned(),
            address: nowhere,
            admin: other,
            origin: nowhere,
            redis: None,
        };
        let file = place.file("yaml");
        std::fs::write(&file, document(&place)).context(file.display())?;
        let metrics = Arc::new(Metrics::new().context("metrics")?);
        let health = Upstreams::default();
        let judged = judge(&file, Missing::Noted, &metrics, &health, 1);
        let Some(candidate) = judged.candidate else {
            return Err(Error::new(words(judged.problems.0.iter())));
        };
        let source = KeySource::new(Arc::clone(&metrics));
        source.adopt(&candidate.snapshot.providers);
        let keys = source.current();
        Ok(Self { metrics, snapshot: candidate.snapshot, keys, now: clock::now() })
    }

    fn limits(&self) -> Result<&EdgeLimits> {
        let listener = self.snapshot.listeners.all().next().context("no listener")?;
        Ok(&listener.limits)
    }

    fn view<'a>(&self, sent: &'a Sent) -> Result<RequestView<'a>> {
        sent.read(self.limits()?).map_err(|reject| refused(&reject))
    }

    fn find(&self, view: &RequestView<'_>) -> Result<&Arc<Route>> {
        find(&self.snapshot, view).map_err(|reject| refused(&reject))
    }

    fn authenticate(
        &self,
        route: &Route,
        view: &RequestView<'_>,
        memory: &Memory,
    ) -> std::result::Result<Option<Arc<Identity>>, auth::Denied> {
        auth::authenticate(&route.auth, view, &self.evidence(memory, &Answers::default()))
    }

    fn evidence<'a>(&'a self, memory: &'a Memory, answers: &'a Answers) -> Evidence<'a> {
        let Self { snapshot, keys, now, .. } = self;
        Evidence { providers: &snapshot.providers, keys, memory, answers, now: *now }
    }

    fn tokens_seen(&self, outcome: &str) -> u64 {
        self.metrics.token_cache.with_label_values(&[outcome]).get()
    }
}

/// A request as it comes off the wire.
struct Sent {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    connection: Connection,
}

impl Sent {
    /// A GET with the headers that a browser's application sends.
    fn get(host: &str, target: &str, token: Option<&str>) -> Result<Self> {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let usual = [
            ("host", host),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101"),
            ("accept", "application/json"),
            ("accept-language", "en-GB,en;q=0.8,de;q=0.5"),
            ("accept-encoding", "gzip, deflate, br, zstd"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ];
        let mut headers = HeaderMap::new();
        let bearer = bearer.as_deref().map(|bearer| ("authorization", bearer));
        for (name, value) in usual.into_iter().chain(bearer) {
            let value = HeaderValue::from_str(value).context(name)?;
            headers.append(HeaderName::from_static(name), value);
        }
        let uri = target.parse().context(target)?;
        let peer = SocketAddr::from(([203, 0, 113, 7], 50_000));
        let connection = Connection::cleartext(peer, peer);
        Ok(Self { method: Method::GET, uri, headers, connection })
    }

    fn read(
        &self,
        limits: &EdgeLimits,
    ) -> std::result::Result<RequestView<'_>, tidegate::fault::Reject> {
        RequestView::read(&self.method, &self.uri, &self.headers, &self.connection, limits)
    }
}

fn view(criterion: &mut Criterion, gateway: &Gateway, issuer: &Issuer) -> Result<()> {
    let mut group = criterion.benchmark_group("view");
    let limits = gateway.limits()?;
    let token = issuer.token(0)?;
    for (name, target) in [
        ("path_in_normal_form", "/v1/orders/0042/lines?expand=all"),
        ("path_to_be_normalised", "/v1/./catalog/..//orders/%30042/lines?expand=all"),
    ] {
        let sent = Sent::get(HOST, target, Some(&token))?;
        let path = gateway.view(&sent)?.path.into_owned();
        if path != "/v1/orders/0042/lines" {
            return Err(Error::new(format!("{target} became {path}")));
        }
        group.bench_function(name, |bencher| bencher.iter(|| black_box(&sent).read(limits)));
    }
    group.finish();
    Ok(())
}

/// The same kinds of routes at every size; the route that is found stands in the middle.
fn matching(criterion: &mut Criterion, folder: &Path) -> Result<()> {
    let mut group = criterion.benchmark_group("match");
    for routes in TABLES {
        let gateway = Gateway::compile(folder, |place| document::table(place, routes))?;
        let middle = routes / 20 * 10;
        let wildcard = format!("shop.tenant-{}.example.com", middle + 7);
        let cases = [
            ("prefix", HOST, format!("/v1/service-{middle}/items/42"), true),
            ("exact", HOST, format!("/v1/exact-{}/status", middle + 6), true),
            ("wildcard_host", &wildcard, "/v1/items/42".to_owned(), true),
            ("nothing", HOST, "/v2/items/42".to_owned(), false),
        ];
        for (name, host, target, found) in cases {
            let sent = Sent::get(host, &target, None)?;
            let view = gateway.view(&sent)?;
            if find(&gateway.snapshot, &view).is_ok() != found {
                return Err(Error::new(format!("{host} {target}: found should be {found}")));
            }
            group.bench_function(BenchmarkId::new(name, routes), |bencher| {
                bencher.iter(|| find(&gateway.snapshot, black_box(&view)).is_ok());
            });
        }
    }
    group.finish();
    Ok(())
}

fn token(criterion: &mut Criterion, gateway: &Gateway, issuer: &Issuer) -> Result<()> {
    let mut group = criterion.benchmark_group("token");
    let sent: Vec<Sent> = (0..COLD_TOKENS)
        .map(|user| Sent::get(HOST, "/v1/orders", Some(&issuer.token(user)?)))
        .collect::<Result<_>>()?;
    let views: Vec<RequestView<'_>> =
        sent.iter().map(|sent| gateway.view(sent)).collect::<Result<_>>()?;
    let first = views.first().context("no tokens")?;
    let route = gateway.find(first)?;

    let narrow = Memory::with_tokens(1, &gateway.metrics);
    let hits = gateway.tokens_seen("hit");
    let mut turns = views.iter().cycle();
    group.bench_function("rs256_cold", |bencher| {
        bencher.iter(|| {
            turns.next().map(|view| gateway.authenticate(route, black_box(view), &narrow))
        });
    });
    if gateway.tokens_seen("hit") > hits {
        return Err(Error::new("rs256_cold found tokens in the cache: it measured nothing"));
    }

    let roomy = Memory::with_tokens(65_536, &gateway.metrics);
    identity(gateway, route, first, &roomy)?;
    let misses = gateway.tokens_seen("miss");
    group.bench_function("rs256_cached", |bencher| {
        bencher.iter(|| gateway.authenticate(route, black_box(first), &roomy));
    });
    if gateway.tokens_seen("miss") > misses {
        return Err(Error::new("rs256_cached verified signatures: it measured nothing"));
    }
    group.finish();
    Ok(())
}

fn plan(criterion: &mut Criterion, gateway: &Gateway, issuer: &Issuer) -> Result<()> {
    let mut group = criterion.benchmark_group("plan");
    let target = "/v1/orders/0042/lines?page=3&expand=all&sort=desc";
    let sent = Sent::get(HOST, target, Some(&issuer.token(0)?))?;
    let view = gateway.view(&sent)?;
    let route = gateway.find(&view)?;
    let tokens = Memory::with_tokens(16, &gateway.metrics);
    let identity = identity(gateway, route, &view, &tokens)?;
    let facts = Facts {
        view: &view,
        identity: Some(&*identity),
        request_id: "5f3c1b52-7d1e-4a1c-9d62-8a4f1c5f0b11",
        route: &route.name,
        service: route.service(),
    };
    let made: Plan =
        decide::plan(route, &facts, 1).map_err(|reject| Error::new(reject.fault.code()))?;
    if made.takes.len() != 1 || made.cache.is_none() || made.bucket.is_none() {
        return Err(Error::new(format!(
            "the plan lacks a limit, a cache key or a split: {made:?}"
        )));
    }
    group.bench_function("limit_cache_split", |bencher| {
        bencher.iter(|| decide::plan(route, black_box(&facts), 1));
    });
    group.finish();
    Ok(())
}

/// What `proxy::admit` does before the limiter is asked, in its order.
fn whole(criterion: &mut Criterion, gateway: &Gateway, issuer: &Issuer) -> Result<()> {
    let mut group = criterion.benchmark_group("path");
    let target = "/v1/orders/0042/lines?page=3&expand=all&sort=desc";
    let sent = Sent::get(HOST, target, Some(&issuer.token(0)?))?;
    let limits = gateway.limits()?;
    let tokens = Memory::with_tokens(65_536, &gateway.metrics);
    admit(gateway, &sent, limits, &tokens).context("the whole path")?;
    group.bench_function("admitted_with_cached_token", |bencher| {
        bencher.iter(|| admit(gateway, black_box(&sent), limits, &tokens));
    });
    let stranger = Sent::get(HOST, target, None)?;
    if admit(gateway, &stranger, limits, &tokens).is_ok() {
        return Err(Error::new("a request without a token was admitted"));
    }
    group.bench_function("refused_without_token", |bencher| {
        bencher.iter(|| admit(gateway, black_box(&stranger), limits, &tokens));
    });
    group.finish();
    Ok(())
}

/// The pair of which the difference is what an authenticated request costs more: verdict, look at
/// the revocations, identity headers, and all the rest of the header that the service gets. The
/// same requests in both, a thousand tokens in turn, as `compare` does with `open` and `auth`.
fn caller(
    criterion: &mut Criterion,
    open: &Gateway,
    auth: &Gateway,
    issuer: &Issuer,
) -> Result<()> {
    let mut group = criterion.benchmark_group("caller");
    let sent: Vec<Sent> = (0..CALLERS)
        .map(|user| Sent::get(HOST, &format!("/v1/orders/{user:04}"), Some(&issuer.token(user)?)))
        .collect::<Result<_>>()?;
    for (name, gateway, is_known) in [("open", open, false), ("authenticated", auth, true)] {
        let limits = gateway.limits()?;
        let memory = Memory::with_tokens(65_536, &gateway.metrics);
        for sent in &sent {
            let (_, identity) = forward(gateway, sent, limits, &memory).context(name)?;
            if identity.is_some() != is_known {
                return Err(Error::new(format!("{name}: the caller should be known: {is_known}")));
            }
        }
        let misses = gateway.tokens_seen("miss");
        let mut turns = sent.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                turns.next().map(|sent| forward(gateway, black_box(sent), limits, &memory))
            });
        });
        if gateway.tokens_seen("miss") > misses {
            return Err(Error::new(format!("{name} verified signatures: it measured nothing")));
        }
    }
    group.finish();
    Ok(())
}

/// From a request to the header that the service gets.
fn forward(
    gateway: &Gateway,
    sent: &Sent,
    limits: &EdgeLimits,
    memory: &Memory,
) -> std::result::Result<(RequestHeader, Option<Arc<Identity>>), &'static str> {
    let code = |reject: Reject| reject.fault.code();
    let denied = |denied| code(Reject::from(denied));
    let request_id = RequestId::accept_or_mint(&sent.headers, 1);
    let trace = TraceContext::continue_or_start(&sent.headers, (1, 1));
    let view = sent.read(limits).map_err(code)?;
    let route = find(&gateway.snapshot, &view).map_err(code)?;
    let identity = gateway.authenticate(route, &view, memory).map_err(denied)?;
    let answers = Answers::default();
    let evidence = gateway.evidence(memory, &answers);
    auth::authorize(&route.auth, identity.as_deref(), &view, &evidence).map_err(denied)?;
    let outbound = Outbound::of(&view, &sent.uri, &sent.connection, route).map_err(code)?;
    let mut request = http::Request::new(());
    *request.method_mut() = sent.method.clone();
    *request.uri_mut() = sent.uri.clone();
    *request.headers_mut() = sent.headers.clone();
    let mut header = RequestHeader::from(request.into_parts().0);
    let attempt = Attempt { endpoint: None, unix_seconds: gateway.now.unix_seconds() };
    outbound.prepare(&mut header, route, identity.as_ref(), &request_id, &trace, attempt);
    Ok((header, identity))
}

/// The route, where nobody has to know who calls.
fn find<'a>(
    snapshot: &'a Snapshot,
    view: &RequestView<'_>,
) -> std::result::Result<&'a Arc<Route>, Reject> {
    match decide::find(snapshot, view, &Caller::default())? {
        Choice::Take(route) => Ok(route),
        Choice::Ask(_) => Err(Fault::Internal.into()),
        Choice::Refuse(_, reject) => Err(reject),
    }
}

fn admit(
    gateway: &Gateway,
    sent: &Sent,
    limits: &EdgeLimits,
    memory: &Memory,
) -> std::result::Result<(Plan, Outbound, TraceContext), &'static str> {
    let code = |reject: tidegate::fault::Reject| reject.fault.code();
    let request_id = RequestId::accept_or_mint(&sent.headers, 1);
    let trace = TraceContext::continue_or_start(&sent.headers, (1, 1));
    let view = sent.read(limits).map_err(code)?;
    let route = find(&gateway.snapshot, &view).map_err(code)?;
    route.shape.check(&view).map_err(code)?;
    let denied = |denied| code(Reject::from(denied));
    let identity = gateway.authenticate(route, &view, memory).map_err(denied)?;
    let answers = Answers::default();
    let evidence = gateway.evidence(memory, &answers);
    auth::authorize(&route.auth, identity.as_deref(), &view, &evidence).map_err(denied)?;
    let facts = Facts {
        view: &view,
        identity: identity.as_deref(),
        request_id: request_id.as_str(),
        route: &route.name,
        service: route.service(),
    };
    let plan = decide::plan(route, &facts, 1).map_err(code)?;
    let outbound = Outbound::of(&view, &sent.uri, &sent.connection, route).map_err(code)?;
    Ok((plan, outbound, trace))
}

/// Who a token proves its bearer to be; it is remembered in `tokens`.
fn identity(
    gateway: &Gateway,
    route: &Route,
    view: &RequestView<'_>,
    memory: &Memory,
) -> Result<Arc<Identity>> {
    gateway
        .authenticate(route, view, memory)
        .map_err(|denied| Error::new(format!("the token is refused: {denied:?}")))?
        .context("the route asks for no token")
}

fn refused(reject: &tidegate::fault::Reject) -> Error {
    Error::new(format!("refused: {reject:?}"))
}

fn words<T: std::fmt::Display>(problems: impl Iterator<Item = T>) -> String {
    problems.map(|problem| problem.to_string()).collect::<Vec<_>>().join("\n")
}

criterion_group! {
    name = decide_group;
    config = Criterion::default();
    targets = benches
}
criterion_main!(decide_group);
