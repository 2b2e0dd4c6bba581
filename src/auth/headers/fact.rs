//! Facts about a caller by the words of `identityHeaders`.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::encode::Told;
use crate::edge::IdentityFacts;
use crate::model::{Problem, Problems};

/// A fact about a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Subject,
    TenantId,
    Roles,
    Scopes,
    Products,
    Email,
    Plan,
    ClientId,
    ApiKey,
    Provider,
    TokenId,
    Claim(Claim),
}

/// A claim of the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    name: Box<str>,
    /// The names of objects and of the claim in the last of them, where the name has dots.
    path: Box<[Box<str>]>,
}

/// Words for facts.
const FACTS: [(&str, Fact); 11] = [
    ("subject", Fact::Subject),
    ("tenantId", Fact::TenantId),
    ("roles", Fact::Roles),
    ("scopes", Fact::Scopes),
    ("products", Fact::Products),
    ("email", Fact::Email),
    ("plan", Fact::Plan),
    ("clientId", Fact::ClientId),
    ("apiKey", Fact::ApiKey),
    ("provider", Fact::Provider),
    ("tokenId", Fact::TokenId),
];

/// Introduces any other claim: `claim:department`.
const CLAIM_PREFIX: &str = "claim:";

impl Fact {
    /// Reads a word; problems carry `path`.
    pub(super) fn parse(word: &str, path: &str, problems: &mut Problems) -> Option<Self> {
        if let Some(name) = word.strip_prefix(CLAIM_PREFIX).filter(|name| !name.is_empty()) {
            return Some(Self::Claim(Claim::new(name)));
        }
        if let Some((_, fact)) = FACTS.iter().find(|(known, _)| *known == word) {
            return Some(fact.clone());
        }
        let words = || FACTS.iter().map(|(word, _)| *word);
        let known = || {
            let words: Vec<&str> = words().collect();
            format!("use one of {}, or `claim:NAME`", words.join(", "))
        };
        let help = Problems::did_you_mean(word, words()).unwrap_or_else(known);
        let message = format!("`{word}` is not a fact about callers");
        problems.push(Problem::error("identity_header.fact", path, message).help(help));
        None
    }

    /// What is true of a caller.
    pub(super) fn of<'a>(&self, facts: &'a IdentityFacts) -> Told<'a> {
        let one = |fact: Option<&'a Arc<str>>| fact.map_or(Told::Nothing, |text| Told::Text(text));
        let many = |facts: &'a [Arc<str>], separator| Told::List(facts, separator);
        match self {
            Self::Subject => one(Some(&facts.subject)),
            Self::TenantId => one(facts.tenant_id.as_ref()),
            Self::Email => one(facts.email.as_ref()),
            Self::Plan => one(facts.plan.as_ref()),
            Self::ClientId => one(facts.client_id.as_ref()),
            Self::ApiKey => one(facts.api_key.as_ref()),
            Self::Provider => one(Some(&facts.provider)),
            Self::TokenId => one(facts.token_id.as_ref()),
            Self::Roles => many(&facts.roles, ','),
            Self::Products => many(&facts.products, ','),
            Self::Scopes => many(&facts.scopes, ' '),
            Self::Claim(claim) => claim.of(&facts.claims).map_or(Told::Nothing, Told::Claim),
        }
    }

    /// What separates the items of a list; none where it is never one.
    pub(super) const fn separator(&self) -> Option<char> {
        match self {
            Self::Roles | Self::Products | Self::Claim(_) => Some(','),
            Self::Scopes => Some(' '),
            _ => None,
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Claim(claim) = self {
            return write!(f, "{CLAIM_PREFIX}{}", claim.name);
        }
        let word = FACTS.iter().find(|(_, fact)| fact == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

impl Claim {
    fn new(name: &str) -> Self {
        let parts = name.split('.').map(Box::from);
        let path = if name.contains('.') { parts.collect() } else { Box::default() };
        Self { name: name.into(), path }
    }

    /// The claim of that very name, which may well be a URL with dots; else the one that the
    /// dots lead to.
    fn of<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let value = claims.get(&*self.name).or_else(|| {
            let (last, objects) = self.path.split_last()?;
            let mut place = claims;
            for name in objects {
                place = place.get(&**name)?.as_object()?;
            }
            place.get(&**last)
        });
        value.filter(|value| !value.is_null())
    }
}
