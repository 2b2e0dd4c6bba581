//! Which coding a client likes best, of those that a route offers (RFC 9110 section 12.5.3).

use http::{HeaderMap, header};

use super::header::says_no_transform;
use crate::edge::weighted::members;
use crate::model::Coding;

/// The coding that a client likes best of `offered`; the first of several that it likes equally.
/// None where it likes none, or none of them as much as the plain answer, or wants no answer
/// changed (`Cache-Control: no-transform`). What cannot be read is not accepted.
pub(super) fn negotiate(offered: &[Coding], request: &HeaderMap) -> Option<Coding> {
    let wishes = Wishes::read(request)?;
    if says_no_transform(request) {
        return None;
    }
    let mut best = None;
    // Less than 1 is no preference: it is refused.
    let mut quality = 0;
    for coding in offered {
        let liked = wishes.quality(*coding);
        if liked > quality {
            (best, quality) = (Some(*coding), liked);
        }
    }
    best.filter(|_| wishes.identity.is_none_or(|plain| plain <= quality))
}

/// Qualities in thousandths, where the client gave one.
#[derive(Default)]
struct Wishes {
    named: [Option<u16>; 3],
    any: Option<u16>,
    identity: Option<u16>,
}

impl Wishes {
    /// None where the client says nothing: then plain answers are the safe ones.
    fn read(request: &HeaderMap) -> Option<Self> {
        let mut wishes = None;
        for (name, quality) in members(request, &header::ACCEPT_ENCODING) {
            let wishes = wishes.get_or_insert_with(Self::default);
            let Some(place) = wishes.place(name) else { continue };
            // Of two that contradict each other, the one that refuses more.
            *place = Some(place.map_or(quality, |other| other.min(quality)));
        }
        wishes
    }

    fn place(&mut self, name: &str) -> Option<&mut Option<u16>> {
        let [brotli, zstd, gzip] = &mut self.named;
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        Some(match name {
            "*" => &mut self.any,
            _ if is("gzip") || is("x-gzip") => gzip,
            _ if is("br") => brotli,
            _ if is("zstd") => zstd,
            _ if is("identity") => &mut self.identity,
            _ => return None,
        })
    }

    fn quality(&self, coding: Coding) -> u16 {
        let [brotli, zstd, gzip] = self.named;
        let named = match coding {
            Coding::Br => brotli,
            Coding::Zstd => zstd,
            Coding::Gzip => gzip,
        };
        named.or(self.any).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::edge::weighted::MAX_MEMBERS;

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];

    fn chosen(offered: &[Coding], fields: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_str(field).unwrap());
        }
        negotiate(offered, &headers).map(Coding::token)
    }

    #[test]
    fn the_best_liked_coding_is_chosen() {
        for (field, expected) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, deflate, br", Some("br")),
            ("gzip", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("br;q=0.5, gzip;q=0.9", Some("gzip")),
            ("zstd;q=0.5, br;q=0.5, gzip;q=0.501", Some("gzip")),
            ("zstd ; Q=0.5 , br ; q = 1.0", Some("br")),
            ("*", Some("zstd")),
            ("*;q=0.1", Some("zstd")),
            ("zstd;q=0, *", Some("br")),
            ("zstd;q=0.000, br;q=0., *;q=1.000", Some("gzip")),
            ("gzip;q=0.2, *;q=0.1", Some("gzip")),
            ("gzip, *;q=0", Some("gzip")),
            ("gzip;q=0.001", Some("gzip")),
            ("gzip;level=9;q=0.5", Some("gzip")),
            // Refusing the plain answer forces nothing that is not accepted.
            ("identity;q=0, gzip", Some("gzip")),
            ("gzip, identity", Some("gzip")),
            ("gzip;q=0.5, identity;q=0.5", Some("gzip")),
        ] {
            assert_eq!(chosen(&ALL, &[field]), expected, "{field}");
        }
        assert_eq!(chosen(&[Coding::Gzip, Coding::Br], &["br, gzip, zstd"]), Some("gzip"));
        assert_eq!(chosen(&ALL, &["gzip;q=0.1", "br;q=0.3"]), Some("br"), "fields are one list");
    }

    #[test]
    fn else_the_answer_stays_plain() {
        for field in [
            "",
            "identity",
            "deflate",
            "compress, dcb, dcz, exi",
            "gzip;q=0",
            "gzip;q=0, identity;q=0",
            "*;q=0",
            "identity;q=1, *;q=0",
            "gzip;q=0.5, identity",
            "gzip;q=0.5, identity;q=0.501",
            "gzip, gzip;q=0",
            // What cannot be read is not accepted.
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;q=0.1234",
            "gzip;q=-1",
            "gzip;q=",
            "gzip;q",
            "gzip;q=nan",
            "g zip",
            ";q=1",
            "\"gzip\"",
        ] {
            assert_eq!(chosen(&ALL, &[field]), None, "{field}");
        }
        assert_eq!(chosen(&ALL, &[]), None, "no wish at all");
        assert_eq!(chosen(&[Coding::Br], &["gzip"]), None);
    }

    #[test]
    fn a_member_that_cannot_be_read_spoils_no_other() {
        assert_eq!(chosen(&ALL, &["br;q=7, ,gzip"]), Some("gzip"));
        let long = |count: usize| format!("{}gzip", "x,".repeat(count));
        assert_eq!(chosen(&ALL, &[&long(MAX_MEMBERS - 1)]), Some("gzip"));
        assert_eq!(chosen(&ALL, &[&long(MAX_MEMBERS)]), None, "more is not read");
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT_ENCODING, HeaderValue::from_bytes(b"gzip\xff").unwrap());
        assert_eq!(negotiate(&ALL, &headers), None);
    }

    #[test]
    fn a_client_may_want_nothing_changed() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=5,No-Transform"));
        assert_eq!(negotiate(&ALL, &headers), None);
    }
}
