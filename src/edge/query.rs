//! Query parameters (`application/x-www-form-urlencoded`).

use std::borrow::Cow;

use super::hex::hex_digit;

/// The parameters of a query in their order, names and values percent-decoded
/// (`application/x-www-form-urlencoded`); a parameter without `=` has an empty value.
///
/// `+` is a space. Escapes that are none stay as they are; bytes that are not UTF-8 become
/// U+FFFD. Borrowed where there is nothing to decode.
pub fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    raw_parameters(query).map(|(name, value)| (decode(name), decode(value)))
}

/// The parameters of a query in their order, as they were sent. For those who look for one
/// parameter and do not want to decode, or allocate for, the others.
pub fn raw_parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Decodes a name or a value. Borrowed where there is nothing to decode.
#[must_use]
pub fn decode(raw: &str) -> Cow<'_, str> {
    if !needs_decoding(raw) {
        return Cow::Borrowed(raw);
    }
    let bytes: Vec<u8> = decoded(raw).collect();
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    Cow::Owned(text)
}

/// Whether a name or value decodes to exactly this text. Allocates nothing.
#[must_use]
pub fn decodes_to(raw: &str, text: &str) -> bool {
    if needs_decoding(raw) { decoded(raw).eq(text.bytes()) } else { raw == text }
}

/// A query without its parameters of a name, all else byte for byte; none where it has none of
/// them. What is left may be empty.
#[must_use]
pub fn without(query: &str, name: &str) -> Option<String> {
    let is_one = |piece: &&str| is_named(piece, name);
    if !query.split('&').any(|piece| is_one(&piece)) {
        return None;
    }
    let left: Vec<&str> = query.split('&').filter(|piece| !is_one(piece)).collect();
    Some(left.join("&"))
}

/// A query that may be shown: with `***` for the values of parameters of a name.
#[must_use]
pub fn redacted<'a>(query: &'a str, name: &str) -> Cow<'a, str> {
    if !query.split('&').any(|piece| is_named(piece, name)) {
        return Cow::Borrowed(query);
    }
    let shown = query.split('&').map(|piece| match piece.split_once('=') {
        Some((written, _)) if is_named(piece, name) => Cow::Owned(format!("{written}=***")),
        _ => Cow::Borrowed(piece),
    });
    Cow::Owned(shown.collect::<Vec<_>>().join("&"))
}

fn is_named(piece: &str, name: &str) -> bool {
    let written = piece.split_once('=').map_or(piece, |(written, _)| written);
    !written.is_empty() && decodes_to(written, name)
}

fn needs_decoding(raw: &str) -> bool {
    raw.bytes().any(|byte| matches!(byte, b'+' | b'%'))
}

fn decoded(raw: &str) -> impl Iterator<Item = u8> {
    let mut rest = raw.as_bytes();
    std::iter::from_fn(move || {
        let (&byte, mut after) = rest.split_first()?;
        let byte = match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, behind @ ..]) => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => {
                    after = behind;
                    high << 4 | low
                }
                _ => byte,
            },
            _ => byte,
        };
        rest = after;
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(query: &str) -> Vec<(String, String)> {
        parameters(query).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn parameters_are_decoded_in_their_order() {
        assert_eq!(all("b=2&a=1&b=3"), [pair("b", "2"), pair("a", "1"), pair("b", "3")]);
        assert_eq!(all("a+b=c%20d&%61=%2B"), [pair("a b", "c d"), pair("a", "+")]);
        assert_eq!(all("a&b=&=c&&"), [pair("a", ""), pair("b", ""), pair("", "c")]);
        assert_eq!(all("a=b=c"), [pair("a", "b=c")]);
        assert_eq!(all("a%26b%3D=1"), [pair("a&b=", "1")]);
        assert_eq!(all("e=%C3%A9"), [pair("e", "é")]);
        assert_eq!(all(""), []);
    }

    #[test]
    fn what_cannot_be_decoded_is_kept() {
        assert_eq!(
            all("a=%&b=%4&c=%zz&d=%4%41"),
            [pair("a", "%"), pair("b", "%4"), pair("c", "%zz"), pair("d", "%4A")]
        );
        assert_eq!(all("a=%ff%41"), [pair("a", "\u{fffd}A")]);
    }

    #[test]
    fn plain_text_is_borrowed() {
        assert!(parameters("abc=d.e-f").all(|(name, value)| {
            matches!(name, Cow::Borrowed("abc")) && matches!(value, Cow::Borrowed("d.e-f"))
        }));
    }

    #[test]
    fn one_parameter_is_taken_out_and_the_rest_stays_as_it_is() {
        for (query, left) in [
            ("api_key=1", ""),
            ("api_key", ""),
            ("a=%7e&api_key=x%26y&b=+", "a=%7e&b=+"),
            ("&api_key=1&&b&", "&&b&"),
            ("api_key=1&api%5Fkey=2&b=api_key=3", "b=api_key=3"),
        ] {
            assert_eq!(without(query, "api_key").as_deref(), Some(left), "{query}");
        }
        for query in ["", "&", "=1", "a=1", "API_KEY=1", "api_key2=1", "b=api_key", "a;api_key=1"] {
            assert_eq!(without(query, "api_key"), None, "{query}");
            assert!(matches!(redacted(query, "api_key"), Cow::Borrowed(_)), "{query}");
        }
    }

    #[test]
    fn values_of_one_parameter_are_not_shown() {
        assert_eq!(redacted("a=1&api%5fkey=x=y&b", "api_key"), "a=1&api%5fkey=***&b");
        assert_eq!(redacted("api_key", "api_key"), "api_key");
        assert_eq!(redacted("api_key=", "api_key"), "api_key=***");
    }

    proptest! {
        #[test]
        fn comparing_agrees_with_decoding(raw in "[a+%0-9A-F]{0,6}", text in "[a A0]{0,3}") {
            let same = decode(&raw) == text.as_str();
            prop_assert_eq!(decodes_to(&raw, &text), same);
            if !raw.contains(['+', '%']) {
                prop_assert_eq!(decode(&raw), raw.as_str());
            }
        }
    }
}
