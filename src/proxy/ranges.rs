//! Parts of kept answers (RFC 9110 section 14), where Pingora's reading is not the standard's.

use http::{HeaderValue, Method, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_proxy::{RangeType, range_header_filter};

/// Which parts of an answer a request gets; turns the answer's header into that of its parts.
pub(super) fn cut(request: &RequestHeader, response: &mut ResponseHeader) -> RangeType {
    let Some(range) = request.headers.get(header::RANGE) else { return RangeType::None };
    // Section 14.2: only GET knows ranges. Section 13.1.5: a weak validator never matches.
    let is_weak = |value: &HeaderValue| value.as_bytes().starts_with(b"W/");
    if request.method != Method::GET
        || request.headers.get(header::IF_RANGE).is_some_and(is_weak)
        || response.headers.get(header::ETAG).is_some_and(is_weak)
            && request.headers.contains_key(header::IF_RANGE)
    {
        return RangeType::None;
    }
    if !is_nothing(range) {
        return range_header_filter(request, response, Some(RANGES_MAX));
    }
    // The last no bytes are none that could be sent (section 14.1.2).
    let mut unsatisfiable = request.clone();
    match unsatisfiable.insert_header(header::RANGE, BEYOND) {
        Ok(()) => range_header_filter(&unsatisfiable, response, Some(RANGES_MAX)),
        Err(_) => RangeType::None,
    }
}

/// Whether a range is `-0`.
fn is_nothing(range: &HeaderValue) -> bool {
    let suffix = range.as_bytes().strip_prefix(b"bytes=").map(<[u8]>::trim_ascii);
    let digits = suffix.and_then(|suffix| suffix.strip_prefix(b"-"));
    digits.is_some_and(|digits| !digits.is_empty() && digits.iter().all(|digit| *digit == b'0'))
}

/// Most ranges of one request that are looked at: each costs a part of the answer.
const RANGES_MAX: usize = 16;

/// A range that no answer has.
const BEYOND: HeaderValue = HeaderValue::from_static("bytes=9223372036854775806-");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_no_bytes_are_recognised() {
        let is_nothing = |text: &str| is_nothing(&HeaderValue::from_str(text).unwrap());
        assert!(is_nothing("bytes=-0") && is_nothing("bytes= -000 "));
        assert!(!is_nothing("bytes=-") && !is_nothing("bytes=-1") && !is_nothing("bytes=0-0"));
        assert!(!is_nothing("bytes=-0,0-1"), "another one of the list can be sent");
    }
}
