//! What each check says of a token, for explanations.
//!
//! The checks are not made here: the token goes through the same [`Verification`] as that of a
//! request, which announces each one. This writes down how far the token came, and beside each
//! check what it wants and what the token has. Shown are header and claims; never the signature,
//! and never a secret.

use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::credentials::Kind;
use super::jwt::provider::Provider;
use super::jwt::token;
use super::jwt::verify::{Check, Verification, on_every_request};
use super::question::Denied;
use super::{AuthPolicy, Evidence};
use crate::edge::RequestView;
use crate::fault::Reject;

/// A token, check by check.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenReport {
    /// The provider that it is from, once its issuer says so.
    pub provider: Option<Arc<str>>,
    /// Its header, if it can be read.
    pub header: Option<Map<String, Value>>,
    /// All its claims, if they can be read; to be believed only where the signature is good.
    pub claims: Option<Map<String, Value>>,
    /// Every check, in the order in which they are made.
    pub checks: Vec<CheckReport>,
}

/// One check of a token.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// What is checked.
    pub check: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// What would be good.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// Why it failed, in the words that the client is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is as expected.
    Passed,
    /// It is not, and the token is refused for it.
    Failed,
    /// An earlier check failed.
    NotReached,
    /// Only a running gateway can tell.
    NotKnown,
}

impl Outcome {
    /// The outcome as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotReached => "not reached",
            Self::NotKnown => "not known",
        }
    }
}

/// Goes through the checks of a request's token; none where the route takes no tokens, or the
/// request carries none.
#[must_use]
pub fn inspect(
    policy: &AuthPolicy,
    view: &RequestView<'_>,
    evidence: &Evidence<'_>,
) -> Option<TokenReport> {
    let credentials = policy.credentials().filter(|c| c.order.contains(&Kind::Token))?;
    let text = match token::bearer(view.headers) {
        Ok(text) => text?,
        Err(error) => return Some(Facts::default().report(Check::Form, Some(&error.into()))),
    };
    let verification = Verification { credentials, evidence };
    let mut reached = Check::Form;
    let outcome = judge(verification, view, text, &mut |check| reached = check);
    let [header, claims] = token::glance(text);
    let provider = claims
        .as_ref()
        .and_then(|claims| verification.provider(claims.get("iss").and_then(Value::as_str)).ok());
    let facts = Facts {
        header,
        claims,
        provider: provider.map(|(_, provider)| provider),
        issuers: verification.accepted().map(|(_, provider)| &*provider.issuer).collect(),
        context: Some((view, evidence)),
    };
    let refusal = outcome.err().map(Reject::from);
    Some(facts.report(reached, refusal.as_ref()))
}

/// What a request with this token goes through, but for what is remembered.
fn judge(
    verification: Verification<'_>,
    view: &RequestView<'_>,
    text: &str,
    reach: &mut impl FnMut(Check),
) -> Result<(), Denied> {
    let verified = verification.of(text, reach)?;
    on_every_request(&verified.identity, view.certificate, reach)?;
    reach(Check::Revocation);
    Ok(())
}

/// What can be said beside the checks.
#[derive(Default)]
struct Facts<'a> {
    header: Option<Map<String, Value>>,
    claims: Option<Map<String, Value>>,
    provider: Option<&'a Provider>,
    issuers: Vec<&'a str>,
    context: Option<(&'a RequestView<'a>, &'a Evidence<'a>)>,
}

