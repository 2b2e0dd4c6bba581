//! `tidegate explain`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::args::ExplainArgs;
use super::{done, err, render};
use crate::auth::{self, KeyRing, KeySource, Memory};
use crate::clock;
use crate::decide::{self, Assumed, Explanation};
use crate::edge::Connection;
use crate::edge::Identity;
use crate::live::{Candidate, Missing, judge};
use crate::snapshot::Snapshot;
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;

pub(super) fn explain(args: &ExplainArgs) -> ExitCode {
    done(tell(args))
}

fn tell(args: &ExplainArgs) -> Result<String, String> {
    let told = explained(args, false)?;
    if args.json {
        let json = serde_json::to_string_pretty(&told).map_err(|error| format!("{error}\n"))?;
        Ok(json + "\n")
    } else {
        Ok(render::text(&told, args.all))
    }
}

/// What would happen to the request that the arguments describe; `tls` says whether it comes by
/// TLS.
///
/// # Errors
/// What is wrong with the configuration or the arguments.
pub(super) fn explained(args: &ExplainArgs, tls: bool) -> Result<Explanation, String> {
    // An error here means that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = Arc::new(Metrics::new().map_err(|error| format!("{error}\n"))?);
    let health = Upstreams::default();
    let judged = judge(&args.file, Missing::Noted, &metrics, &health, 1);
    let Some(Candidate { snapshot, .. }) = judged.candidate else {
        return Err(judged.loaded.render(&judged.problems));
    };
    let mut assumed = assumed(args, &snapshot)?;
    assumed.connection.tls = tls;
    let keys = keys(&snapshot, &metrics, wants_keys(&assumed))?;
    let memory = Memory::new(&metrics);
    Ok(decide::explain(&snapshot, &assumed, &keys, &memory, clock::now()))
}

/// Whether there is a token that keys are needed for.
fn wants_keys(assumed: &Assumed) -> bool {
    assumed.identity.is_none() && assumed.headers.contains_key(header::AUTHORIZATION)
}

/// The request that the arguments describe.
fn assumed(args: &ExplainArgs, snapshot: &Snapshot) -> Result<Assumed, String> {
    let wrong = |what: &str, value: &str| format!("`{value}` is not {what}\n");
    let method =
        Method::from_bytes(args.method.as_bytes()).map_err(|_| wrong("a method", &args.method))?;
    let uri = Uri::try_from(args.path.as_str())
        .map_err(|_| wrong("a path with an optional query", &args.path))?;
    let mut headers = HeaderMap::new();
    let host = HeaderValue::from_str(&args.host).map_err(|_| wrong("a host name", &args.host))?;
    headers.insert(header::HOST, host);
    for line in &args.headers {
        let (name, value) = line
            .split_once(':')
            .and_then(|(name, value)| {
                let name = HeaderName::try_from(name.trim()).ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            })
            .ok_or_else(|| wrong("a header line, `name: value`", line))?;
        headers.append(name, value);
    }
    if let Some(token) = &args.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| "the token holds characters that no header can\n".to_owned())?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    let identity = args.caller.as_deref().map(|facts| caller(facts, snapshot)).transpose()?;
    let peer = SocketAddr::new(args.client, 0);
    let connection = Connection::cleartext(Connection::default().local, peer);
    Ok(Assumed { method, uri, headers, connection, identity })
}

/// The caller that `--as` describes.
fn caller(facts: &str, snapshot: &Snapshot) -> Result<Arc<Identity>, String> {
    let mut claims = serde_json::Map::new();
    for fact in facts.split(',') {
        let (name, value) = fact.split_once('=').ok_or_else(|| {
            format!("`{fact}` is not `name=value`; names: sub, tenant, scope, …\n")
        })?;
        let name = match name.trim() {
            "tenant" => "tenant_id",
            other => other,
        };
        claims.insert(name.to_owned(), value.trim().into());
    }
    auth::assume(&snapshot.providers, &claims).map(Arc::new).map_err(|why| format!("--as: {why}\n"))
}

/// The keys in force: those of files and secrets, and, where a token is to be verified, key
/// sets fetched once.
fn keys(snapshot: &Snapshot, metrics: &Arc<Metrics>, wanted: bool) -> Result<Arc<KeyRing>, String> {
    let source = KeySource::new(Arc::clone(metrics));
    source.adopt(&snapshot.providers);
    if wanted {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("{error}\n"))?;
        runtime.block_on(fetch(&source));
    }
    Ok(source.current())
}

/// Fetches every key set once, as far as that is possible in a few seconds.
async fn fetch(source: &KeySource) {
    let ready = async {
        for _ in 0..FETCH_LOOKS {
            if source.waiting().is_empty() {
                return;
            }
            tokio::time::sleep(FETCH_LOOK).await;
        }
    };
    tokio::select! {
        () = source.run() => {}
        () = ready => {}
    }
    for provider in source.waiting() {
        err(&format!("the key set of `{provider}` cannot be had; its tokens cannot be judged\n"));
    }
}

/// How often, and how long at most, the state of the fetches is looked at.
const FETCH_LOOKS: u32 = 250;
const FETCH_LOOK: Duration = Duration::from_millis(20);
