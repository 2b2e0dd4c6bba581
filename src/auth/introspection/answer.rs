//! What an issuer's answer proves (RFC 7662, 2.2).

use std::sync::Arc;

use serde_json::Map;

use crate::auth::Providers;
use crate::auth::challenge::TokenError;
use crate::auth::jwt::claims;
use crate::auth::jwt::confirmation;
use crate::auth::jwt::provider::Provider;
use crate::auth::jwt::strict_json::{self, Bounds, Object, Value};
use crate::auth::jwt::validity::Validity;
use crate::clock::Moment;
use crate::edge::{Claims, Identity};

/// What an answer may hold: as much as the claims of a token.
const BOUNDS: Bounds = Bounds { depth: 16, values: 1024 };

/// Members that some issuers send as null where they have nothing to say.
const OPTIONAL: [&str; 6] = ["iss", "exp", "nbf", "iat", "token_type", "token_use"];

/// The answer is not one that RFC 7662 describes: nothing is known about the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// Not JSON, not an object, nested too deeply, or with a member twice.
    #[error("the answer is not a JSON object with each member once")]
    Json,
    /// Without it nothing is said.
    #[error("`active` in the answer is not true or false")]
    Active,
    /// Not a number, or one that no time can have.
    #[error("a time in the answer is not a number")]
    Time,
}

/// An issuer's judgement of a token, and ours of its answer.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) verdict: Result<Arc<Identity>, TokenError>,
    /// The token's `exp`, Unix seconds, where the issuer says it.
    pub(super) expires: Option<u64>,
}

/// Reads and judges an answer. The members stand where a token's claims would, and are held to
/// the same rules: audience, times, subject. Two differences: `iss` may be absent, since the
/// issuer itself has spoken, and `exp` may be, since the issuer is asked again anyway.
///
/// # Errors
/// The answer says nothing that can be relied on.
pub(super) fn judge(
    document: &[u8],
    provider: &Provider,
    providers: &Providers,
    now: Moment,
) -> Result<Judged, Malformed> {
    let mut members = strict_json::object(document, BOUNDS).map_err(|_| Malformed::Json)?;
    // Of these, one that is null says as much as one that is absent.
    members.retain(|name, value| !(value.is_null() && OPTIONAL.contains(&name)));
    match members.remove("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => {
            return Ok(Judged { verdict: Err(TokenError::Inactive), expires: None });
        }
        _ => return Err(Malformed::Active),
    }
    let expires = expiry(&members)?;
    let verdict = match identity(&members, expires.is_none(), provider, providers, now) {
        // The client has nothing to do with what its issuer cannot spell.
        Err(TokenError::Time) => return Err(Malformed::Time),
        other => other,
    };
    Ok(Judged { verdict, expires })
}

fn identity(
    members: &Object<'_>,
    is_endless: bool,
    provider: &Provider,
    providers: &Providers,
    now: Moment,
) -> Result<Arc<Identity>, TokenError> {
    if members.get("iss").is_some_and(|issuer| issuer.as_str() != Some(&provider.issuer)) {
        return Err(TokenError::Issuer);
    }
    if !is_access_token(members) {
        return Err(TokenError::Type);
    }
    check(members, is_endless, provider, now)?;
    let reading = claims::Reading {
        provider: &provider.name,
        names: &provider.claims,
        tenants: &providers.tenants,
        headers: &providers.headers,
    };
    let kept = Claims::from(Map::from(members.clone()));
    Ok(Arc::new(Identity::prove(claims::facts(members, kept, &reading)?)))
}

/// Holds members to the rules of a token's claims; one without `exp` has not expired.
fn check(
    members: &Object<'_>,
    is_endless: bool,
    provider: &Provider,
    now: Moment,
) -> Result<(), TokenError> {
    let validity = Validity::new(members, provider, now);
    if !is_endless {
        validity.expiry()?;
    }
    validity.not_before()?;
    validity.issued_at()?;
    validity.audience()?;
    validity.subject()?;
    confirmation::read(members).map(drop)
}

/// `exp` in whole seconds, rounded down.
fn expiry(members: &Object<'_>) -> Result<Option<u64>, Malformed> {
    let Some(value) = members.get("exp") else { return Ok(None) };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, which is what is meant"
    )]
    let whole = |fraction: f64| fraction.floor() as u64;
    let seconds = value.as_number();
    let seconds = seconds.and_then(|time| time.as_u64().or_else(|| time.as_f64().map(whole)));
    seconds.map(Some).ok_or(Malformed::Time)
}

