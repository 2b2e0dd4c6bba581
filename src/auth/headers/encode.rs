//! How facts are written in headers: so that nothing is forged, and nothing is lost.

use std::fmt::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::model::HeaderEncoding;

/// A value that cannot be sent without forging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) struct Unsendable;

/// What is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told<'a> {
    /// Nothing.
    Nothing,
    /// One text.
    Text(&'a str),
    /// Texts, and what separates them in one.
    List(&'a [Arc<str>], char),
    /// A claim as it stands in the token.
    Claim(&'a Value),
}

/// The value of a header; empty where there is none to send.
pub(super) fn header(told: &Told<'_>, encoding: HeaderEncoding) -> Result<String, Unsendable> {
    match encoding {
        HeaderEncoding::Percent => Texts::of(told).joined(percent),
        HeaderEncoding::Base64 => {
            let text = Texts::of(told).joined(|text, joined| {
                joined.push_str(text);
                Ok(())
            })?;
            Ok(STANDARD.encode(text))
        }
        HeaderEncoding::Json => json(told),
    }
}

/// One text, or texts to join.
enum Texts<'a> {
    One(&'a str),
    /// Of a number or a truth value: never anything that needs care.
    Plain(String),
    Many(Vec<&'a str>, char),
}

impl<'a> Texts<'a> {
    /// What of it is text: objects are not, nor what of a list is none. It can only make a
    /// caller less powerful.
    fn of(told: &Told<'a>) -> Self {
        match *told {
            Told::Nothing | Told::Claim(Value::Null | Value::Object(_)) => Self::One(""),
            Told::Text(text) => Self::One(text),
            Told::List(items, separator) => {
                Self::Many(items.iter().map(AsRef::as_ref).collect(), separator)
            }
            Told::Claim(Value::String(text)) => Self::One(text),
            Told::Claim(Value::Array(items)) => {
                Self::Many(items.iter().filter_map(Value::as_str).collect(), ',')
            }
            Told::Claim(value @ (Value::Number(_) | Value::Bool(_))) => {
                Self::Plain(value.to_string())
            }
        }
    }

    /// One text of all, each item written by `write`.
    fn joined(
        self,
        write: impl Fn(&str, &mut String) -> Result<(), Unsendable>,
    ) -> Result<String, Unsendable> {
        let mut joined = String::new();
        match self {
            Self::One(text) => write(text, &mut joined)?,
            Self::Plain(text) => write(&text, &mut joined)?,
            Self::Many(items, separator) => {
                for item in items {
                    if item.contains(separator) {
                        return Err(Unsendable);
                    }
                    if !joined.is_empty() {
                        joined.push(separator);
                    }
                    write(item, &mut joined)?;
                }
            }
        }
        Ok(joined)
    }
}

/// Appends a text so that it survives the way: readers trim spaces at the ends and know only
/// visible ASCII for certain (RFC 9110, 5.5).
fn percent(text: &str, header: &mut String) -> Result<(), Unsendable> {
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b' ' if at > 0 && at < last => header.push(' '),
            b'%' | b' ' | 0x80.. => write!(header, "%{byte:02X}").map_err(|_| Unsendable)?,
            0x21..=0x7e => header.push(char::from(byte)),
            _ => return Err(Unsendable),
        }
    }
    Ok(())
}

/// Compact JSON; what is not ASCII is escaped, and so are control characters.
fn json(told: &Told<'_>) -> Result<String, Unsendable> {
    let written = match *told {
        Told::Nothing | Told::Text("") | Told::List([], _) => return Ok(String::new()),
        Told::Text(text) => serde_json::to_string(text),
        Told::List(items, _) => {
            let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
            serde_json::to_string(&items)
        }
        Told::Claim(value) => serde_json::to_string(value),
    };
    let written = written.map_err(|_| Unsendable)?;
    let mut header = String::with_capacity(written.len());
    let mut units = [0; 2];
    for character in written.chars() {
        // All of these stand in strings, and serde_json has escaped what is below a space.
        if (' '..='~').contains(&character) {
            header.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut units) {
            write!(header, "\\u{unit:04x}").map_err(|_| Unsendable)?;
        }
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LONG: &str = "Zoë \u{1f600}";

    fn written(value: &Value, encoding: HeaderEncoding) -> Result<String, Unsendable> {
        header(&Told::Claim(value), encoding)
    }

    fn percent(text: &str) -> Result<String, Unsendable> {
        header(&Told::Text(text), HeaderEncoding::Percent)
    }

    #[test]
    fn what_http_cannot_carry_is_percent_encoded_without_two_texts_meeting() {
        assert_eq!(percent("José"), Ok("Jos%C3%A9".into()));
        assert_eq!(percent("Jos%C3%A9"), Ok("Jos%25C3%25A9".into()));
        assert_eq!(percent("a b"), Ok("a b".into()));
        assert_eq!(percent(" a"), Ok("%20a".into()));
        assert_eq!(percent("a "), Ok("a%20".into()));
        assert_eq!(percent(" "), Ok("%20".into()));
        assert_eq!(percent("auth0|1@x, \"y\""), Ok("auth0|1@x, \"y\"".into()));
        assert_eq!(written(&json!(["a", " b"]), HeaderEncoding::Percent), Ok("a,%20b".into()));
        for text in ["a\rb", "a\nb", "a\0b", "a\tb", "a\x7fb", "\n"] {
            assert_eq!(percent(text), Err(Unsendable), "{text:?}");
        }
    }

    #[test]
    fn base64_carries_any_text_and_no_forged_list() {
        let base64 = |value: &Value| written(value, HeaderEncoding::Base64);
        assert_eq!(base64(&json!(LONG)), Ok("Wm/DqyDwn5iA".into()));
        assert_eq!(base64(&json!("a\r\nb")), Ok("YQ0KYg==".into()));
        assert_eq!(base64(&json!(["a", "b"])), Ok("YSxi".into()));
        assert_eq!(base64(&json!(["a,b"])), Err(Unsendable));
        assert_eq!(base64(&json!(7)), Ok("Nw==".into()));
        assert_eq!(base64(&json!("")), Ok(String::new()));
        assert_eq!(base64(&json!({"a": 1})), Ok(String::new()));
    }

    #[test]
    fn json_is_ascii_and_says_the_same() {
        let value = json!({"n": LONG, "l": ["a,b", 1, true, null, {"x": "\u{7f}\r\n\"\\"}]});
        let header = written(&value, HeaderEncoding::Json).unwrap();
        assert!(header.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{header}");
        assert_eq!(serde_json::from_str::<Value>(&header).unwrap(), value);
        assert!(header.contains(r"Zo\u00eb \ud83d\ude00"), "{header}");
        assert_eq!(written(&json!([]), HeaderEncoding::Json), Ok("[]".into()));
        assert_eq!(written(&json!("a"), HeaderEncoding::Json), Ok("\"a\"".into()));
        let list: [Arc<str>; 2] = ["a,b".into(), "c".into()];
        let roles = super::header(&Told::List(&list, ','), HeaderEncoding::Json);
        assert_eq!(roles, Ok(r#"["a,b","c"]"#.into()));
        for nothing in [Told::Nothing, Told::Text(""), Told::List(&[], ',')] {
            assert_eq!(super::header(&nothing, HeaderEncoding::Json), Ok(String::new()));
        }
    }
}
