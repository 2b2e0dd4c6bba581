//! What the load goes through.

use crate::document::{self, Place};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A bare Pingora proxy in the gateway's place: what a proxy that does nothing adds here.
    Bare,
    /// One route, no policy.
    Plain,
    /// Tokens and a limit that is counted on the node, among a thousand routes.
    Guarded,
    /// The same with the limit in Redis, asked for every request.
    Shared,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bare, Self::Plain, Self::Guarded, Self::Shared];

    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Plain => "plain",
            Self::Guarded => "guarded",
            Self::Shared => "shared",
        }
    }

    /// What it is, in a line.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Bare => "a bare Pingora proxy in the gateway's place",
            Self::Plain => "one route, no policy",
            Self::Guarded => "JWT (seen before) and a limit on the node, among 1,000 routes",
            Self::Shared => "the same, the limit in Redis, asked for every request",
        }
    }

    pub(super) fn document(self, place: &Place) -> String {
        match self {
            Self::Bare | Self::Plain => document::plain(place),
            Self::Guarded | Self::Shared => document::guarded(place),
        }
    }

    /// Counters that must have grown with the requests: metric and labels.
    pub(super) const fn proofs(
        self,
    ) -> &'static [(&'static str, &'static [(&'static str, &'static str)])] {
        const PICKS: (&str, &[(&str, &str)]) =
            ("tidegate_upstream_picks_total", &[("service", "orders")]);
        const TOKENS: (&str, &[(&str, &str)]) =
            ("tidegate_token_cache_total", &[("outcome", "hit")]);
        const LOCAL: (&str, &[(&str, &str)]) =
            ("tidegate_limit_decisions_total", &[("decision", "allowed"), ("counter", "local")]);
        const REDIS: (&str, &[(&str, &str)]) =
            ("tidegate_limit_decisions_total", &[("decision", "allowed"), ("counter", "redis")]);
        match self {
            Self::Bare => &[],
            Self::Plain => &[PICKS],
            Self::Guarded => &[PICKS, TOKENS, LOCAL],
            Self::Shared => &[PICKS, TOKENS, REDIS],
        }
    }
}
