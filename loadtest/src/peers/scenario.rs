//! The jobs that are measured.

use std::fmt;

use crate::token::Issuer;
use crate::wrk::Request;
use crate::{Context, Result, target};

/// Different requests of a scenario whose requests recur.
const REQUESTS: usize = 1000;
/// Callers, and clients that a limit tells apart.
pub const CALLERS: usize = 100;
/// Coprime to every number of routes, so that requests reach them all over.
const STRIDE: usize = 7919;

/// A job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One route, nothing else.
    Plain,
    /// Ten thousand prefix routes.
    Routes,
    /// RS256 tokens that recur.
    Jwt,
    /// RS256 tokens that are all new.
    JwtNew,
    /// Token, limit, request id and identity header among 100 routes.
    Whole,
    /// The same with tokens that are all new.
    WholeNew,
    /// A limit for each client, counted in Redis.
    Redis,
    /// Answers of 1 KiB from the cache.
    Hit1k,
    /// Answers of 64 KiB from the cache.
    Hit64k,
    /// TLS 1.3.
    Tls,
    /// HTTP/2 over TLS 1.3.
    H2,
}

/// How clients speak to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS 1.3.
    Tls,
    /// HTTP/2 over TLS 1.3.
    H2,
}

/// Which tokens the requests bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// None.
    None,
    /// A hundred, again and again.
    Recurring,
    /// More than any cache of them holds, each once before any comes again.
    New,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 11] = [
        Self::Plain,
        Self::Routes,
        Self::Jwt,
        Self::JwtNew,
        Self::Whole,
        Self::WholeNew,
        Self::Redis,
        Self::Hit1k,
        Self::Hit64k,
        Self::Tls,
        Self::H2,
    ];

    /// Its name on the command line and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Routes => "routes",
            Self::Jwt => "jwt",
            Self::JwtNew => "jwt-new",
            Self::Whole => "whole",
            Self::WholeNew => "whole-new",
            Self::Redis => "redis",
            Self::Hit1k => "hit-1k",
            Self::Hit64k => "hit-64k",
            Self::Tls => "tls",
            Self::H2 => "h2",
        }
    }

    /// The job, in a line.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Plain => "one route, keep-alive on both sides, 1 KiB answers, no log",
            Self::Routes => "10,000 prefix routes, requests for 1,000 of them",
            Self::Jwt => {
                "an RS256 token verified (signature, issuer, audience, expiry) and taken off; 100 \
                 tokens recur"
            }
            Self::JwtNew => "jwt, but no token comes again while a cache could know it",
            Self::Whole => {
                "100 prefix routes, RS256 token, limit for each subject on the node, request id, \
                 `X-User-Id` from the token in place of the client's; 100 tokens recur"
            }
            Self::WholeNew => "the whole job, but no token comes again while a cache could know it",
            Self::Redis => "a limit for each of 100 clients, counted in Redis, never reached",
            Self::Hit1k => "answers of 1 KiB from the cache, 100 of them",
            Self::Hit64k => "answers of 64 KiB from the cache, 100 of them",
            Self::Tls => "plain over TLS 1.3, HTTP/1.1, keep-alive, 1 KiB answers",
            Self::H2 => "plain over TLS 1.3, HTTP/2, 1 KiB answers; the origin speaks HTTP/1.1",
        }
    }

    /// How clients speak.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Tls => Protocol::Tls,
            Self::H2 => Protocol::H2,
            _ => Protocol::Http,
        }
    }

    /// Body of each answer, in bytes.
    #[must_use]
    pub const fn body_bytes(self) -> usize {
        if matches!(self, Self::Hit64k) { 65_536 } else { 1024 }
    }

    /// Whether answers come from a cache.
    #[must_use]
    pub const fn hits(self) -> bool {
        matches!(self, Self::Hit1k | Self::Hit64k)
    }

    /// Which tokens requests bear.
    #[must_use]
    pub const fn tokens(self) -> Tokens {
        match self {
            Self::Jwt | Self::Whole => Tokens::Recurring,
            Self::JwtNew | Self::WholeNew => Tokens::New,
            _ => Tokens::None,
        }
    }

    /// Prefix routes; none where one route takes everything.
    #[must_use]
    pub const fn routes(self) -> Option<usize> {
        match self {
            Self::Routes => Some(10_000),
            Self::Whole | Self::WholeNew => Some(100),
            _ => None,
        }
    }

    /// Whether it is the whole job.
    #[must_use]
    pub const fn whole(self) -> bool {
        matches!(self, Self::Whole | Self::WholeNew)
    }

    /// Whether requests are counted against a limit.
    #[must_use]
    pub const fn limits(self) -> bool {
        self.whole() || matches!(self, Self::Redis)
    }

    /// Headers that every measured request bears besides: a client that claims to be another.
    #[must_use]
    pub const fn headers(self) -> &'static [&'static str] {
        if self.whole() { &["X-User-Id: mallory"] } else { &[] }
    }

    /// The path and query of the n-th request.
    #[must_use]
    pub fn target(self, n: usize) -> String {
        let prefix = self.routes().map(|routes| prefix(n * STRIDE % routes)).unwrap_or_default();
        format!("{prefix}/v1/orders/{:04}?expand=lines", n % REQUESTS)
    }

    /// The requests of a round, in their order, with these tokens in turn.
    #[must_use]
    pub fn requests(self, tokens: &[String]) -> Vec<Request> {
        if self.hits() {
            return target::kept();
        }
        let request = |n: usize| Request {
            target: self.target(n),
            token: tokens.get(n % tokens.len().max(1)).cloned(),
            client: (self == Self::Redis).then_some(n % CALLERS),
        };
        (0..tokens.len().max(REQUESTS)).map(request).collect()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the n-th route's paths begin with.
#[must_use]
pub fn prefix(n: usize) -> String {
    format!("/team-{}/area-{}/service-{n}", n % 97, n % 13)
}

/// Different tokens of [`CALLERS`] callers, signed by two threads: half a millisecond each.
pub fn sign(issuer: &Issuer, count: usize) -> Result<Vec<String>> {
    let one = |n: usize| {
        issuer.token_with(n % CALLERS, &serde_json::json!({"jti": format!("peers-{n:07}")}))
    };
    let half = count / 2;
    std::thread::scope(|scope| {
        let second = scope.spawn(|| (half..count).map(one).collect::<Result<Vec<_>>>());
        let mut tokens = (0..half).map(one).collect::<Result<Vec<_>>>()?;
        tokens.extend(second.join().ok().context("signing tokens")??);
        Ok(tokens)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn requests_are_spread_over_a_thousand_routes() {
        let requests = Scenario::Routes.requests(&[]);
        let prefixes: HashSet<&str> =
            requests.iter().filter_map(|request| request.target.split("/v1/").next()).collect();
        assert_eq!(prefixes.len(), 1000);
    }

    #[test]
    fn tokens_are_all_different_and_each_is_borne() {
        let issuer = Issuer::generate().unwrap();
        let tokens = sign(&issuer, 7).unwrap();
        let different: HashSet<_> = tokens.iter().collect();
        assert_eq!((tokens.len(), different.len()), (7, 7));
        let requests = Scenario::Whole.requests(&tokens);
        let borne: HashSet<_> = requests.iter().map(|request| &request.token).collect();
        assert_eq!((requests.len(), borne.len()), (REQUESTS, 7));
        let many = vec![String::new(); 1200];
        assert_eq!(Scenario::WholeNew.requests(&many).len(), 1200);
        assert!(Scenario::Plain.requests(&[]).iter().all(|request| request.token.is_none()));
    }
}