/// Issuers call refresh tokens active too. Where the answer says what kind of token it is
/// about, it must be one that a bearer may use: not a refresh or identity token, and not one
/// that is bound to a key in a way that is not checked here (`DPoP`).
fn is_access_token(members: &Object<'_>) -> bool {
    const TYPES: [&str; 2] = ["bearer", "access_token"];
    const USES: [&str; 2] = ["access", "access_token"];
    let is_one_of = |name: &str, known: &[&str]| match members.get(name) {
        None => true,
        Some(Value::String(text)) => known.iter().any(|word| text.eq_ignore_ascii_case(word)),
        Some(_) => false,
    };
    is_one_of("token_type", &TYPES) && is_one_of("token_use", &USES)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{asking, judged};
    use super::*;
    use crate::auth::testing::{ISSUER, NOW, now};

    /// An answer about a good token, changed; what it proves.
    fn verdict(change: &Value) -> Result<Arc<Identity>, TokenError> {
        judged(&asking(""), change).unwrap().verdict
    }

    #[test]
    fn an_active_token_proves_what_its_members_say() {
        let change = json!({
            "iss": ISSUER, "scope": "a b", "client_id": "app", "username": "alice",
            "tenant_id": "acme", "roles": ["clerk"], "jti": "t-1", "token_type": "Bearer",
        });
        let identity = verdict(&change).unwrap();
        assert_eq!((&*identity.provider, &*identity.subject), ("main", "user-1"));
        assert_eq!(identity.scopes.len(), 2);
        assert_eq!(identity.client_id.as_deref(), Some("app"));
        assert_eq!(identity.tenant_id.as_deref(), Some("acme"));
        assert_eq!(identity.token_id.as_deref(), Some("t-1"));
        assert_eq!(identity.claims.get("username"), Some(&json!("alice")));
        assert!(!identity.claims.contains_key("active"), "it is no claim");
        let by_name = asking("    claims: {subject: username}\n");
        let identity = judged(&by_name, &change).unwrap().verdict.unwrap();
        assert_eq!(&*identity.subject, "alice");
    }

    #[test]
    fn members_are_held_to_the_rules_of_claims() {
        let cases = [
            (json!({"active": false}), TokenError::Inactive),
            (json!({"iss": "https://other/"}), TokenError::Issuer),
            (json!({"iss": [ISSUER]}), TokenError::Issuer),
            (json!({"aud": null}), TokenError::Audience),
            (json!({"aud": "billing"}), TokenError::Audience),
            (json!({"aud": ["billing", 7]}), TokenError::Audience),
            (json!({"exp": NOW - 31}), TokenError::Expired),
            (json!({"nbf": NOW + 31}), TokenError::NotYetValid),
            (json!({"iat": NOW + 31}), TokenError::IssuedLater),
            (json!({"sub": null}), TokenError::NoSubject),
            (json!({"sub": ""}), TokenError::NoSubject),
            (json!({"token_type": "refresh_token"}), TokenError::Type),
            (json!({"token_type": "DPoP"}), TokenError::Type),
            (json!({"token_type": ["Bearer"]}), TokenError::Type),
            (json!({"token_use": "refresh_token"}), TokenError::Type),
            (json!({"email": "a\r\nb"}), TokenError::Unsendable),
            (json!({"cnf": {"jkt": "k"}}), TokenError::ProofKey),
            (json!({"cnf": {"kid": "k"}}), TokenError::BoundOtherwise),
        ];
        for (change, error) in cases {
            let headers = "identityHeaders: {x-email: email}\n";
            let found = judged(&asking(headers), &change).unwrap().verdict;
            assert_eq!(found.unwrap_err(), error, "{change}");
        }
        for good in [
            json!({"exp": NOW - 30}),
            json!({"nbf": NOW + 30, "iat": NOW + 30}),
            json!({"exp": null}),
            json!({"aud": ["billing", "orders"]}),
            json!({"token_use": "access_token", "token_type": "bearer"}),
        ] {
            assert!(verdict(&good).is_ok(), "{good}");
        }
    }

    /// RFC 8705, 3.2: checked against the connection on every request, as a token's is.
    #[test]
    fn a_token_may_be_bound_to_a_certificate() {
        let digest = "A".repeat(43);
        let identity = verdict(&json!({"cnf": {"x5t#S256": digest}})).unwrap();
        assert_eq!(identity.bound_certificate.as_deref(), Some(&*"0".repeat(64)));
        assert_eq!(verdict(&json!({})).unwrap().bound_certificate, None);
    }

    #[test]
    fn the_expiry_is_the_issuers_or_none() {
        let expires = |exp: Value| judged(&asking(""), &json!({"exp": exp})).unwrap();
        assert_eq!(expires(json!(NOW + 7)).expires, Some(NOW.unsigned_abs() + 7));
        assert_eq!(expires(json!(1_800_000_007.9)).expires, Some(1_800_000_007));
        let endless = expires(Value::Null);
        assert_eq!(endless.expires, None);
        assert!(!endless.verdict.unwrap().claims.contains_key("exp"), "nothing is made up");
    }

    #[test]
    fn what_is_not_an_answer_says_nothing_about_the_token() {
        let providers = asking("");
        let read = |document: &str| {
            let (_, provider) = providers.iter().next().unwrap();
            judge(document.as_bytes(), provider, &providers, now()).unwrap_err()
        };
        let deep = format!("{{\"active\":true,\"a\":{}}}", "[".repeat(200));
        for garbage in [
            "",
            "<html>",
            "null",
            "true",
            "[]",
            "[{\"active\":true}]",
            "{\"active\":true",
            "{\"active\":true}{}",
            "{\"active\":true,\"active\":true}",
            "{\"active\":true,\"sub\":\"a\",\"sub\":\"b\"}",
            "{\"active\":true,\"sub\":\"\u{1}\"}",
            deep.as_str(),
        ] {
            assert_eq!(read(garbage), Malformed::Json, "{garbage}");
        }
        for unclear in ["{}", "{\"active\":\"true\"}", "{\"active\":1}", "{\"active\":null}"] {
            assert_eq!(read(unclear), Malformed::Active, "{unclear}");
        }
        for time in ["\"exp\":\"soon\"", "\"nbf\":{}", "\"iat\":[1]"] {
            let text = format!("{{\"active\":true,\"sub\":\"a\",\"aud\":\"orders\",{time}}}");
            assert_eq!(read(&text), Malformed::Time, "{time}");
        }
    }
}
