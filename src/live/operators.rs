//! Who may change something through the admin listener.
//!
//! With `admin.token`, whoever carries it. Without it, whoever can reach the listener, if that is
//! somebody on this machine; but not a browser, which sends what any page tells it to.

use http::HeaderMap;
use http::header::{AUTHORIZATION, ORIGIN};
use sha2::{Digest, Sha256};

use crate::model;

/// The rule for changes.
#[derive(Clone)]
pub struct Operators {
    /// Digest of the token: comparing digests takes the same time wherever two tokens differ,
    /// and the token itself is not kept.
    token: Option<[u8; 32]>,
    is_local: bool,
}

/// Says nothing about the token.
impl std::fmt::Debug for Operators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operators").field("is_local", &self.is_local).finish_non_exhaustive()
    }
}

/// Who makes a change, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Somebody with the token.
    Token,
    /// Somebody on this machine.
    Local,
}

/// Why somebody may not make changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAllowed {
    /// The token is missing, or another.
    Token,
    /// There is no token, and the listener can be reached from other machines.
    Remote,
    /// There is no token, and a browser asks.
    Browser,
}

impl Operators {
    /// The rule of a configuration; `token` is the resolved one. A token that could not be
    /// resolved lets nobody in.
    #[must_use]
    pub fn new(admin: &model::Admin, token: Option<&str>) -> Self {
        let address = admin.address.parse::<std::net::SocketAddr>();
        let is_local = address.is_ok_and(|address| address.ip().is_loopback());
        Self {
            token: token.map(digest),
            is_local: is_local && (admin.token.is_none() || token.is_some()),
        }
    }

    /// Whether a request with these headers may change something.
    ///
    /// # Errors
    /// Why it may not.
    pub fn admit(&self, headers: &HeaderMap) -> Result<Operator, NotAllowed> {
        let Some(token) = &self.token else {
            return match (self.is_local, headers.contains_key(ORIGIN)) {
                (true, false) => Ok(Operator::Local),
                (true, true) => Err(NotAllowed::Browser),
                (false, _) => Err(NotAllowed::Remote),
            };
        };
        let mut sent = headers.get_all(AUTHORIZATION).iter();
        let (Some(sent), None) = (sent.next(), sent.next()) else { return Err(NotAllowed::Token) };
        let sent = sent.to_str().ok().and_then(|sent| sent.split_once(' '));
        match sent {
            Some((scheme, sent)) if scheme.eq_ignore_ascii_case("bearer") => {
                let sent = digest(sent.trim());
                let differs = sent.iter().zip(token).fold(0, |differs, (a, b)| differs | (a ^ b));
                if differs == 0 { Ok(Operator::Token) } else { Err(NotAllowed::Token) }
            }
            _ => Err(NotAllowed::Token),
        }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::model::Secret;

    fn operators(address: &str, token: Option<&str>) -> Operators {
        let secret = token.map(|_| Secret::Env("TOKEN".to_owned()));
        Operators::new(
            &model::Admin { address: address.to_owned(), token: secret, drills: false },
            token,
        )
    }

    fn with(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_token_is_asked_for_wherever_one_is_configured() {
        for address in ["127.0.0.1:1", "10.0.0.1:1"] {
            let operators = operators(address, Some("a-long-token"));
            let admit = |value| operators.admit(&with(AUTHORIZATION, value));
            for good in ["Bearer a-long-token", "bearer a-long-token", "BEARER  a-long-token "] {
                assert_eq!(admit(good), Ok(Operator::Token), "{good}");
            }
            for bad in [
                "Bearer a-long-toke",
                "Bearer a-long-token2",
                "Bearer A-long-token",
                "Bearer ",
                "Bearer",
                "Basic a-long-token",
                "a-long-token",
                "",
            ] {
                assert_eq!(admit(bad), Err(NotAllowed::Token), "{bad}");
            }
            assert_eq!(operators.admit(&HeaderMap::new()), Err(NotAllowed::Token));
            let mut twice = with(AUTHORIZATION, "Bearer a-long-token");
            twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer a-long-token"));
            assert_eq!(operators.admit(&twice), Err(NotAllowed::Token));
            assert!(!format!("{operators:?}").contains("token"));
        }
    }

    #[test]
    fn without_a_token_only_programs_on_this_machine_may() {
        let none = HeaderMap::new();
        for address in ["127.0.0.1:9901", "[::1]:9901", "127.9.9.9:1"] {
            assert_eq!(operators(address, None).admit(&none), Ok(Operator::Local), "{address}");
            let page = with(ORIGIN, "https://evil.example");
            assert_eq!(operators(address, None).admit(&page), Err(NotAllowed::Browser));
        }
        for address in ["0.0.0.0:9901", "[::]:9901", "10.0.0.1:9901", "nonsense"] {
            assert_eq!(operators(address, None).admit(&none), Err(NotAllowed::Remote), "{address}");
        }
    }

    #[test]
    fn a_token_that_was_not_found_lets_nobody_in() {
        let admin = model::Admin {
            address: "127.0.0.1:1".to_owned(),
            token: Some(Secret::Env("ABSENT".to_owned())),
            drills: false,
        };
        let operators = Operators::new(&admin, None);
        assert_eq!(operators.admit(&HeaderMap::new()), Err(NotAllowed::Remote));
    }
}
