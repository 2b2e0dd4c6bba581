//! Lists with quality values: `Accept-Language`, `Accept-Encoding` (RFC 9110 section 12.4.2).

use http::{HeaderMap, HeaderName};

/// The members of every field of that name in the order sent, each with its quality in
/// thousandths. Members whose quality cannot be read are left out, and so are those beyond
/// [`MAX_MEMBERS`].
pub(crate) fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = (&'a str, u16)> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .take(MAX_MEMBERS)
        .filter_map(member)
}

/// The same members, but none at all where one of them cannot be read or there are too many: for
/// those who must not take two different lists for one.
pub(crate) fn all_members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Option<Vec<(&'a str, u16)>> {
    let mut all = Vec::new();
    for value in headers.get_all(name) {
        for piece in value.to_str().ok()?.split(',').filter(|piece| !piece.trim().is_empty()) {
            all.push(member(piece)?);
        }
    }
    (all.len() <= MAX_MEMBERS).then_some(all)
}

/// A member: its word, and its quality in thousandths. None where it cannot be read.
fn member(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let word = parts.next().filter(|word| !word.is_empty())?;
    let mut weight = 1000;
    for parameter in parts {
        let (key, value) = parameter.split_once('=')?;
        if key.trim_end().eq_ignore_ascii_case("q") {
            weight = quality(value.trim_start())?;
        }
    }
    Some((word, weight))
}

/// `0`, `1`, or either with at most three decimals, up to 1.
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digit = |place: usize| fraction.as_bytes().get(place).map_or(0, |byte| byte - b'0');
    let thousandths = u16::from(digit(0)) * 100 + u16::from(digit(1)) * 10 + u16::from(digit(2));
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// What a browser sends has fewer than ten members; a longer list only costs time.
pub(crate) const MAX_MEMBERS: usize = 32;

#[cfg(test)]
mod tests {
    use http::header::ACCEPT_LANGUAGE;
    use http::{HeaderMap, HeaderValue};

    use super::{MAX_MEMBERS, all_members, members};

    fn read(values: &[&str]) -> Vec<(String, u16)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_LANGUAGE, HeaderValue::from_str(value).unwrap());
        }
        members(&headers, &ACCEPT_LANGUAGE).map(|(word, q)| (word.to_owned(), q)).collect()
    }

    #[test]
    fn members_in_order_with_their_quality() {
        assert_eq!(
            read(&["de-AT, de;q=0.9 ,en; Q=0.85", "fr;level=1;q=0.001, *;q=0"]),
            [("de-AT", 1000), ("de", 900), ("en", 850), ("fr", 1), ("*", 0)]
                .map(|(word, q)| (word.to_owned(), q))
        );
        assert_eq!(read(&["a;q=1", "b;q=1.000", "c;q=0."]).len(), 3);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert!(
            read(&["", ",;,", "a;q=2", "a;q=1.001", "a;q=0.1234", "a;q=-1", "a;q=nan"]).is_empty()
        );
    }

    #[test]
    fn all_or_nothing() {
        let all = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(ACCEPT_LANGUAGE, HeaderValue::from_str(value).unwrap());
            all_members(&headers, &ACCEPT_LANGUAGE).map(|members| members.len())
        };
        assert_eq!(all("en, , de;q=0.5"), Some(2));
        assert_eq!(all(""), Some(0));
        assert_eq!(all("en, de;q=5"), None);
        assert_eq!(all("\u{e4}"), None);
        assert_eq!(all(&["en"; MAX_MEMBERS].join(",")), Some(MAX_MEMBERS));
        assert_eq!(all(&["en"; MAX_MEMBERS + 1].join(",")), None);
    }

    #[test]
    fn long_lists_are_cut() {
        let list = vec!["en"; MAX_MEMBERS + 10].join(",");
        assert_eq!(read(&[&list]).len(), MAX_MEMBERS);
    }
}
