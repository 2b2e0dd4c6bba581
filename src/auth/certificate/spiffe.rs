//! SPIFFE ids, as the SPIFFE ID standard spells them.

/// Longest id, in bytes.
const ID_BYTES_MAX: usize = 2048;
/// Longest name of a trust domain, in bytes.
const DOMAIN_BYTES_MAX: usize = 255;
/// What every id begins with. Only this spelling: ids are compared as text.
const SCHEME: &str = "spiffe://";

/// A name that is, or pretends to be, a SPIFFE id.
pub(super) fn is_claimed(name: &str) -> bool {
    name.get(.."spiffe:".len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"))
}

/// The trust domain of a SPIFFE id; none if this is not one.
///
/// There is no user, port, query or fragment in an id, nothing is percent-encoded, and no
/// segment of its path is empty, `.` or `..`: an id has one spelling.
pub(super) fn trust_domain(id: &str) -> Option<&str> {
    if id.len() > ID_BYTES_MAX {
        return None;
    }
    let rest = id.strip_prefix(SCHEME)?;
    let (domain, path) = match rest.split_once('/') {
        Some((domain, path)) => (domain, Some(path)),
        None => (rest, None),
    };
    let is_good = path.is_none_or(|path| path.split('/').all(is_segment));
    (is_trust_domain(domain) && is_good).then_some(domain)
}

/// Whether this is the name of a trust domain.
pub(super) fn is_trust_domain(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    (1..=DOMAIN_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_segment(segment: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        let longest = format!("spiffe://a/{}", "b".repeat(ID_BYTES_MAX - "spiffe://a/".len()));
        let domain = "d".repeat(DOMAIN_BYTES_MAX);
        for (id, expected) in [
            ("spiffe://prod.example.com/payments", "prod.example.com"),
            ("spiffe://prod.example.com", "prod.example.com"),
            ("spiffe://a_b-1/ns/x/sa/Y_z-0.9/...", "a_b-1"),
            (longest.as_str(), "a"),
            (&format!("spiffe://{domain}/x"), domain.as_str()),
        ] {
            assert_eq!(trust_domain(id), Some(expected), "{id}");
        }
        let too_long = format!("{longest}b");
        for id in [
            "",
            "spiffe:",
            "spiffe://",
            "spiffe:///a",
            "SPIFFE://a/b",
            "https://a/b",
            "spiffe://A/b",
            "spiffe://a:443/b",
            "spiffe://user@a/b",
            "spiffe://a/",
            "spiffe://a/b/",
            "spiffe://a//b",
            "spiffe://a/./b",
            "spiffe://a/../b",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "spiffe://a?b",
            "spiffe://a/%62",
            "spiffe://a/b c",
            "spiffe://ä/b",
            &too_long,
            &format!("spiffe://{domain}d/x"),
        ] {
            assert_eq!(trust_domain(id), None, "{id}");
        }
    }

    #[test]
    fn whatever_begins_like_an_id_pretends_to_be_one() {
        for name in ["spiffe://a/b", "SPIFFE:x", "spiffe:"] {
            assert!(is_claimed(name), "{name}");
        }
        for name in ["", "spiffe", "shop", "https://spiffe://", "spiff\u{e9}:"] {
            assert!(!is_claimed(name), "{name}");
        }
    }
}
