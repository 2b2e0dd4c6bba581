//! Which tokens an issuer is asked about, and what its answer means for the request.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::OpaqueToken;
use super::known::{Asked, Known};
use crate::auth::challenge;
use crate::auth::credentials::Credentials;
use crate::auth::jwt::provider::Provider;
use crate::auth::question::{Denied, Question, Unavailable};
use crate::auth::{Evidence, ProviderIndex};
use crate::edge::Identity;

/// Whether a token has the three parts of a JWT (RFC 7515, 7.1), whatever is in them.
pub(in crate::auth) fn may_be_jwt(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Whom a bearer token proves its bearer to be, by the word of its issuer. None where the token
/// is one to be verified here: a JWT of an issuer that is not to be asked.
///
/// A JWT goes to the provider of its `iss`, unverified: it only chooses who is asked, and the
/// answer decides. Everything else goes to the one provider that the route names for it.
///
/// # Errors
/// 401 where the issuer does not call the token good, 503 where it cannot be asked, or the
/// question.
pub(in crate::auth) fn identify(
    token: &str,
    credentials: &Credentials,
    evidence: &Evidence<'_>,
) -> Result<Option<Arc<Identity>>, Denied> {
    let Evidence { providers, memory, answers, now, .. } = *evidence;
    let is_in_force = |asked: &Asked| {
        credentials.introspected.contains(&asked.provider)
            && providers.get(asked.provider).is_some_and(|p| p.fingerprint == asked.fingerprint)
    };
    match &answers.token {
        Some(Ok(Ok(identity))) => return Ok(Some(Arc::clone(identity))),
        Some(Ok(Err(error))) => return Err((*error).into()),
        Some(Err(Unavailable)) => {
            let last = || memory.introspected.last_good(token, now, is_in_force);
            let last = credentials.takes_stale().then(last).flatten();
            return last.map(Some).ok_or_else(|| challenge::unavailable().into());
        }
        None => {}
    }
    match memory.introspected.get(token, now, is_in_force) {
        Some(Known::Good(identity)) => return Ok(Some(identity)),
        Some(Known::Bad(error)) => return Err(error.into()),
        None => {}
    }
    let provider = match Form::of(token) {
        Form::Jwt { issuer } => {
            let is_its = |provider: &Provider| {
                !provider.has_keys() && issuer.as_deref() == Some(&provider.issuer)
            };
            find(credentials, evidence, is_its)
        }
        Form::Opaque => find(credentials, evidence, |_| true),
    };
    let Some(provider) = provider else { return Ok(None) };
    Err(Denied::Ask(Question::Token(OpaqueToken { provider, token: token.into() })))
}

/// The first provider of those that the route has asked which will do. The route's
/// configuration made sure that there are not two for opaque tokens.
fn find(
    credentials: &Credentials,
    evidence: &Evidence<'_>,
    will_do: impl Fn(&Provider) -> bool,
) -> Option<ProviderIndex> {
    let mut accepted = credentials.introspected.iter().copied();
    accepted.find(|index| evidence.providers.get(*index).is_some_and(&will_do))
}

/// What a token looks like.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    /// Three parts, of which the first is a JOSE header: a JSON object with `alg`.
    Jwt {
        /// `iss`, where the second part is an object that says it.
        issuer: Option<String>,
    },
    /// Anything else, encrypted tokens included.
    Opaque,
}

