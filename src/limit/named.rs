//! The counter of a caller who is named and not there.
//!
//! Operators say `tenantId=acme userId=u1` and mean what a request of that caller counts in.
//! Which parts are needed is found out by trying: the key is made with several values of what
//! was not said, and where it differs, something is missing. So a part for which another stands,
//! a prefix or a budget for each route need no second description here.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};
use serde_json::Map;

use super::{Applied, CounterKey, Imagined, LimitRule, Take};
use crate::edge::{Identity, IdentityFacts};
use crate::model::KeyPart;

/// Why there is no counter of that name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unnamed {
    /// That word is no part of any key.
    #[error("`{0}` is not a part of keys, such as tenantId, userId, clientIp or header:NAME")]
    Unknown(String),
    /// The part cannot have that value.
    #[error("that is not a value of `{0}`")]
    Value(String),
    /// The part was given twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// The limit counts by these too.
    #[error("the limit counts by more than that, give also: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// The limit does not count by it.
    #[error("the limit does not count by `{part}`{}", among(.parts))]
    Unused {
        /// What it does not count by.
        part: String,
        /// What it counts by.
        parts: Vec<String>,
    },
}

fn among(parts: &[String]) -> String {
    if parts.is_empty() { String::new() } else { format!(", but by {}", parts.join(", ")) }
}

/// What was given: a part and its value.
#[derive(Clone)]
struct Given<'a> {
    part: KeyPart,
    value: &'a str,
    /// Whether the value is JSON: a claim need not be text.
    is_json: bool,
}

/// The counter that a caller with these parts counts in. A `plan` among them chooses the tier. A
/// claim that is not text is given as JSON by `claim:NAME:`.
///
/// `assume` makes a caller of facts without proof.
///
/// # Errors
/// Which parts are missing, wrong or of no use.
pub fn by_parts(
    rule: &Arc<LimitRule>,
    parts: &[(String, String)],
    assume: impl Fn(IdentityFacts) -> Identity,
) -> Result<Take, Unnamed> {
    let given = read(parts)?;
    let whole = find(rule, &given, &assume)?;
    for (n, Given { part, .. }) in given.iter().enumerate() {
        if *part == KeyPart::Plan {
            continue;
        }
        let mut others = given.clone();
        others.remove(n);
        let without = find(rule, &others, &assume);
        if without.is_ok_and(|other| other.key == whole.key) {
            return Err(Unnamed::Unused { part: part.to_string(), parts: words(rule) });
        }
    }
    Ok(whole)
}

/// The counter with this name, as explanations print it or as it stands in Redis; none where no
/// limit has such a counter.
#[must_use]
pub fn by_key<'a>(rules: impl IntoIterator<Item = &'a Arc<LimitRule>>, name: &str) -> Option<Take> {
    rules.into_iter().find_map(|rule| {
        let tiers = rule.tiers.iter().enumerate();
        let (tier, key) = tiers.into_iter().find_map(|(n, tier)| {
            let (_, tail) = name.split_once(&*tier.key_prefix)?;
            Some((n, CounterKey::parse(tail)?))
        })?;
        Some(Take { rule: Arc::clone(rule), tier, cost: rule.cost, key })
    })
}

impl LimitRule {
    /// The words of what its key is made of.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.parts.iter().map(|part| part.word.to_string()).collect()
    }

    /// The plan that has this tier; none for the tier of all others.
    #[must_use]
    pub fn plan_of(&self, tier: usize) -> Option<String> {
        self.plans.iter().find(|(_, own)| *own == tier).map(|(plan, _)| plan.to_string())
    }
}

fn read(parts: &[(String, String)]) -> Result<Vec<Given<'_>>, Unnamed> {
    let mut given: Vec<Given<'_>> = Vec::with_capacity(parts.len());
    for (word, value) in parts {
        let json = word.strip_suffix(':').filter(|word| word.starts_with("claim:"));
        let part = KeyPart::parse(json.unwrap_or(word))
            .filter(|part| !matches!(part, KeyPart::RequestId | KeyPart::Random | KeyPart::Global));
        let part = part.ok_or_else(|| Unnamed::Unknown(word.clone()))?;
        if given.iter().any(|other| other.part == part) {
            return Err(Unnamed::Twice(word.clone()));
        }
        given.push(Given { part, value, is_json: json.is_some() });
    }
    Ok(given)
}

