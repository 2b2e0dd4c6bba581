//! Which answers are compressed, and what their headers say then.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::Result;
use pingora::http::ResponseHeader;

use super::{CompressionPolicy, tag};
use crate::model::Coding;

/// What is done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is passed on as it is, to everybody.
    Leave,
    /// It is passed on as it is; for others it would have been another one.
    Vary,
    /// It is compressed; with its length in bytes, where that is known.
    Code(Coding, Option<u64>),
}

impl CompressionPolicy {
    /// What is done with an answer, for a client who gets `wanted`.
    ///
    /// Left alone is what has no content or only a part of it, what is coded or too short, what
    /// may not be changed (RFC 9110 section 7.7), and what ends with trailers, for which nobody
    /// looks behind compressed content.
    #[must_use]
    pub fn judge(&self, status: StatusCode, answer: &HeaderMap, wanted: Option<Coding>) -> Verdict {
        if !has_whole_content(status) || answer.contains_key(header::CONTENT_RANGE) {
            return Verdict::Leave;
        }
        if is_coded(answer) {
            // The service's work, for what it was asked: see the module's comment.
            return Verdict::Vary;
        }
        if answer.contains_key(header::TRAILER) || says_no_transform(answer) {
            return Verdict::Leave;
        }
        let content_type = answer.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|content_type| self.suits(content_type)) {
            return Verdict::Leave;
        }
        let length = length(answer);
        if length.is_some_and(|length| length == 0 || length < self.min_bytes) {
            return Verdict::Leave;
        }
        wanted.map_or(Verdict::Vary, |coding| Verdict::Code(coding, length))
    }
}

/// Makes the header that of the compressed answer: the coding, no length (nobody knows it yet), no
/// ranges, an entity tag of its own, no digests of what it was before (RFC 9530 section 2).
///
/// # Errors
/// None that a header as Pingora reads it would give.
pub fn label(response: &mut ResponseHeader, coding: Coding) -> Result<()> {
    vary_by_coding(response)?;
    response.insert_header(header::CONTENT_ENCODING, coding.token())?;
    take_out_outdated(response);
    match response.headers.get(header::ETAG).map(|given| tag::coded(given, coding)) {
        None | Some(tag::Coded::Same) => {}
        Some(tag::Coded::Other(value)) => response.insert_header(header::ETAG, value)?,
        Some(tag::Coded::None) => {
            response.remove_header(&header::ETAG);
        }
    }
    Ok(())
}

/// Takes out what the service says of the plain answer and is not true of the compressed one.
pub fn take_out_outdated(response: &mut ResponseHeader) {
    for name in &OUTDATED {
        response.remove_header(name);
    }
}

/// Adds `Accept-Encoding` to `Vary`, unless that says so already.
///
/// # Errors
/// None that a header as Pingora reads it would give.
pub fn vary_by_coding(response: &mut ResponseHeader) -> Result<()> {
    let named = response
        .headers
        .get_all(header::VARY)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding")
        });
    if !named {
        response.append_header(header::VARY, ACCEPT_ENCODING)?;
    }
    Ok(())
}

const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");

/// What says something of the plain answer that is not true of the compressed one.
static OUTDATED: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Whether an answer with this status has content, and all of it.
fn has_whole_content(status: StatusCode) -> bool {
    !status.is_informational() && !matches!(status.as_u16(), 204 | 205 | 206 | 304)
}

