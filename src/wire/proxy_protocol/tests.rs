use super::*;

/// What is read of these bytes, and what is left of them.
async fn take(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
    let mut input = bytes;
    let outcome = read(&mut input).await;
    (outcome, input.to_vec())
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x1f, 0x90, 0, 80];

fn v6() -> [u8; 36] {
    let mut addresses = [0; 36];
    addresses[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    addresses[16..32].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    addresses[32..].copy_from_slice(&[0x1f, 0x90, 0, 80]);
    addresses
}

#[tokio::test]
async fn headers_tell_the_client_and_leave_what_follows() {
    let with_extension = [&V4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_MAX - 16));
    assert_eq!(longest.len(), LINE_MAX);
    let cases: Vec<(Vec<u8>, Option<&str>)> = vec![
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 8080 80\r\n".into(), Some("192.0.2.7:8080")),
        (b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n".into(), Some("255.255.255.255:65535")),
        (b"PROXY TCP6 2001:db8::7 ::1 8080 80\r\n".into(), Some("[2001:db8::7]:8080")),
        (b"PROXY UNKNOWN\r\n".into(), None),
        (longest.into(), None),
        (v2(0x21, 0x11, &V4), Some("192.0.2.7:8080")),
        (v2(0x21, 0x11, &with_extension), Some("192.0.2.7:8080")),
        (v2(0x21, 0x21, &v6()), Some("[2001:db8::7]:8080")),
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &V4), None),
        (v2(0x20, 0xff, &[1, 2]), None),
        (v2(0x21, 0x00, &[]), None),
        (v2(0x21, 0x12, &V4), None),
        (v2(0x21, 0x31, &[0; 216]), None),
        (
            v2(0x21, 0x11, &[&V4[..], &vec![0; usize::from(REST_MAX) - 12]].concat()),
            Some("192.0.2.7:8080"),
        ),
    ];
    for (header, client) in cases {
        let shown = header.escape_ascii().to_string();
        let client = client.map(|text| text.parse().unwrap());
        let (outcome, rest) = take(&[&header[..], b"GET /"].concat()).await;
        assert_eq!(outcome.unwrap(), client, "{shown}");
        assert_eq!(rest, b"GET /", "{shown}");
        // Every header that ends early is one that the rest could still come of.
        for end in 0..header.len() {
            let (outcome, _) = take(&header[..end]).await;
            let kind = outcome.unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::UnexpectedEof, "{end} of {shown}");
        }
    }
}

#[tokio::test]
async fn anything_else_is_refused() {
    let cases: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".into(),
        b"POST / HTTP/1.1\r\n\r\n".into(),
        b"PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n".into(),
        b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n".into(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".into(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n".into(),
        b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n".into(),
        b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n".into(),
        b"PROXY TCP4 ::1 1.2.3.4 1 2\r\n".into(),
        b"PROXY TCP6 ::1 1.2.3.4 1 2\r\n".into(),
        b"PROXY TCP4 1.2.3.4 1.2.3.04 1 2\r\n".into(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n".into(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n".into(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n".into(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n".into(),
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n".into(),
        b"PROXY UNKNOWNS\r\n".into(),
        b"PROXY \xff\r\n".into(),
        [b"PROXY UNKNOWN ".as_slice(), &[b'x'; LINE_MAX]].concat(),
        b"\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0c............".into(),
        b"\r\nGET / HTTP/1.1\r\n\r\n".into(),
        v2(0x31, 0x11, &V4),
        v2(0x22, 0x11, &V4),
        v2(0x21, 0x13, &V4),
        v2(0x21, 0x11, &V4[..11]),
        v2(0x21, 0x21, &v6()[..35]),
        v2(0x21, 0x11, &vec![0; usize::from(REST_MAX) + 1]),
    ];
    for header in cases {
        let (outcome, _) = take(&header).await;
        let kind = outcome.unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::InvalidData, "{}", header.escape_ascii());
    }
}
