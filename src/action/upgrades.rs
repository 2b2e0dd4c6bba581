//! Protocols that a connection may be upgraded to (RFC 9110 section 7.8).

use http::{HeaderMap, HeaderValue, Method, Version, header};

use crate::model::{Problem, Problems};

/// A protocol, as it stands in `Upgrade`; in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade(HeaderValue);

/// The protocols that a route passes on; none by default.
#[derive(Clone, Debug, Default)]
pub struct Upgrades(Box<[Upgrade]>);

/// Protocols that would take the gateway out of the exchange: what follows an upgrade is not
/// looked at, so further requests could pass behind it unseen.
const REFUSED: [&str; 4] = ["h2c", "h2", "http", "tls"];

/// Longest name of a protocol.
const NAME_BYTES_MAX: usize = 64;

impl Upgrades {
    /// Compiles `upgrades` of a route's policies; problems carry `path` (`….policies.upgrades`).
    pub fn compile(names: &[String], path: &str, problems: &mut Problems) -> Self {
        let mut upgrades: Vec<Upgrade> = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let place = format!("{path}[{index}]");
            let name = name.to_ascii_lowercase();
            let family = name.split('/').next().unwrap_or_default();
            if REFUSED.contains(&family) {
                let what = format!("`{name}` cannot be upgraded to through a gateway");
                problems.push(
                    Problem::error("upgrade.refused", place, what)
                        .help("requests behind it would pass without any policy"),
                );
                continue;
            }
            let sound = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(token);
            match HeaderValue::try_from(name.as_str()) {
                Ok(value) if sound => upgrades.push(Upgrade(value)),
                _ => problems.push(
                    Problem::error("upgrade.name", place, format!("`{name}` is not a protocol"))
                        .help("write its name as in the header `Upgrade`: `websocket`"),
                ),
            }
        }
        Self(upgrades.into())
    }

    /// Whether no protocol is passed on.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The protocol that a request asks for, where it is one that is passed on. A request that
    /// asks in a way that is not valid is an ordinary one: so RFC 9110 says of servers that do
    /// not upgrade.
    #[must_use]
    pub fn wanted(
        &self,
        method: &Method,
        version: Version,
        headers: &HeaderMap,
    ) -> Option<&Upgrade> {
        if self.0.is_empty() || version != Version::HTTP_11 {
            return None;
        }
        let mut lines = headers.get_all(header::UPGRADE).iter();
        let (Some(asked), None) = (lines.next(), lines.next()) else { return None };
        let named = |upgrade: &&Upgrade| {
            asked.as_bytes().trim_ascii().eq_ignore_ascii_case(upgrade.0.as_bytes())
        };
        let upgrade = self.0.iter().find(named)?;
        let connection = headers.get_all(header::CONNECTION).iter();
        let nominated = connection
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
        let has_body = headers.contains_key(header::TRANSFER_ENCODING)
            || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
        let valid =
            nominated && !has_body && (!upgrade.is_websocket() || handshake(method, headers));
        valid.then_some(upgrade)
    }
}

impl Upgrade {
    /// The value of `Upgrade`.
    #[must_use]
    pub const fn value(&self) -> &HeaderValue {
        &self.0
    }

    /// Whether an answer with 101 switches to this protocol.
    #[must_use]
    pub fn is_agreed(&self, answer: &HeaderMap) -> bool {
        let mut lines = answer.get_all(header::UPGRADE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return false };
        line.as_bytes().trim_ascii().eq_ignore_ascii_case(self.0.as_bytes())
    }

    /// Whether the protocol is that of RFC 6455.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.0 == "websocket"
    }
}

/// What a WebSocket handshake must have (RFC 6455 section 4.2.1). The key itself is the service's
/// to read.
fn handshake(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET
        && headers.contains_key(header::SEC_WEBSOCKET_KEY)
        && headers.contains_key(header::SEC_WEBSOCKET_VERSION)
}

/// Whether a byte may stand in a protocol's name: a token, or the slash before its version.
const fn token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrades(names: &[&str]) -> (Upgrades, Vec<&'static str>) {
        let mut problems = Problems::default();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let upgrades = Upgrades::compile(&names, "p", &mut problems);
        (upgrades, problems.0.into_iter().map(|problem| problem.code).collect())
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn names_that_hide_requests_are_refused() {
        for name in ["h2c", "H2C", "HTTP/2.0", "TLS/1.2", "h2"] {
            assert_eq!(upgrades(&[name]).1, ["upgrade.refused"], "{name}");
        }
        for name in ["", "web socket", "a,b", "a\r\nb"] {
            assert_eq!(upgrades(&[name]).1, ["upgrade.name"], "{name:?}");
        }
        assert!(upgrades(&["WebSocket", "SPDY/3.1", "tcp-tunnel"]).1.is_empty());
    }

    #[test]
    fn only_a_whole_request_for_a_listed_protocol_is_one() {
        let (listed, _) = upgrades(&["websocket", "echo"]);
        let whole = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-key", "x"),
            ("sec-websocket-version", "13"),
        ];
        let wanted = |method: Method, version, lines: &[(&'static str, &'static str)]| {
            listed.wanted(&method, version, &headers(lines)).is_some()
        };
        assert!(wanted(Method::GET, Version::HTTP_11, &whole));
        assert!(!wanted(Method::POST, Version::HTTP_11, &whole));
        assert!(!wanted(Method::GET, Version::HTTP_10, &whole));
        assert!(!wanted(Method::GET, Version::HTTP_2, &whole));
        for missing in 0..whole.len() {
            let mut lines = whole.to_vec();
            lines.remove(missing);
            assert!(!wanted(Method::GET, Version::HTTP_11, &lines), "{lines:?}");
        }
        let echo = [("upgrade", "echo"), ("connection", "upgrade")];
        assert!(wanted(Method::POST, Version::HTTP_11, &echo));
        let body = [echo.as_slice(), &[("content-length", "3")]].concat();
        assert!(!wanted(Method::POST, Version::HTTP_11, &body));
        let list = [("upgrade", "echo, websocket"), ("connection", "upgrade")];
        assert!(!wanted(Method::POST, Version::HTTP_11, &list));
        let other = [("upgrade", "chat"), ("connection", "upgrade")];
        assert!(!wanted(Method::GET, Version::HTTP_11, &other));
        let (none, _) = upgrades(&[]);
        assert!(none.wanted(&Method::GET, Version::HTTP_11, &headers(&whole)).is_none());
    }

    #[test]
    fn an_answer_agrees_only_with_what_was_asked() {
        let (listed, _) = upgrades(&["websocket"]);
        let upgrade = &listed.0[0];
        assert!(upgrade.is_agreed(&headers(&[("upgrade", "WebSocket")])));
        assert!(!upgrade.is_agreed(&headers(&[("upgrade", "h2c")])));
        assert!(!upgrade.is_agreed(&headers(&[])));
    }
}
