use proptest::prelude::*;

use super::*;

/// What is said of these bytes when they come at once.
fn at_once(bytes: &[u8]) -> (Result<(), Violation>, Phase) {
    let mut framing = Framing::default();
    let verdict = framing.push(bytes);
    (verdict, framing.phase())
}

/// What is said of them when they come in pieces of these lengths, again and again.
fn in_pieces(bytes: &[u8], lengths: &[usize]) -> (Result<(), Violation>, Phase) {
    let mut framing = Framing::default();
    let mut rest = bytes;
    let mut verdict = Ok(());
    for length in lengths.iter().cycle() {
        let (piece, behind) = rest.split_at((*length).clamp(1, rest.len().max(1)).min(rest.len()));
        verdict = verdict.and(framing.push(piece));
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    (verdict, framing.phase())
}

#[track_caller]
fn accepted(text: &str, phase: Phase) {
    assert_eq!(at_once(text.as_bytes()), (Ok(()), phase), "{text:?}");
    assert_eq!(in_pieces(text.as_bytes(), &[1]), (Ok(()), phase), "{text:?} byte by byte");
}

#[track_caller]
fn refused(text: impl AsRef<[u8]>, why: &str) {
    let text = text.as_ref();
    let shown = text.escape_ascii();
    let (verdict, phase) = at_once(text);
    let Err(violation) = verdict else { panic!("{shown}: accepted, then {phase:?}") };
    assert!(violation.0.contains(why), "{shown}: {violation:?}");
    assert_eq!(in_pieces(text, &[1]), (verdict, phase), "{shown} byte by byte");
}

/// A GET with these further lines.
fn with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// A POST with these further lines and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

#[test]
fn a_client_is_where_its_last_byte_was() {
    accepted("", Phase::Idle);
    accepted("\r", Phase::Idle);
    accepted("\r\n", Phase::Idle);
    accepted("\r\nG", Phase::Header);
    accepted("GET / HTTP/1.1\r\nHost: a\r\n\r", Phase::Header);
    accepted(&with(""), Phase::Idle);
    accepted(&post("Content-Length: 0\r\n", ""), Phase::Idle);
    accepted(&post("Content-Length: 3\r\n", ""), Phase::Body);
    accepted(&post("Content-Length: 3\r\n", "ab"), Phase::Body);
    accepted(&post("Content-Length: 3\r\n", "abc"), Phase::Idle);
    accepted(&post("Content-Length: 3\r\n", "abcG"), Phase::Header);
    accepted(&chunked(""), Phase::Body);
    accepted(&chunked("3\r\nabc\r\n"), Phase::Body);
    accepted(&chunked("3\r\nabc\r\n0\r\n"), Phase::Body);
    accepted(&chunked("3\r\nabc\r\n0\r\n\r"), Phase::Body);
    accepted(&chunked("3\r\nabc\r\n0\r\n\r\n"), Phase::Idle);
    accepted(&chunked("3\r\nabc\r\n0\r\nX-Sum: 1\r\n"), Phase::Body);
    accepted(&chunked("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"), Phase::Idle);
    accepted(&(with("") + &post("Content-Length: 1\r\n", "x") + "GET "), Phase::Header);
}

#[test]
fn a_tunnel_is_not_read_along() {
    let mut framing = Framing::default();
    framing.push(with("").as_bytes()).unwrap();
    framing.tunnel();
    assert_eq!(framing.phase(), Phase::Tunnel);
    assert_eq!(framing.push(b"\0\n\xff"), Ok(()));
    assert_eq!(framing.phase(), Phase::Tunnel);
}

#[test]
fn a_violation_stays() {
    let mut framing = Framing::default();
    let first = framing.push(b"GET  / HTTP/1.1\r\n").unwrap_err();
    assert_eq!(framing.push(with("").as_bytes()), Err(first));
    assert_eq!(framing.phase(), Phase::Header);
    let mut framing = Framing::default();
    framing.push(chunked("").as_bytes()).unwrap();
    framing.push(b"x").unwrap_err();
    assert_eq!(framing.phase(), Phase::Body);
}

#[test]
fn unusual_but_clear_requests_are_accepted() {
    for text in [
        "get / HTTP/1.1\r\nHost: a\r\n\r\n",
        "M-SEARCH / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTPS://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\"<>[]{}|^` HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        accepted(text, Phase::Idle);
    }
    for lines in [
        "X:\r\n",
        "X: \t \r\n",
        "X:1\r\n",
        "X: a\tb\r\n",
        "X: \u{e9}\r\n",
        "!#$%&'*+-.^_`|~09aZ: 1\r\n",
        "X: 1\r\nX: 1\r\n",
        "X-Content-Length: 1\r\n",
        "Content-Lengths: 1\r\n",
        "Expect: 100-continue\r\n",
        "Connection: keep-alive, te, x-content-length\r\n",
    ] {
        accepted(&with(lines), Phase::Idle);
    }
    accepted(&post("Content-Length:\t05 \r\n", "abcde"), Phase::Idle);
    accepted(&post("CONTENT-LENGTH: 9223372036854775807\r\n", ""), Phase::Body);
    accepted(&post("tRANSFER-eNCODING:  CHUNKED\t\r\n", "0\r\n\r\n"), Phase::Idle);
    for body in [
        "00\r\n\r\n",
        "0;a\r\n\r\n",
        "1;a=b;c=\"d e\"\r\nx\r\n0\r\n\r\n",
        "0000000000000001\r\nx\r\n0\r\n\r\n",
        "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        "0\r\nX-Sum:\r\nETag: \"e\"\r\n\r\n",
    ] {
        accepted(&chunked(body), Phase::Idle);
    }
    accepted(&chunked("7fffffffffffffff\r\n"), Phase::Body);
}

#[test]
fn request_lines_have_one_form() {
    for (line, why) in [
        ("GET", "not method, target and version"),
        ("GET /", "not method, target and version"),
        ("GET  / HTTP/1.1", "space too many"),
        ("GET /  HTTP/1.1", "space too many"),
        ("GET / HTTP/1.1 ", "space too many"),
        ("GET /a b HTTP/1.1", "space too many"),
        (" GET / HTTP/1.1", "space too many"),
        ("GET\t/ HTTP/1.1", "not method, target and version"),
        ("GET /\tHTTP/1.1", "not method, target and version"),
        (" / HTTP/1.1", "method"),
        ("G(T / HTTP/1.1", "method"),
        ("GET\u{e9} / HTTP/1.1", "method"),
        ("GET / http/1.1", "version"),
        ("GET / HTTP/1.2", "version"),
        ("GET / HTTP/2.0", "version"),
        ("GET / HTTP/0.9", "version"),
        ("GET / HTTP/1.1\t", "version"),
        ("GET / HTTP/1.10", "version"),
        ("GET / HTTP/11", "version"),
        ("PRI * HTTP/2.0", "version"),
        ("CONNECT a:1 HTTP/1.1", "CONNECT"),
        ("CONNECT / HTTP/1.1", "CONNECT"),
        ("GET * HTTP/1.1", "neither a path"),
        ("OPTIONS ** HTTP/1.1", "neither a path"),
        ("GET a HTTP/1.1", "neither a path"),
        ("GET a:80 HTTP/1.1", "neither a path"),
        ("GET ftp://a/ HTTP/1.1", "neither a path"),
        ("GET ?a HTTP/1.1", "neither a path"),
        ("GET /a#b HTTP/1.1", "no URI holds"),
        ("GET /\u{e9} HTTP/1.1", "no URI holds"),
        ("GET /a\tb HTTP/1.1", "no URI holds"),
    ] {
        refused(format!("{line}\r\nHost: a\r\n\r\n"), why);
    }
    refused("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "more than one empty line");
    refused("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "without a carriage return");
    refused("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "without a line feed");
}

#[test]
fn fields_have_one_form() {
    for (lines, why) in [
        ("X : 1\r\n", "before the colon"),
        ("X\t: 1\r\n", "before the colon"),
        ("X 1\r\n", "before the colon"),
        ("X\r\n", "no colon"),
        (": 1\r\n", "no name"),
        ("X(: 1\r\n", "not a token"),
        ("X\u{e9}: 1\r\n", "not a token"),
        ("X: 1\r\n 2\r\n", "folded"),
        ("X: 1\r\n\t2\r\n", "folded"),
        (" X: 1\r\n", "folded"),
        ("X: 1\0\r\n", "control"),
        ("X\0: 1\r\n", "control"),
        ("X: 1\x0b\r\n", "control"),
        ("X: 1\x7f\r\n", "control"),
        ("X: 1\r2\r\n", "without a line feed"),
        ("X: 1\r\r\n", "without a line feed"),
        ("Connection: host\r\n", "Connection names"),
        ("Connection: close, Content-Length\r\n", "Connection names"),
        ("Connection: close ,\tTransfer-Encoding , x\r\n", "Connection names"),
        ("X: 1\n", "without a carriage return"),
        ("\n", "without a carriage return"),
    ] {
        refused(with(lines), why);
    }
    refused("GET / HTTP/1.1\nHost: a\n\n", "without a carriage return");
    refused("GET / HTTP/1.1\r\nHost: a\r\n\n", "without a carriage return");
}

#[test]
fn lengths_are_read_in_one_way() {
    for (lines, why) in [
        ("Content-Length:\r\n", "not a number"),
        ("Content-Length: +1\r\n", "not a number"),
        ("Content-Length: -1\r\n", "not a number"),
        ("Content-Length: 1 1\r\n", "not a number"),
        ("Content-Length: 0x1\r\n", "not a number"),
        ("Content-Length: 1.0\r\n", "not a number"),
        ("Content-Length: 1e1\r\n", "not a number"),
        ("Content-Length: \u{b2}\r\n", "not a number"),
        ("Content-Length: 5, 5\r\n", "list"),
        ("Content-Length: 5,\r\n", "list"),
        ("Content-Length: 9223372036854775808\r\n", "larger than any"),
        ("Content-Length: 18446744073709551617\r\n", "larger than any"),
        ("Content-Length: 00000000000000000001\r\n", "larger than any"),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", "more than once"),
        ("Content-Length: 1\r\ncontent-length: 2\r\n", "more than once"),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "exclude"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", "exclude"),
        ("Content_Length: 1\r\n", "written with `_`"),
        ("Transfer_Encoding: chunked\r\n", "written with `_`"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "more than once"),
    ] {
        refused(post(lines, ""), why);
    }
    for value in [
        "",
        "identity",
        "xchunked",
        "chunkedx",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked;q=1",
        "chunked,",
        ",chunked",
        "\"chunked\"",
        "c hunked",
    ] {
        refused(post(&format!("Transfer-Encoding: {value}\r\n"), ""), "exactly `chunked`");
    }
    refused(post("Transfer-Encoding: \x0bchunked\r\n", ""), "control");
    refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0");
}

#[test]
fn chunks_have_one_form() {
    for (body, why) in [
        ("\r\n", "no size"),
        (";a\r\n", "no size"),
        ("+1\r\n", "hexadecimal"),
        ("-1\r\n", "hexadecimal"),
        ("0x1\r\n", "hexadecimal"),
        ("g\r\n", "hexadecimal"),
        (" 1\r\n", "hexadecimal"),
        ("1 \r\n", "hexadecimal"),
        ("1 ;a\r\n", "hexadecimal"),
        ("1,\r\n", "hexadecimal"),
        ("1\0\r\n", "hexadecimal"),
        ("8000000000000000\r\n", "larger than any"),
        ("00000000000000001\r\n", "larger than any"),
        ("1\nx\r\n", "without a carriage return"),
        ("1;a\nx\r\n", "without a carriage return"),
        ("1\rx", "without a line feed"),
        ("1;a\rx", "without a line feed"),
        ("1;a\0\r\n", "control"),
        ("1;\x7f\r\n", "control"),
        ("1\r\nxy\r\n", "line break is missing"),
        ("1\r\nx\n", "line break is missing"),
        ("1\r\nx\rx", "line break is missing"),
        ("1\r\nx0\r\n\r\n", "line break is missing"),
        ("0\r\n\n", "without a carriage return"),
        ("0\r\nX: 1\n", "without a carriage return"),
        ("0\r\nX : 1\r\n", "before the colon"),
        ("0\r\nX: 1\r\n 2\r\n", "folded"),
        ("0\r\nX: \0\r\n", "control"),
        ("0\r\nContent-Length: 1\r\n", "trailer"),
        ("0\r\ntransfer-encoding: chunked\r\n", "trailer"),
        ("0\r\nHost: b\r\n", "trailer"),
        ("0\r\nAuthorization: x\r\n", "trailer"),
        ("0\r\nGET / HTTP/1.1\r\n", "before the colon"),
    ] {
        refused(chunked(body), why);
    }
}

#[test]
fn each_bound_is_met_exactly() {
    let size_line = |extension: usize| chunked(&format!("0;{}\r\n\r\n", "a".repeat(extension)));
    accepted(&size_line(252), Phase::Idle);
    refused(size_line(253), "too long");

    let trailers = |bytes: usize| chunked(&format!("0\r\nX:{}\r\n\r\n", "a".repeat(bytes - 6)));
    accepted(&trailers(8 * 1024), Phase::Idle);
    refused(trailers(8 * 1024 + 1), "larger than any");

    let rest = with("X:\r\n").len();
    let header = |bytes: usize| with(&format!("X:{}\r\n", "a".repeat(bytes - rest)));
    accepted(&header(HEADER_BYTES_MAX), Phase::Idle);
    refused(header(HEADER_BYTES_MAX + 1), "larger than any");
    refused(&header(HEADER_BYTES_MAX + 2).as_bytes()[..=HEADER_BYTES_MAX], "larger than any");
}

#[test]
fn it_is_small_and_holds_nothing_while_idle() {
    assert!(size_of::<Framing>() <= 32, "{} bytes", size_of::<Framing>());
    let mut framing = Framing::default();
    for byte in chunked("1\r\nx\r\n0\r\nX: 1\r\n\r\n").bytes() {
        framing.push(&[byte]).unwrap();
    }
    assert!(matches!(framing.state, State::Idle));
}

/// Pieces of requests that make whole ones, broken ones and everything between.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /a?b HTTP/1.1\r\n",
        b"POST / HTTP/1.0\r\n",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
        b"\r\n",
        b"hello",
        b"5\r\nhello\r\n",
        b"a;x=y\r\n0123456789\r\n",
        b"0\r\n",
        b"0\r\n\r\n",
        b"X-Sum: 1\r\n",
        b"\r",
        b"\n",
        b"\0",
        b" ",
        b"\t",
        b"\xff",
        b"0",
    ];
    prop_oneof![8 => proptest::sample::select(texts).prop_map(<[u8]>::to_vec),
                1 => proptest::collection::vec(any::<u8>(), 1..4)]
}

/// A whole request, so that generated streams come far.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let whole = vec![
        with(""),
        with("X: 1\r\n"),
        post("Content-Length: 5\r\n", "hello"),
        chunked("5\r\nhello\r\n0\r\n\r\n"),
        chunked("5;x\r\nhello\r\n0\r\nX: 1\r\n\r\n"),
        format!("\r\n{}", with("")),
    ];
    proptest::sample::select(whole).prop_map(String::into_bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// What is said does not depend on the pieces in which the bytes come.
    #[test]
    fn pieces_make_no_difference(
        parts in proptest::collection::vec(prop_oneof![request(), piece()], 1..12),
        lengths in proptest::collection::vec(1..40_usize, 1..8),
    ) {
        let bytes = parts.concat();
        let expected = at_once(&bytes);
        prop_assert_eq!(in_pieces(&bytes, &[1]), expected);
        prop_assert_eq!(in_pieces(&bytes, &lengths), expected);
    }

    /// Any two requests that are clean alone are clean one behind the other.
    #[test]
    fn clean_requests_stay_clean_in_a_row(
        requests in proptest::collection::vec(request(), 1..8),
    ) {
        prop_assert_eq!(at_once(&requests.concat()), (Ok(()), Phase::Idle));
    }
}