/// Whether the content is coded; `identity` has no place there and means that it is not.
fn is_coded(answer: &HeaderMap) -> bool {
    answer
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// Whether a request or an answer forbids to change the content. A `no-transform` inside of a
/// quoted text counts too: that costs bytes only.
pub(super) fn says_no_transform(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// The length of the content; none where it is not said in a way that can be relied on.
fn length(answer: &HeaderMap) -> Option<u64> {
    if answer.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    answer.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Compression, Problems};

    const JSON: (&str, &str) = ("content-type", "application/json");

    fn answer(status: u16, fields: &[(&str, &str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            response.append_header((*name).to_owned(), *value).unwrap();
        }
        response
    }

    fn judged(status: u16, fields: &[(&str, &str)], wanted: Option<Coding>) -> Verdict {
        let model = Compression::default();
        let policy = CompressionPolicy::compile(&model, "p", &mut Problems::default()).unwrap();
        let response = answer(status, fields);
        policy.judge(response.status, &response.headers, wanted)
    }

    #[test]
    fn what_is_worth_it_is_compressed() {
        let wanted = Some(Coding::Br);
        for (status, fields, length) in [
            (200, &[JSON, ("content-length", "1024")][..], Some(1024)),
            (200, &[JSON], None),
            (200, &[JSON, ("transfer-encoding", "chunked")], None),
            (404, &[JSON, ("content-length", "9999")], Some(9999)),
            (500, &[("content-type", "text/html; charset=utf-8")], None),
            (200, &[JSON, ("content-encoding", "identity")], None),
            (200, &[JSON, ("cache-control", "no-store, private")], None),
        ] {
            assert_eq!(judged(status, fields, wanted), Verdict::Code(Coding::Br, length));
            assert_eq!(judged(status, fields, None), Verdict::Vary, "{fields:?}");
        }
    }

    #[test]
    fn all_else_is_left_alone() {
        for (status, fields) in [
            (101, &[JSON][..]),
            (204, &[JSON]),
            (205, &[JSON]),
            (206, &[JSON, ("content-range", "bytes 0-1/2")]),
            (304, &[JSON]),
            (416, &[JSON, ("content-range", "bytes */2")]),
            (200, &[]),
            (200, &[("content-type", "image/png")]),
            (200, &[("content-type", "text/event-stream")]),
            (200, &[("content-type", "application/grpc")]),
            (200, &[JSON, ("content-length", "1023")]),
            (200, &[JSON, ("content-length", "0")]),
            (200, &[JSON, ("cache-control", "max-age=5, no-transform")]),
            (200, &[JSON, ("cache-control", "max-age=5"), ("cache-control", "NO-TRANSFORM")]),
            (200, &[JSON, ("trailer", "x-checksum")]),
        ] {
            for wanted in [None, Some(Coding::Gzip)] {
                assert_eq!(judged(status, fields, wanted), Verdict::Leave, "{status} {fields:?}");
            }
        }
    }

    #[test]
    fn nothing_is_coded_twice() {
        for coding in ["gzip", "GZIP", "br", "identity, gzip", "unknown"] {
            let fields = [("content-type", "text/css"), ("content-encoding", coding)];
            assert_eq!(judged(200, &fields, Some(Coding::Gzip)), Verdict::Vary, "{coding}");
        }
    }

    #[test]
    fn the_header_tells_of_the_compressed_answer() {
        let mut response = answer(
            200,
            &[
                JSON,
                ("content-length", "5000"),
                ("accept-ranges", "bytes"),
                ("content-digest", "sha-256=:x:"),
                ("repr-digest", "sha-256=:x:"),
                ("digest", "sha-256=x"),
                ("content-md5", "x"),
                ("last-modified", "Fri, 07 Jul 2023 22:03:25 GMT"),
                ("etag", "\"v1\""),
                ("vary", "Origin"),
            ],
        );
        label(&mut response, Coding::Zstd).unwrap();
        let mut left: Vec<(&str, &str)> = response
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                ("content-encoding", "zstd"),
                JSON,
                ("etag", "W/\"v1--zstd\""),
                ("last-modified", "Fri, 07 Jul 2023 22:03:25 GMT"),
                ("vary", "Accept-Encoding"),
                ("vary", "Origin"),
            ]
        );
    }

    #[test]
    fn tags_that_say_little_stay_and_those_that_are_none_go() {
        for (given, expected) in [("W/\"v1\"", Some("W/\"v1\"")), ("v1", None)] {
            let mut response = answer(200, &[("etag", given)]);
            label(&mut response, Coding::Gzip).unwrap();
            let tag = response.headers.get("etag").map(|tag| tag.to_str().unwrap());
            assert_eq!(tag, expected);
        }
    }

    #[test]
    fn vary_is_added_once() {
        for (given, added) in [
            (&["Origin, ACCEPT-encoding"][..], false),
            (&["*"], false),
            (&["Origin", "accept-encoding"], false),
            (&["Origin"], true),
            (&["X-Accept-Encoding"], true),
            (&[], true),
        ] {
            let fields: Vec<_> = given.iter().map(|value| ("vary", *value)).collect();
            let mut response = answer(200, &fields);
            vary_by_coding(&mut response).unwrap();
            let count = response.headers.get_all("vary").iter().count();
            assert_eq!(count, given.len() + usize::from(added), "{given:?}");
        }
    }
}
