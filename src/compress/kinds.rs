//! Which content types are worth compressing, and which never are.

/// A content type, or all of a kind (`text/*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    family: Box<str>,
    /// None for `*`.
    member: Option<Box<str>>,
}

/// Why content of a type is never compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Never {
    /// It is compressed already.
    Dense,
    /// It is read while it is written.
    Flowing,
}

impl Kind {
    /// Reads `type/subtype` or `type/*`; none where it is neither.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (family, member) = text.split_once('/')?;
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_token);
        let any = member == "*";
        if !is_word(family) || !(any || is_word(member)) || family.contains('*') {
            return None;
        }
        if !any && member.contains('*') {
            return None;
        }
        Some(Self { family: family.into(), member: (!any).then(|| member.into()) })
    }

    fn takes(&self, family: &str, member: &str) -> bool {
        self.family.eq_ignore_ascii_case(family)
            && self.member.as_ref().is_none_or(|own| own.eq_ignore_ascii_case(member))
    }
}

/// A character of a token (RFC 9110 section 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// Whether content of this type, as `Content-Type` names it, is compressed.
pub(super) fn suits(kinds: &[Kind], content_type: &str) -> bool {
    let Some((family, member)) = essence(content_type) else { return false };
    kinds.iter().any(|kind| kind.takes(family, member)) && never(family, member).is_none()
}

/// Why content of this type is never compressed, if so.
pub(super) fn why_never(content_type: &str) -> Option<Never> {
    let (family, member) = essence(content_type)?;
    never(family, member)
}

/// Type and subtype, without parameters.
fn essence(content_type: &str) -> Option<(&str, &str)> {
    let (family, member) = content_type.split(';').next()?.split_once('/')?;
    Some((family.trim(), member.trim()))
}

fn never(family: &str, member: &str) -> Option<Never> {
    let is = |word: &str| member.eq_ignore_ascii_case(word);
    let begins = |start: &str| {
        member.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    if family.eq_ignore_ascii_case("text") {
        return is("event-stream").then_some(Never::Flowing);
    }
    if family.eq_ignore_ascii_case("application") && begins("grpc") {
        return Some(Never::Flowing);
    }
    if family.eq_ignore_ascii_case("multipart") {
        // Parts of an answer (`byteranges`), or pictures that replace each other.
        return Some(Never::Flowing);
    }
    let dense = if family.eq_ignore_ascii_case("application") {
        DENSE.iter().any(|word| is(word))
            || DENSE_STARTS.iter().any(|start| begins(start))
            || member.rsplit_once('+').is_some_and(|(_, form)| {
                DENSE_FORMS.iter().any(|dense| form.eq_ignore_ascii_case(dense))
            })
    } else if family.eq_ignore_ascii_case("image") {
        !PLAIN_IMAGES.iter().any(|word| is(word))
    } else if family.eq_ignore_ascii_case("font") {
        is("woff") || is("woff2")
    } else if family.eq_ignore_ascii_case("audio") {
        !(is("wav") || is("x-wav") || is("midi"))
    } else {
        family.eq_ignore_ascii_case("video")
    };
    dense.then_some(Never::Dense)
}

const DENSE: [&str; 18] = [
    "zip",
    "gzip",
    "x-gzip",
    "zstd",
    "zlib",
    "brotli",
    "x-brotli",
    "x-bzip",
    "x-bzip2",
    "x-xz",
    "x-7z-compressed",
    "x-rar-compressed",
    "vnd.rar",
    "java-archive",
    "x-zip-compressed",
    "x-compress",
    "font-woff",
    "font-woff2",
];
/// Office documents are archives.
const DENSE_STARTS: [&str; 2] = ["vnd.openxmlformats-", "vnd.oasis.opendocument."];
const DENSE_FORMS: [&str; 3] = ["zip", "gzip", "zstd"];
const PLAIN_IMAGES: [&str; 6] =
    ["svg+xml", "bmp", "x-ms-bmp", "x-icon", "vnd.microsoft.icon", "x-portable-pixmap"];

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(list: &[&str]) -> Vec<Kind> {
        list.iter().map(|text| Kind::parse(text).unwrap()).collect()
    }

    #[test]
    fn types_and_all_of_a_kind() {
        let list = kinds(&["text/*", "application/json", "Image/SVG+xml"]);
        for (content_type, expected) in [
            ("text/html", true),
            ("TEXT/Plain; charset=utf-8", true),
            ("application/json", true),
            ("application/JSON ;charset=utf-8", true),
            ("image/svg+xml", true),
            ("application/json5", false),
            ("application/ld+json", false),
            ("application/xml", false),
            ("texts/html", false),
            ("text", false),
            ("", false),
            ("text/event-stream", false),
            ("Text/Event-Stream;x=y", false),
        ] {
            assert_eq!(suits(&list, content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn what_is_dense_or_flows_is_left_alone_whatever_the_list_says() {
        let list = kinds(&["application/*", "image/*", "video/*", "audio/*", "font/*"]);
        for (content_type, expected) in [
            ("application/octet-stream", true),
            ("application/pdf", true),
            ("application/grpc", false),
            ("application/grpc-web+proto", false),
            ("application/ZIP", false),
            ("application/epub+zip", false),
            ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", false),
            ("image/png", false),
            ("image/jpeg", false),
            ("image/avif", false),
            ("image/bmp", true),
            ("video/mp4", false),
            ("audio/mpeg", false),
            ("audio/wav", true),
            ("font/woff2", false),
            ("font/ttf", true),
        ] {
            assert_eq!(suits(&list, content_type), expected, "{content_type}");
        }
        assert!(!suits(&kinds(&["multipart/*"]), "multipart/byteranges; boundary=x"));
    }

    #[test]
    fn patterns_have_one_form() {
        for text in ["text/*", "a/b", "application/vnd.api+json"] {
            assert!(Kind::parse(text).is_some(), "{text}");
        }
        for text in [
            "", "text", "text/", "/html", "*/*", "*/json", "text/ht*", "te xt/a", "a/b/c",
            "a/b;q=1",
        ] {
            assert_eq!(Kind::parse(text), None, "{text}");
        }
    }
}