/// The counter, where what was given says which.
fn find(
    rule: &Arc<LimitRule>,
    given: &[Given<'_>],
    assume: &impl Fn(IdentityFacts) -> Identity,
) -> Result<Take, Unnamed> {
    let applied = [Applied { rule: Arc::clone(rule), cost: rule.cost }];
    let mut found: Option<Take> = None;
    let has = |part: &KeyPart| given.iter().any(|other| other.part == *part);
    let not_given = || words(rule).into_iter().filter(|word| !given.iter().any(|g| is(g, word)));
    for guess in Guess::ALL {
        let takes = imagine(given, guess)?.takes(&applied, assume);
        // Refused: nothing stands for a part that is missing.
        let take = takes.ok().and_then(|takes| takes.into_iter().next());
        let take = take.ok_or_else(|| Unnamed::Missing(not_given().collect()))?;
        if found.as_ref().is_some_and(|other| other.key != take.key) {
            let part = guess.part();
            let mut missing: Vec<String> = not_given().collect();
            if !has(&part) && !missing.contains(&part.to_string()) {
                let is_stand_in = part == KeyPart::ClientIp && !missing.is_empty();
                let or = if is_stand_in { "or, for callers without, " } else { "" };
                missing.push(format!("{or}{part}"));
            }
            return Err(Unnamed::Missing(missing));
        }
        found.get_or_insert(take);
    }
    found.ok_or_else(|| Unnamed::Missing(words(rule)))
}

fn is(given: &Given<'_>, word: &str) -> bool {
    given.part.to_string() == word
}

/// The parts that a caller may have or lack.
fn words(rule: &LimitRule) -> Vec<String> {
    rule.words().into_iter().filter(|word| word != "global").collect()
}

/// What is guessed for what was not given: one thing at a time differs from the first guess.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guess {
    First,
    OtherClient,
    OtherRoute,
    OtherService,
}

impl Guess {
    const ALL: [Self; 4] = [Self::First, Self::OtherClient, Self::OtherRoute, Self::OtherService];

    const fn part(self) -> KeyPart {
        match self {
            Self::First | Self::OtherClient => KeyPart::ClientIp,
            Self::OtherRoute => KeyPart::RouteName,
            Self::OtherService => KeyPart::Service,
        }
    }
}

/// A request with what was given, and guesses for the rest.
fn imagine<'a>(given: &[Given<'a>], guess: Guess) -> Result<Imagined<'a>, Unnamed> {
    // Addresses for documentation (RFC 5737), which no client has, in networks far apart.
    let client = if guess == Guess::OtherClient { [203, 0, 113, 1] } else { [192, 0, 2, 1] };
    let mut request = Imagined {
        client: Ipv4Addr::from(client).into(),
        route: if guess == Guess::OtherRoute { "\0other" } else { "\0" },
        service: if guess == Guess::OtherService { "\0other" } else { "\0" },
        ..Imagined::default()
    };
    let mut claims = Map::new();
    let mut cookies: Vec<String> = Vec::new();
    for Given { part, value, is_json } in given {
        let wrong = || Unnamed::Value(part.to_string());
        let caller = &mut request.caller;
        match part {
            KeyPart::TenantId => caller.tenant_id = Some((*value).into()),
            KeyPart::UserId => caller.subject = (*value).into(),
            KeyPart::ApiKey => caller.api_key = Some((*value).into()),
            KeyPart::Plan => caller.plan = Some((*value).into()),
            KeyPart::ClientIp => {
                request.client = value.parse::<IpAddr>().map_err(|_| wrong())?;
            }
            KeyPart::RouteName => request.route = value,
            KeyPart::Service => request.service = value,
            KeyPart::Claim(name) if *is_json => {
                let value = serde_json::from_str(value).map_err(|_| wrong())?;
                claims.insert(name.clone(), value);
            }
            KeyPart::Claim(name) => {
                claims.insert(name.clone(), (*value).into());
            }
            KeyPart::Header(name) => {
                let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
                let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
                request.headers.insert(name, value);
            }
            KeyPart::Cookie(name) if !value.contains(';') && value.trim() == *value => {
                cookies.push(format!("{name}={value}"));
            }
            KeyPart::Cookie(_) | KeyPart::Global | KeyPart::RequestId | KeyPart::Random => {
                return Err(wrong());
            }
        }
    }
    request.caller.claims = claims.into();
    if let Some(cookies) = (!cookies.is_empty()).then(|| cookies.join("; ")) {
        let value = HeaderValue::try_from(cookies).map_err(|_| Unnamed::Value("cookie".into()))?;
        request.headers.insert(header::COOKIE, value);
    }
    Ok(request)
}

#[cfg(test)]
mod tests;
