//! `CDN-Cache-Control` (RFC 9213): what a service says to caches in front of it only.
//!
//! It is a dictionary of structured fields, and one that is not well formed counts as absent
//! (section 2.1): then `Cache-Control` speaks again. One that is counts alone.

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::control::{AnswerControl, Fields, SECONDS_MAX};

/// The header.
pub(in crate::cache) const NAME: HeaderName = HeaderName::from_static("cdn-cache-control");

/// What it says; none where it is absent, empty, or cannot be read in one of its directives.
pub(in crate::cache) fn read(headers: &HeaderMap) -> Option<AnswerControl> {
    let mut lines = Vec::new();
    for value in headers.get_all(NAME) {
        if !lines.is_empty() {
            lines.extend_from_slice(b", ");
        }
        lines.extend_from_slice(value.as_bytes());
    }
    let dictionary: Dictionary = Parser::new(&lines).parse().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut control = AnswerControl::default();
    for (name, entry) in &dictionary {
        let ListEntry::Item(item) = entry else { return None };
        note(&mut control, name.as_str(), &item.bare_item)?;
    }
    Some(control)
}

/// None where the value is of a type that the directive does not have.
fn note(control: &mut AnswerControl, name: &str, value: &BareItem) -> Option<()> {
    match name {
        "max-age" => control.max_age = Some(seconds(value)?),
        "s-maxage" => control.s_maxage = Some(seconds(value)?),
        "stale-while-revalidate" => control.stale_while_revalidate = Some(seconds(value)?),
        "stale-if-error" => control.stale_if_error = Some(seconds(value)?),
        "no-store" => control.no_store = flag(value)?,
        "public" => control.public = flag(value)?,
        "must-revalidate" => control.must_revalidate = flag(value)?,
        "proxy-revalidate" => control.proxy_revalidate = flag(value)?,
        "must-understand" => control.must_understand = flag(value)?,
        "no-transform" => control.no_transform = flag(value)?,
        "immutable" => control.immutable = flag(value)?,
        "no-cache" => fields(&mut control.no_cache, value)?,
        "private" => fields(&mut control.private, value)?,
        _ => {}
    }
    Some(())
}

/// Less than nothing is nothing; more than can be told is the most.
fn seconds(value: &BareItem) -> Option<u32> {
    let BareItem::Integer(seconds) = value else { return None };
    let seconds = i64::from(*seconds).max(0);
    Some(u32::try_from(seconds).map_or(SECONDS_MAX, |seconds| seconds.min(SECONDS_MAX)))
}

fn flag(value: &BareItem) -> Option<bool> {
    let BareItem::Boolean(flag) = value else { return None };
    Some(*flag)
}

/// A directive that applies to the whole answer, or to the fields of a list.
fn fields(fields: &mut Fields, value: &BareItem) -> Option<()> {
    match value {
        BareItem::Boolean(true) => fields.add(None),
        BareItem::Boolean(false) => {}
        BareItem::String(list) => fields.add(Some(list.as_str())),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(lines: &[&str]) -> Option<AnswerControl> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(NAME, HeaderValue::from_str(line).unwrap());
        }
        super::read(&headers)
    }

    #[test]
    fn it_is_a_dictionary_over_all_lines() {
        let control = read(&["max-age=60, no-transform", "private=\"a, b\", ext=(1 2);x"]);
        assert_eq!(control, None, "an inner list is no directive");
        let control = read(&["max-age=60, no-transform", "private=\"a, b\", ext=tok"]).unwrap();
        assert_eq!((control.max_age, control.no_transform), (Some(60), true));
        let names = ["a", "b"].map(|name| HeaderName::try_from(name).unwrap());
        assert_eq!(control.private, Fields::Names(names.into_iter().collect()));
        assert_eq!(read(&["max-age=1, max-age=9"]).unwrap().max_age, Some(9), "the last counts");
        assert_eq!(read(&["max-age=99999999999"]).unwrap().max_age, Some(SECONDS_MAX));
        assert_eq!(read(&["max-age=-5"]).unwrap().max_age, Some(0));
        assert!(!read(&["no-store=?0"]).unwrap().no_store);
    }

    #[test]
    fn what_is_not_well_formed_counts_as_absent() {
        for line in [
            "",
            "max-age=10000, &&&&&",
            "max-age=\"10000\"",
            "max-age=1.5",
            "max-age",
            "no-store=1",
            "private=3",
            "Max-Age=5",
            "max-age =5",
            "max-age= 5",
        ] {
            assert_eq!(read(&[line]), None, "{line}");
        }
    }
}
