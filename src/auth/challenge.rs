//! What a refused client is told: the fault, a hint, and the challenge (RFC 6750, section 3).
//!
//! The words are a closed set, so that nothing a client sent comes back to it and every header
//! value is a constant of the program.

use std::time::Duration;

use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;

use super::Providers;
use super::credentials::Kind;
use crate::fault::{Fault, Hint, Reject};

/// Declares why tokens are refused: variant, fault, words.
macro_rules! token_errors {
    ($($variant:ident $fault:ident $words:literal;)+) => {
        /// Why a token is refused.
        #[expect(clippy::doc_markdown, reason = "the words are the client's, not markdown")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum TokenError { $(#[doc = $words] $variant,)+ }

        impl TokenError {
            /// Every reason, in the order of the table.
            #[cfg(test)]
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The row of the fault table.
            pub(super) const fn fault(self) -> Fault {
                match self { $(Self::$variant => Fault::$fault,)+ }
            }

            /// The reason in words.
            pub(super) const fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)+ }
            }

            fn challenge(self) -> HeaderValue {
                match self {
                    $(Self::$variant => HeaderValue::from_static(concat!(
                        "Bearer realm=\"tidegate\", error=\"invalid_token\", error_description=\"",
                        $words,
                        "\""
                    )),)+
                }
            }
        }
    };
}

token_errors! {
    Repeated TokenMalformed "more than one Authorization header was sent";
    TooLong TokenMalformed "the token is longer than 8 KiB";
    NotCompact TokenMalformed "the token is not three parts separated by dots";
    Encrypted TokenMalformed "encrypted tokens are not accepted";
    JsonForm TokenMalformed "tokens in JSON form are not accepted";
    Unsigned TokenMalformed "the token is not signed";
    Encoding TokenMalformed "a part of the token is not base64url without padding";
    HeaderTooLong TokenMalformed "the header of the token is longer than 2 KiB";
    Header TokenMalformed "the header of the token could not be read";
    Payload TokenMalformed "the payload of the token is not a JSON object";
    Repetition TokenMalformed "a name comes twice in the token";
    Nesting TokenMalformed "the token is nested too deeply or holds too many values";
    KeyName TokenMalformed "the key id of the token is too long or not printable";
    Critical TokenUntrusted "the token has critical extensions that are not known here";
    Unencoded TokenUntrusted "tokens with an unencoded payload are not accepted";
    Compressed TokenUntrusted "compressed tokens are not accepted";
    Nested TokenUntrusted "tokens within tokens are not accepted";
    Type TokenUntrusted "this type of token is not accepted";
    Algorithm TokenUntrusted "the algorithm of the token is not accepted";
    Issuer TokenUntrusted "the issuer of the token is not accepted here";
    KeyUnknown TokenUntrusted "the key of the token is not known";
    KeyUnfit TokenUntrusted "the key of the token is not for its algorithm";
    KeyUnnamed TokenUntrusted "the token does not name its key";
    Signature TokenUntrusted "the signature of the token is not valid";
    NoExpiry TokenMalformed "the token has no expiry time";
    Time TokenMalformed "a time in the token is not a number of seconds since 1970";
    Expired TokenExpired "the token has expired";
    NotYetValid TokenNotYetValid "the token is not valid yet";
    IssuedLater TokenNotYetValid "the token was issued in the future";
    Audience TokenAudience "the token is meant for another audience";
    NoSubject TokenMalformed "the token has no subject";
    Incomplete TokenMalformed "the access token lacks a claim that RFC 9068 requires";
    ProofKey TokenUntrusted "tokens that are bound to a DPoP key are not accepted";
    BoundOtherwise TokenUntrusted "the token is bound to its sender in a way that is not checked";
    OtherCertificate TokenUntrusted "the token is bound to another client certificate";
    Revoked TokenRevoked "the token was revoked";
    Inactive TokenUntrusted "the issuer of the token says that it is not good";
    Unsendable TokenUntrusted "a claim of the token cannot be passed on as a header";
}

impl TokenError {
    /// Whether a refusal that took checking a signature may be repeated for a while without
    /// checking again: nothing that comes by itself makes the token good. What the clock or a new
    /// key can mend is not among them.
    pub(super) const fn is_lasting(self) -> bool {
        matches!(
            self,
            Self::Signature
                | Self::NoExpiry
                | Self::Time
                | Self::Expired
                | Self::Audience
                | Self::NoSubject
                | Self::Unsendable
        )
    }
}

impl From<TokenError> for Reject {
    fn from(error: TokenError) -> Self {
        Self::new(error.fault())
            .with_hint(Hint::literal(error.words()))
            .with_header(WWW_AUTHENTICATE, error.challenge())
    }
}

/// The client sent no credentials that the route looks at. No `error` attribute: it has done
/// nothing wrong yet (RFC 6750, section 3.1).
pub(super) fn missing(scheme: Scheme, providers: &Providers) -> Reject {
    let fault = match scheme {
        Scheme::Bearer | Scheme::ApiKey => Fault::CredentialsMissing,
        Scheme::ClientCertificate => Fault::CertificateMissing,
    };
    Reject::new(fault).with_header(WWW_AUTHENTICATE, scheme.challenge(providers))
}

/// The connection has a certificate that proves nothing here.
pub(super) fn certificate_refused(why: &'static str) -> Reject {
    Reject::new(Fault::CertificateMissing)
        .with_header(WWW_AUTHENTICATE, CLIENT_CERTIFICATE)
        .with_hint(Hint::literal(why))
}

