//! API keys in explanations: whoever reads one learns that there was a key, and not which.

use super::told::{Kept, Sent};
use crate::edge::redacted;
use crate::snapshot::Snapshot;

/// Stands for a key.
const HIDDEN: &str = "***";

/// What carries API keys.
pub(super) struct Hide<'a> {
    /// `header:NAME`, as limits and cache keys call it.
    header: String,
    parameter: Option<&'a str>,
}

impl<'a> Hide<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let providers = &snapshot.providers;
        Self {
            header: format!("header:{}", providers.api_key_header()),
            parameter: providers.api_key_parameter().map(|name| &**name),
        }
    }

    /// A query that may be shown.
    pub(super) fn query(&self, query: &str) -> String {
        self.parameter.map_or_else(|| query.to_owned(), |name| redacted(query, name).into_owned())
    }

    /// Parts of a limit's key.
    pub(super) fn parts(&self, mut parts: Vec<(String, String)>) -> Vec<(String, String)> {
        let stands = format!(" ({}: no ", self.header);
        for (name, value) in &mut parts {
            if name.eq_ignore_ascii_case(&self.header) || value.contains(&stands) {
                HIDDEN.clone_into(value);
            }
        }
        parts
    }

    /// Factors of a cache key.
    pub(super) fn kept(&self, mut kept: Kept) -> Kept {
        for factor in kept.factors.iter_mut().filter(|factor| factor.name == "query") {
            factor.value = self.query(&factor.value);
        }
        kept
    }

    /// What the service is sent.
    pub(super) fn sent(&self, mut sent: Sent) -> Sent {
        if let Some((path, query)) = sent.target.split_once('?') {
            sent.target = format!("{path}?{}", self.query(query));
        }
        sent
    }
}
