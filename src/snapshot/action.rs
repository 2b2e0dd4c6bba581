//! What a compiled route does: forward to a service, or answer by itself.

use std::fmt;

use prometheus::IntCounter;

use super::compile::Parts;
use crate::action::{Lasting, Local, Rewrite, Upgrades};
use crate::model::{self, Config, Policies, Problem, Problems, UpstreamProtocol};
use crate::upstream::Upstream;

/// What a route does with a request.
#[derive(Debug)]
pub enum Action {
    /// Sends it to a service.
    Forward(Forward),
    /// Answers it here.
    Local(Local),
}

/// How a request is sent to a service.
#[derive(Debug)]
pub struct Forward {
    /// The service.
    pub upstream: Upstream,
    /// How path and host are rewritten for it.
    pub rewrite: Rewrite,
    /// Whether the service sees its endpoint's own address as `Host`.
    pub change_origin: bool,
    /// How long answers may go on, on routes where they do.
    pub stream: Option<Lasting>,
    /// Protocols that a connection may be upgraded to.
    pub upgrades: Upgrades,
    /// Attempts sent, by version.
    pub picks: Box<[IntCounter]>,
}

impl Action {
    /// Compiles what the route does; `path` is that of the route, `policies` are those in force.
    pub(super) fn compile(
        model: &model::Route,
        policies: &Policies,
        config: &Config,
        parts: &Parts<'_>,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        if model.rewrite.is_some() && model.upstream.is_none() {
            problems.push(
                Problem::error(
                    "rewrite.no_upstream",
                    format!("{path}.rewrite"),
                    "no service gets what is rewritten: the route has no `upstream`",
                )
                .help("`redirect` names the path that clients are sent to itself"),
            );
        }
        match (&model.upstream, &model.redirect, &model.respond) {
            (Some(upstream), None, None) => {
                let mut forward = Compiling { model, policies, config, parts, path, problems };
                forward.compile(upstream).map(Self::Forward)
            }
            (None, Some(redirect), None) => {
                warn_unused(model, path, problems);
                let place = format!("{path}.redirect");
                Local::redirect(redirect, &model.r#match, &place, problems).map(Self::Local)
            }
            (None, None, Some(respond)) => {
                warn_unused(model, path, problems);
                let identity = config.identity_headers.keys().map(AsRef::as_ref);
                let place = format!("{path}.respond");
                Local::respond(respond, identity, &place, problems).map(Self::Local)
            }
            (upstream, redirect, respond) => {
                let given = [upstream.is_some(), redirect.is_some(), respond.is_some()];
                let what = if given.contains(&true) {
                    "a route does one thing: `upstream`, `redirect` or `respond`"
                } else {
                    "the route does nothing: it has no `upstream`"
                };
                problems.push(
                    Problem::error("route.action", format!("{path}.upstream"), what)
                        .help("give exactly one of `upstream`, `redirect` and `respond`"),
                );
                None
            }
        }
    }
}

/// A route to a service, on its way.
struct Compiling<'a, 'p> {
    model: &'a model::Route,
    policies: &'a Policies,
    config: &'a Config,
    parts: &'a Parts<'p>,
    path: &'a str,
    problems: &'a mut Problems,
}

impl Compiling<'_, '_> {
    fn compile(&mut self, model: &model::Upstream) -> Option<Forward> {
        let rewrite = match &self.model.rewrite {
            Some(rewrite) => {
                Rewrite::compile(rewrite, &format!("{}.rewrite", self.path), self.problems)
            }
            None => Some(Rewrite::default()),
        };
        let names_host = self.model.rewrite.as_ref().is_some_and(|rewrite| rewrite.host.is_some());
        if names_host && model.change_origin {
            let place = format!("{}.upstream.changeOrigin", self.path);
            let what = "`rewrite.host` names the Host that the service sees already";
            self.problems.push(
                Problem::error("rewrite.host_twice", place, what)
                    .help("leave out `changeOrigin` or `rewrite.host`"),
            );
        }
        let place = format!("{}.policies.stream", self.path);
        let stream = self.policies.stream.as_ref();
        let stream = stream.map(|stream| Lasting::compile(stream, &place, self.problems));
        let upgrades = self.upgrades(model);
        let upstream = Upstream::compile(
            model,
            self.config,
            self.parts.resolved,
            self.parts.upstreams,
            self.parts.metrics,
            &format!("{}.upstream", self.path),
            self.problems,
        )?;
        let picks = upstream
            .versions
            .iter()
            .map(|version| self.parts.metrics.picks_of(&upstream.service, &version.name));
        let picks = picks.collect();
        let change_origin = model.change_origin;
        Some(Forward { upstream, rewrite: rewrite?, change_origin, stream, upgrades, picks })
    }

    fn upgrades(&mut self, model: &model::Upstream) -> Upgrades {
        let names = self.policies.upgrades.as_deref().unwrap_or_default();
        let place = format!("{}.policies.upgrades", self.path);
        let upgrades = Upgrades::compile(names, &place, self.problems);
        let service = self.config.services.get(&model.service);
        let speaks = service.map(|service| service.protocol).unwrap_or_default();
        // Connections are upgraded in HTTP/1.1 only; with `auto` those that are speak it.
        if !upgrades.is_empty() && speaks == UpstreamProtocol::Http2 {
            let what =
                format!("service `{}` speaks HTTP/2 only, which has no upgrade", model.service);
            self.problems.push(
                Problem::error("upgrade.http2", place, what)
                    .help("use `protocol: http1` or `auto` for this service"),
            );
        }
        upgrades
    }
}

/// A route that answers by itself has no use for what concerns services; what it inherits from
/// the root `policies` is passed over without a word.
fn warn_unused(model: &model::Route, path: &str, problems: &mut Problems) {
    let Policies {
        timeout_ms,
        retries,
        retry_on,
        retry_idempotency_key,
        retry_body_bytes,
        attempt_timeout_ms,
        deadline_header,
        hedge,
        stream,
        upgrades,
        cache,
        compression,
        forward_credentials,
        ..
    } = &model.policies;
    for (key, given) in [
        ("timeoutMs", timeout_ms.is_some()),
        ("retries", retries.is_some()),
        ("retryOn", retry_on.is_some()),
        ("retryIdempotencyKey", retry_idempotency_key.is_some()),
        ("retryBodyBytes", retry_body_bytes.is_some()),
        ("attemptTimeoutMs", attempt_timeout_ms.is_some()),
        ("deadlineHeader", deadline_header.is_some()),
        ("hedge", hedge.is_some()),
        ("stream", stream.is_some()),
        ("upgrades", upgrades.is_some()),
        ("cache", cache.is_some()),
        ("compression", compression.is_some()),
        ("forwardCredentials", forward_credentials.is_some()),
    ] {
        if given {
            let place = format!("{path}.policies.{key}");
            let what = format!("`{key}` has no effect: the route sends nothing to a service");
            problems.push(Problem::warning("action.unused", place, what));
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(forward) => write!(f, "forward to {}", forward.upstream.service),
            Self::Local(local) => f.write_str(local.word()),
        }
    }
}