/// What the caller proved with was revoked (R099). Tokens have a challenge of their own
/// (RFC 6750); of other credentials the challenge can only say that others are needed.
pub(super) fn revoked(kind: Kind, providers: &Providers) -> Reject {
    let (scheme, hint) = match kind {
        Kind::Token => return TokenError::Revoked.into(),
        Kind::ApiKey => (Scheme::ApiKey, "the API key was revoked"),
        Kind::Certificate => (Scheme::ClientCertificate, "the certificate was revoked"),
        Kind::Signature => (Scheme::Bearer, "the signer was revoked"),
    };
    Reject::new(Fault::TokenRevoked)
        .with_hint(Hint::literal(hint))
        .with_header(WWW_AUTHENTICATE, scheme.challenge(providers))
}

/// The API key is not one of ours, or was switched off: the client cannot tell which.
pub(super) fn api_key_unknown(challenge: &HeaderValue) -> Reject {
    Reject::new(Fault::ApiKeyUnknown).with_header(WWW_AUTHENTICATE, challenge.clone())
}

/// Time after which a client may come back when no key set could be had yet.
const KEYS_RETRY_AFTER: Duration = Duration::from_secs(5);

/// No key set of the issuer was ever had: nothing can be said about the token.
pub(super) fn keys_unavailable() -> Reject {
    Reject::new(Fault::KeysUnavailable).with_retry_after(KEYS_RETRY_AFTER)
}

/// Who the caller is cannot be found out at the moment.
pub(super) fn unavailable() -> Reject {
    Reject::new(Fault::CallerUnavailable).with_retry_after(KEYS_RETRY_AFTER)
}

/// A caller lacks something that the configuration names. Made when a route is compiled, cloned
/// when it happens; `challenge` says what would be enough.
pub(super) fn insufficient(fault: Fault, why: String, challenge: &HeaderValue) -> Reject {
    Reject::new(fault)
        .with_hint(Hint::from_config(why))
        .with_header(WWW_AUTHENTICATE, challenge.clone())
}

/// The challenge that names scopes (RFC 6750, section 3.1); without a list where there are none,
/// or where they are not scope tokens (RFC 6749, section 3.3).
pub(super) fn scope_challenge<'a>(scopes: impl IntoIterator<Item = &'a str>) -> HeaderValue {
    let bare = HeaderValue::from_static("Bearer realm=\"tidegate\", error=\"insufficient_scope\"");
    let scopes: Vec<&str> = scopes.into_iter().collect();
    if scopes.is_empty() || !scopes.iter().all(|scope| is_scope_token(scope)) {
        return bare;
    }
    let scopes = scopes.join(" ");
    let text =
        format!("Bearer realm=\"tidegate\", error=\"insufficient_scope\", scope=\"{scopes}\"");
    HeaderValue::try_from(text).unwrap_or(bare)
}

/// Whether a scope can stand in a space-separated list inside quotes.
pub(super) fn is_scope_token(scope: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !scope.is_empty() && scope.bytes().all(allowed)
}

/// The authentication scheme that a challenge names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Tokens, and where both will do.
    Bearer,
    /// Routes that take API keys only. The name is not registered; a 401 must name something
    /// (RFC 9110, 15.5.2), and `Bearer` would send the client the wrong way.
    ApiKey,
    /// Routes that take client certificates only. Not registered either.
    ClientCertificate,
}

impl Scheme {
    fn challenge(self, providers: &Providers) -> HeaderValue {
        match self {
            Self::Bearer => HeaderValue::from_static("Bearer realm=\"tidegate\""),
            Self::ApiKey => providers.api_keys.challenge().clone(),
            Self::ClientCertificate => CLIENT_CERTIFICATE,
        }
    }
}

const CLIENT_CERTIFICATE: HeaderValue =
    HeaderValue::from_static("ClientCertificate realm=\"tidegate\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_description_may_stand_in_a_quoted_string() {
        for error in TokenError::ALL {
            let allowed = |byte: u8| matches!(byte, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            assert!(error.words().bytes().all(allowed), "{error:?}");
            assert_eq!(error.fault().status(), 401, "{error:?}");
            let reject = Reject::from(*error);
            let expected = format!(
                "Bearer realm=\"tidegate\", error=\"invalid_token\", error_description=\"{}\"",
                error.words()
            );
            assert_eq!(reject.headers, [(WWW_AUTHENTICATE, expected.parse().unwrap())]);
        }
    }

    #[test]
    fn missing_credentials_get_a_challenge_without_error() {
        let missing = |scheme| missing(scheme, &Providers::default());
        let reject = missing(Scheme::Bearer);
        assert_eq!(reject.fault, Fault::CredentialsMissing);
        assert_eq!(reject.headers[0].1, "Bearer realm=\"tidegate\"");
        assert_eq!(
            missing(Scheme::ApiKey).headers[0].1,
            "ApiKey realm=\"tidegate\", header=\"x-api-key\""
        );
        let reject = missing(Scheme::ClientCertificate);
        assert_eq!(reject.fault, Fault::CertificateMissing);
        assert_eq!(reject.headers[0].1, "ClientCertificate realm=\"tidegate\"");
    }

    #[test]
    fn scopes_that_would_break_the_header_are_not_named() {
        assert_eq!(
            scope_challenge(["orders:read", "orders:write"]),
            "Bearer realm=\"tidegate\", error=\"insufficient_scope\", \
             scope=\"orders:read orders:write\""
        );
        for bad in ["", "a b", "a\"b", "a\\b", "a\nb", "ä"] {
            let bare = "Bearer realm=\"tidegate\", error=\"insufficient_scope\"";
            assert_eq!(scope_challenge([bad]), bare, "{bad:?}");
        }
        assert_eq!(scope_challenge([]), scope_challenge([""]));
    }

    #[test]
    fn an_unavailable_key_set_asks_to_come_back_in_five_seconds() {
        let reject = keys_unavailable();
        assert_eq!((reject.fault.status(), reject.retry_after_seconds()), (503, Some(5)));
    }
}