impl Form {
    fn of(token: &str) -> Self {
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Self::Opaque;
        };
        if !object(header).is_some_and(|header| header.contains_key("alg")) {
            return Self::Opaque;
        }
        let mut claims = object(payload).unwrap_or_default();
        let issuer = match claims.remove("iss") {
            Some(Value::String(issuer)) => Some(issuer),
            _ => None,
        };
        Self::Jwt { issuer }
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Desk, OPAQUE};
    use super::*;
    use crate::auth::challenge::TokenError;
    use crate::auth::testing::{ISSUER, Signer, base64url, claims, now};

    fn jwt(change: &Value) -> String {
        Signer::new("EdDSA").token("EdDSA", None, &claims(change))
    }

    #[test]
    fn a_jwt_is_what_has_a_jose_header() {
        let other = |header: &str| format!("{}.e30.c2ln", base64url(header));
        for opaque in [
            "opaque",
            "",
            "a.b.c",
            "..",
            "a.b.c.d.e",
            &other("[]"),
            &other("{}"),
            &other("{\"typ\":\"JWT\"}"),
            &format!("{}.", jwt(&json!({}))),
        ] {
            assert_eq!(Form::of(opaque), Form::Opaque, "{opaque}");
        }
        let issuer = |token: &str| match Form::of(token) {
            Form::Jwt { issuer } => issuer,
            Form::Opaque => panic!("{token} is a JWT"),
        };
        assert_eq!(issuer(&jwt(&json!({}))).as_deref(), Some(ISSUER));
        assert_eq!(issuer(&jwt(&json!({"iss": ["a"]}))), None);
        assert_eq!(issuer(&other("{\"alg\":\"none\"}")), None);
        assert!(may_be_jwt("a.b.c") && !may_be_jwt("a.b") && !may_be_jwt("a.b.c.d"));
    }

    #[test]
    fn who_is_asked_follows_from_the_form_and_the_issuer() {
        // `asked` has no keys, `main` has keys and is asked about opaque tokens.
        let desk = Desk::new("auth: {providers: [asked, keyed]}");
        assert_eq!(desk.asks(OPAQUE), Some("asked"));
        assert_eq!(desk.asks(&jwt(&json!({"iss": "https://asked/"}))), Some("asked"));
        for local in [json!({"iss": "https://keyed/"}), json!({"iss": "https://x/"})] {
            assert_eq!(desk.asks(&jwt(&local)), None, "{local}");
        }
        let both = Desk::new("auth: {providers: [both]}");
        assert_eq!(both.asks(OPAQUE), Some("both"));
        assert_eq!(both.asks(&jwt(&json!({"iss": "https://both/"}))), None, "it has keys");
        let keyed = Desk::new("auth: {providers: [keyed]}");
        assert_eq!(keyed.asks(OPAQUE), None);
        assert_eq!(
            keyed.said(OPAQUE),
            "auth.token_malformed: the token is not three parts \
                                        separated by dots"
        );
        let jwts = Desk::new("auth: {providers: [keyed, both], anyOf: [jwt]}");
        assert_eq!(jwts.asks(OPAQUE), None, "the route takes JWTs only");
    }

    #[test]
    fn the_answer_decides_and_without_one_it_is_never_401() {
        let desk = Desk::new("auth: {providers: [asked]}");
        assert_eq!(desk.told(OPAQUE, Ok(Ok(desk.somebody()))).unwrap(), "user-1");
        let refused = desk.told(OPAQUE, Ok(Err(TokenError::Inactive))).unwrap_err();
        assert_eq!(refused.0, 401);
        assert!(refused.1.starts_with("auth.token_untrusted: the issuer"), "{}", refused.1);
        let away = desk.told(OPAQUE, Err(Unavailable)).unwrap_err();
        assert_eq!((away.0, away.1.as_str()), (503, "auth.unavailable: "));
    }

    #[test]
    fn stale_routes_take_the_last_good_answer_and_others_do_not() {
        let stale = Desk::new("auth: {providers: [asked], failureMode: stale}");
        let closed = Desk::new("auth: {providers: [asked]}");
        for desk in [&stale, &closed] {
            desk.knows_since(OPAQUE, now());
            assert_eq!(desk.asks(OPAQUE), None, "it is known");
        }
        let later = crate::auth::testing::after(61);
        assert_eq!(stale.told_at(later, OPAQUE, Err(Unavailable)).unwrap(), "user-1");
        assert_eq!(closed.told_at(later, OPAQUE, Err(Unavailable)).unwrap_err().0, 503);
        let unknown = stale.told_at(later, "another", Err(Unavailable)).unwrap_err();
        assert_eq!(unknown.0, 503);
    }
}
