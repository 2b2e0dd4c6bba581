//! What a confirmation (304) changes in a kept answer (RFC 9111 sections 3.2 and 4.3.4).

use http::{HeaderMap, HeaderName, header};

/// Replaces fields of `kept` by those that `confirmation` has: all but those that describe the
/// body that is kept, and those that concern one connection.
pub(in crate::cache) fn merge(kept: &mut HeaderMap, confirmation: &HeaderMap) {
    let listed = listed(confirmation);
    for name in confirmation.keys() {
        // `Age` goes in for the sum of ages, and out again with what is not kept.
        let of_one_hop = OF_ONE_HOP.contains(name) && *name != header::AGE;
        if NOT_RENEWED.contains(name) || of_one_hop || listed.contains(name) {
            continue;
        }
        kept.remove(name);
        for value in confirmation.get_all(name) {
            kept.append(name.clone(), value.clone());
        }
    }
}

/// Takes out what concerned one connection (section 3.1), and `Age`, which every use counts anew.
pub(in crate::cache) fn end_hop(kept: &mut HeaderMap) {
    for name in listed(kept).iter().chain(&OF_ONE_HOP) {
        kept.remove(name);
    }
}

/// The names in `Connection`.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect()
}

/// Fields that say how the body is written, which may have been done here. `Vary` stays as well:
/// which requests the answer suits was settled when it was kept. Cookies are for one client.
static NOT_RENEWED: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::VARY,
    header::SET_COOKIE,
];

static OF_ONE_HOP: [HeaderName; 10] = [
    header::AGE,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::headers;

    #[test]
    fn a_confirmation_replaces_what_it_names_and_leaves_the_rest() {
        let mut kept = headers(&[
            ("content-type", "text/plain"),
            ("content-length", "5"),
            ("cache-control", "max-age=1"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-b", "old"),
            ("vary", "accept"),
        ]);
        let confirmation = headers(&[
            ("content-type", "text/html"),
            ("content-length", "0"),
            ("cache-control", "max-age=9"),
            ("x-a", "3"),
            ("x-c", "new"),
            ("vary", "cookie"),
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("age", "7"),
            ("set-cookie", "a=b"),
        ]);
        merge(&mut kept, &confirmation);
        let expected = headers(&[
            ("content-type", "text/html"),
            ("content-length", "5"),
            ("cache-control", "max-age=9"),
            ("x-a", "3"),
            ("x-b", "old"),
            ("x-c", "new"),
            ("age", "7"),
            ("vary", "accept"),
        ]);
        assert_eq!(kept, expected);
    }

    #[test]
    fn what_concerns_a_connection_is_not_kept() {
        let mut kept = headers(&[
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("age", "1"),
            ("transfer-encoding", "chunked"),
            ("etag", "\"a\""),
        ]);
        end_hop(&mut kept);
        assert_eq!(kept, headers(&[("etag", "\"a\"")]));
    }
}
