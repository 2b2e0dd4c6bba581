//! What is asked, compiled from the configuration.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::consul::Catalog;
use super::dns::Question;
use crate::model::{self, DnsRecord, Problem, Resolved};
use crate::upstream::findings::Findings;

/// A source of endpoints. Two that are equal share one feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::upstream) struct Source {
    /// Whom to ask for what.
    pub(super) kind: Kind,
    /// Time between two look-ups.
    pub(super) refresh: Duration,
    /// Time limit of one look-up.
    pub(super) timeout: Duration,
    /// Empty answers in a row that are believed.
    pub(super) empty_answers: u32,
}

/// Whom to ask for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// The DNS.
    Dns(Question),
    /// A Consul agent.
    Consul(Catalog),
    /// A file.
    File(PathBuf),
}

/// Shortest and longest time between two look-ups. Below a second a registry would be hammered.
const REFRESH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

/// Longest time for one look-up: the start of the gateway waits that long for the first.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// Settings of host names in `endpoints`: the defaults of `discovery`.
const HOST_REFRESH: Duration = Duration::from_secs(10);
const HOST_TIMEOUT: Duration = Duration::from_secs(2);
const HOST_EMPTY_ANSWERS: u32 = 3;

impl Source {
    /// Compiles a `discovery` at `place`, together with the port of its endpoints where the
    /// source does not tell it; `port` is the route's `upstream.port` and `path` the route's
    /// upstream.
    pub(in crate::upstream) fn compile(
        model: &model::Discovery,
        port: Option<u16>,
        (place, path): (&str, &str),
        resolved: &Resolved,
        findings: &mut Findings<'_>,
    ) -> Option<(Self, Option<u16>)> {
        check_numbers(model, place, findings);
        let (kind, port) = match (&model.dns, &model.consul, &model.file) {
            (Some(dns), None, None) => {
                let place = format!("{place}.dns");
                let port = port_of(dns, port, &place, path, findings);
                (Kind::Dns(question(dns, &place, findings)?), port?)
            }
            (None, Some(consul), None) => {
                let token = consul.token.as_ref().and_then(|token| resolved.secret(token));
                let catalog = Catalog::new(consul, token).map_err(|(key, why)| {
                    let place = format!("{place}.consul.{key}");
                    findings.error(Problem::error("discovery.consul", place, why));
                });
                (Kind::Consul(catalog.ok()?), port)
            }
            (None, None, Some(file)) if file.is_empty() || file.ends_with('/') => {
                let place = format!("{place}.file");
                findings.error(Problem::error("discovery.file", place, "a file needs a name"));
                return None;
            }
            (None, None, Some(file)) => {
                warn_useless_port(port, path, findings);
                (Kind::File(file.into()), None)
            }
            _ => {
                let what = "discovery asks one source: `dns`, `consul` or `file`";
                findings.error(Problem::error("discovery.layout", place, what));
                return None;
            }
        };
        let source = Self {
            kind,
            refresh: model.refresh.get(),
            timeout: model.timeout.get(),
            empty_answers: model.empty_answers,
        };
        Some((source, port))
    }

    /// The source of a host name in `endpoints`.
    ///
    /// # Errors
    /// Why it is not a name that can be looked up.
    pub(in crate::upstream) fn of_host(host: &str) -> Result<Self, String> {
        Ok(Self {
            kind: Kind::Dns(Question::new(host, DnsRecord::A, None)?),
            refresh: HOST_REFRESH,
            timeout: HOST_TIMEOUT,
            empty_answers: HOST_EMPTY_ANSWERS,
        })
    }

    /// What it is called in metrics and logs: its kind and its configured name. Sources that
    /// only differ in how they are asked have one name.
    pub(in crate::upstream) fn label(&self) -> Arc<str> {
        self.to_string().into()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Dns(question) => write!(f, "{question}"),
            Kind::Consul(catalog) => write!(f, "{catalog}"),
            Kind::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

fn check_numbers(model: &model::Discovery, place: &str, findings: &mut Findings<'_>) {
    let mut refuse = |key: &str, what: String| {
        findings.error(Problem::error("discovery.range", format!("{place}.{key}"), what));
    };
    let refresh = model.refresh.get();
    if refresh < REFRESH.0 || refresh > REFRESH.1 {
        refuse("refresh", "a source is looked up again after 1s to 1h".to_owned());
    }
    let timeout = model.timeout.get();
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        refuse("timeout", "a look-up may take up to 30s".to_owned());
    }
    if model.empty_answers == 0 {
        refuse("emptyAnswers", "an answer cannot be believed before it is given".to_owned());
    }
}

fn question(dns: &model::DnsSource, place: &str, findings: &mut Findings<'_>) -> Option<Question> {
    let server = dns.server.as_deref().map(str::parse).transpose().unwrap_or_else(|_| {
        let what = "a name server is an IP address and a port, as in `10.0.0.2:53`";
        findings.error(Problem::error("discovery.dns", format!("{place}.server"), what));
        None
    });
    Question::new(&dns.name, dns.record, server)
        .map_err(|why| {
            findings.error(Problem::error("discovery.dns", format!("{place}.name"), why));
        })
        .ok()
}

/// The port of addresses; SRV records bring their own. None after an error.
#[expect(clippy::option_option, reason = "no port is an answer, an error is none")]
fn port_of(
    dns: &model::DnsSource,
    route: Option<u16>,
    place: &str,
    path: &str,
    findings: &mut Findings<'_>,
) -> Option<Option<u16>> {
    let refused = |what: String, at: String| Problem::error("endpoint.port", at, what);
    match (dns.record, dns.port, route) {
        (DnsRecord::Srv, None, route) => {
            warn_useless_port(route, path, findings);
            return Some(None);
        }
        (DnsRecord::Srv, Some(_), _) => {
            findings.error(
                refused("SRV records say the port".to_owned(), format!("{place}.port"))
                    .help("leave `port` out, or look up `record: A`"),
            );
        }
        (DnsRecord::A, Some(0), _) => {
            findings.error(refused("0 is not a port".to_owned(), format!("{place}.port")));
        }
        (DnsRecord::A, Some(own), Some(port)) if own != port => findings.error(
            refused(
                format!("`{}` is looked up for port {own}, this route names {port}", dns.name),
                format!("{path}.port"),
            )
            .help("leave the port out here, or at `discovery.dns`"),
        ),
        (DnsRecord::A, Some(port), _) | (DnsRecord::A, None, Some(port)) => {
            return Some(Some(port));
        }
        (DnsRecord::A, None, None) => findings.error(
            refused(
                format!("addresses of `{}` have no port, and neither has `{path}`", dns.name),
                place.to_owned(),
            )
            .help("write `port` here, or give the route `upstream.port`"),
        ),
    }
    None
}

/// A port that decides nothing is said to.
fn warn_useless_port(port: Option<u16>, path: &str, findings: &mut Findings<'_>) {
    if port.is_some() {
        let what = "the endpoints are found with their ports; this one decides nothing";
        findings.warning(Problem::warning("endpoint.port", format!("{path}.port"), what));
    }
}