impl Facts<'_> {
    fn report(self, reached: Check, refusal: Option<&Reject>) -> TokenReport {
        let checks = Check::ALL
            .into_iter()
            .map(|check| {
                let (name, expected, found) = self.describe(check);
                let failed = refusal.filter(|_| check == reached);
                let outcome = match check {
                    _ if failed.is_some() => Outcome::Failed,
                    _ if check > reached => Outcome::NotReached,
                    // Revocations are with the running gateways; nobody asks them from here.
                    Check::Revocation => Outcome::NotKnown,
                    _ => Outcome::Passed,
                };
                let reason = failed.map(|reject| {
                    let hint = reject.hint.as_ref().map(|hint| hint.as_str().to_owned());
                    hint.unwrap_or_else(|| reject.fault.title().to_owned())
                });
                CheckReport { check: name, outcome, expected, found, reason }
            })
            .collect();
        TokenReport {
            provider: self.provider.map(|provider| Arc::clone(&provider.name)),
            header: self.header,
            claims: self.claims,
            checks,
        }
    }

    /// A check's name, what it wants, and what there is.
    fn describe(&self, check: Check) -> (&'static str, String, String) {
        match check {
            Check::Form => {
                let expected = "three parts in base64url, typ JWT or at+jwt, no extensions";
                ("form", expected.into(), self.header("typ"))
            }
            Check::Issuer => ("issuer", one_of(&self.issuers), self.claim("iss")),
            Check::Algorithm => ("algorithm", self.algorithms(), self.header("alg")),
            Check::Key => ("key", self.keys(), self.header("kid")),
            Check::Signature => ("signature", "made with that key".into(), "(not shown)".into()),
            Check::Expiry => ("exp", self.bound("not before", -1), self.time("exp")),
            Check::NotBefore => {
                ("nbf", format!("absent or {}", self.bound("not after", 1)), self.time("nbf"))
            }
            Check::IssuedAt => {
                ("iat", format!("absent or {}", self.bound("not after", 1)), self.time("iat"))
            }
            Check::Audience => ("aud", self.audience(), self.claim("aud")),
            Check::Subject => {
                let name = self.provider.map_or("sub", |provider| &provider.claims.subject);
                ("subject", format!("the claim `{name}`"), self.claim(name))
            }
            Check::AccessToken => self.access_token(),
            Check::Confirmation => ("cnf", "absent or x5t#S256 alone".into(), self.claim("cnf")),
            Check::Headers => {
                let expected = "claims that can be sent as headers".into();
                ("headers", expected, "(see claims)".into())
            }
            Check::Certificate => self.certificate(),
            Check::Revocation => {
                ("revocation", "not revoked".into(), "only running gateways know".into())
            }
        }
    }

    fn header(&self, name: &str) -> String {
        shown(self.header.as_ref(), name)
    }

    fn claim(&self, name: &str) -> String {
        shown(self.claims.as_ref(), name)
    }

    /// A time as it stands and, where it is one, for people.
    fn time(&self, name: &str) -> String {
        let mut text = self.claim(name);
        let value = self.claims.as_ref().and_then(|claims| claims.get(name));
        if let Some(seconds) = value.and_then(Value::as_f64) {
            // Writing into a string cannot fail.
            let _ = write!(text, "{}", in_words(seconds));
        }
        text
    }

    /// The latest or earliest good time.
    fn bound(&self, words: &str, sign: i32) -> String {
        let (Some(provider), Some((_, evidence))) = (self.provider, self.context) else {
            return words.to_owned();
        };
        #[expect(clippy::cast_precision_loss, reason = "seconds of our era fit")]
        let seconds = |whole: u64| whole as f64;
        let now = seconds(evidence.now.unix_seconds());
        let bound = now + f64::from(sign) * seconds(provider.leeway_seconds);
        format!("{words} {bound}{}", in_words(bound))
    }

    fn algorithms(&self) -> String {
        let Some(provider) = self.provider else { return "one of the provider's".to_owned() };
        let names: Vec<String> =
            provider.algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect();
        one_of(&names)
    }

    fn keys(&self) -> String {
        let (Some(provider), Some((_, evidence))) = (self.provider, self.context) else {
            return "a key of the provider".to_owned();
        };
        let Some(set) = provider.keys(evidence.keys) else {
            return "a key of the provider, of which none is known".to_owned();
        };
        let names: Vec<&str> = set.names().collect();
        if names.is_empty() { "any: the provider has one key".to_owned() } else { one_of(&names) }
    }

    fn audience(&self) -> String {
        let ours = self.provider.map(|provider| one_of(&provider.audience));
        ours.unwrap_or_else(|| "one of the provider's".to_owned())
    }

    fn access_token(&self) -> (&'static str, String, String) {
        let typ = self.header("typ").to_ascii_lowercase();
        let name = "access token";
        if !typ.contains("at+jwt") {
            return (name, "nothing: typ is not at+jwt".to_owned(), "-".to_owned());
        }
        let wanted = ["sub", "client_id", "iat", "jti"];
        let is_there = |name: &&str| {
            self.claims.as_ref().is_some_and(|claims| claims.contains_key::<str>(name))
        };
        let found: Vec<&str> = wanted.iter().filter(|name| is_there(name)).copied().collect();
        (name, wanted.join(", "), found.join(", "))
    }

    fn certificate(&self) -> (&'static str, String, String) {
        let bound = self.claims.as_ref().is_some_and(|claims| claims.contains_key("cnf"));
        let expected = if bound { "the client certificate of cnf" } else { "any or none" };
        let certificate = self.context.and_then(|(view, _)| view.certificate);
        let found = certificate.map_or("no client certificate", |known| &known.fingerprint);
        ("certificate", expected.to_owned(), found.to_owned())
    }
}

fn shown(members: Option<&Map<String, Value>>, name: &str) -> String {
    let Some(members) = members else { return "(cannot be read)".to_owned() };
    members.get(name).map_or_else(|| "(absent)".to_owned(), Value::to_string)
}

fn one_of(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [] => "(none)".to_owned(),
        [one] => (*one).to_owned(),
        several => format!("one of {}", several.join(", ")),
    }
}

/// Unix seconds as a date; nothing for what is no date of four digits' years.
fn in_words(seconds: f64) -> String {
    let since = std::time::Duration::try_from_secs_f64(seconds.floor()).ok();
    let time = since
        .filter(|since| since.as_secs() < 253_402_300_800)
        .and_then(|since| std::time::UNIX_EPOCH.checked_add(since));
    time.map(|time| format!(" ({})", humantime::format_rfc3339_seconds(time))).unwrap_or_default()
}

#[cfg(test)]
mod tests;
