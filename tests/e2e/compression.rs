//! Compression: what clients get, what services are asked, what is kept.

use std::fmt::Write as _;
use std::io::Read;

use tidegate_kit::{
    Context as _, Error, Gateway, Http2Client, ManualOrigin, Origin, Outcome, Request, Response,
    Result, Speaks, Step, WireOrigin, wait,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{api, gateway, open_route};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];
const ON: &str = "compression: {}";

/// An origin behind a public route with these policies.
async fn scripted(policies: &str) -> Result<(Origin, Gateway)> {
    speaking(Speaks::Http1, policies).await
}

async fn speaking(speaks: Speaks, policies: &str) -> Result<(Origin, Gateway)> {
    let protocol = if matches!(speaks, Speaks::Http2) { "http2" } else { "http1" };
    let origin = Origin::start_speaking("api", 0, speaks).await?;
    let config = format!(
        "services:\n  api: {{protocol: {protocol}, endpoints: [{{address: \"{}\"}}]}}\n",
        origin.address()
    );
    let setup = gateway(config + &open_route(policies)).listener("protocols: [http1, http2]");
    let gateway = setup.start().await?;
    Ok((origin, gateway))
}

/// The same with an origin that says exactly what a test wants.
async fn exact(policies: &str) -> Result<(WireOrigin, Gateway)> {
    let origin = WireOrigin::start().await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route(policies)).start().await?;
    Ok((origin, gateway))
}

/// From here on, requests for this target are answered with these fields and this body.
fn says(origin: &WireOrigin, target: &str, fields: &str, body: &[u8]) {
    let mut bytes = format!("HTTP/1.1 200 OK\r\n{fields}").into_bytes();
    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend_from_slice(body);
    origin.script(target, vec![Step::Say(bytes)]);
}

fn decode(coding: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    match coding {
        "gzip" => {
            flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain)?;
        }
        "br" => {
            brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain)?;
        }
        _ => plain = zstd::stream::decode_all(bytes)?,
    }
    Ok(plain)
}

/// The content of an answer that must be in this coding.
fn content(response: &Response, coding: &str) -> Result<Vec<u8>> {
    assert_eq!(response.header("content-encoding"), Some(coding), "{response}");
    assert_eq!(response.header("content-length"), None, "{response}");
    assert!(varies(response), "{response}");
    Ok(decode(coding, &response.body)?)
}

fn varies(response: &Response) -> bool {
    response.headers.iter().any(|(name, value)| {
        name == "vary" && value.to_ascii_lowercase().contains("accept-encoding")
    })
}

/// A table in JSON, of at least this many bytes.
fn table(bytes: usize) -> Vec<u8> {
    let mut text = String::from("[");
    for row in 0.. {
        if text.len() >= bytes {
            break;
        }
        let (price, stock) = (row * 7919 % 10_007, row * 31 % 97);
        let _ = write!(text, "{{\"id\":{row},\"name\":\"lamp {stock}\",\"price\":{price}}},");
    }
    text.into_bytes()
}

fn accepting(target: &str, codings: &str) -> Request {
    Request::get(target).header("accept-encoding", codings)
}

#[tokio::test]
async fn every_coding_comes_out_as_it_went_in() -> Outcome {
    let (origin, gateway) = exact(ON).await?;
    let body = table(300_000);
    says(&origin, "/whole", "Content-Type: application/json\r\n", &body);
    let mut pieces =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for piece in body.chunks(10_000) {
        pieces.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        pieces.extend_from_slice(piece);
        pieces.extend_from_slice(b"\r\n");
    }
    pieces.extend_from_slice(b"0\r\n\r\n");
    origin.script("/pieces", vec![Step::Say(pieces)]);
    let mut old = b"HTTP/1.0 200 OK\r\nContent-Type: text/css\r\n\r\n".to_vec();
    old.extend_from_slice(&body);
    origin.script("/to-the-end", vec![Step::Say(old), Step::Close]);
    for coding in CODINGS {
        for target in ["/whole", "/pieces", "/to-the-end"] {
            let response = gateway.send(&accepting(target, coding)).await?.expect(200)?;
            assert!(response.body.len() < body.len() / 3, "{coding} {}", response.body.len());
            assert!(content(&response, coding)? == body, "{coding} {target}");
            let taken = origin.take().pop().context("a request")?;
            let asked: Vec<_> =
                taken.headers.iter().filter(|(name, _)| name == "accept-encoding").collect();
            assert_eq!(asked, [&("accept-encoding".to_owned(), coding.to_owned())]);
        }
        gateway.settled().await?;
        let labels = [("route", "all"), ("coding", coding)];
        assert!((gateway.metric("tidegate_compressed_total", &labels).await? - 3.0).abs() < 0.1);
        let before = gateway.metric("tidegate_compressed_input_bytes_total", &labels).await?;
        let after = gateway.metric("tidegate_compressed_output_bytes_total", &labels).await?;
        let bytes = f64::from(u32::try_from(body.len()).unwrap_or_default());
        assert!((before - 3.0 * bytes).abs() < 0.5, "{before}");
        assert!(after > 1000.0 && after < before / 3.0, "{after}");
    }
    Ok(())
}

#[tokio::test]
async fn clients_get_what_they_like_best() -> Outcome {
    let (origin, gateway) = exact(ON).await?;
    let body = table(3000);
    says(&origin, "/x", "Content-Type: application/json\r\n", &body);
    for (accepted, expected) in [
        (Some("gzip, deflate, br, zstd"), Some("zstd")),
        (Some("gzip;q=0.9, br;q=0.8"), Some("gzip")),
        (Some("*"), Some("zstd")),
        (Some("identity;q=0, br"), Some("br")),
        (Some("gzip;q=0, *;q=0"), None),
        (Some("identity;q=0"), None),
        (Some("deflate, dcb"), None),
        (Some("identity, gzip;q=0.5"), None),
        (Some(""), None),
        (None, None),
    ] {
        let request = Request::get("/x");
        let request = match accepted {
            Some(accepted) => request.header("accept-encoding", accepted),
            None => request,
        };
        let response = gateway.send(&request).await?.expect(200)?;
        assert!(varies(&response), "{accepted:?}: {response}");
        if let Some(coding) = expected {
            assert!(content(&response, coding)? == body, "{accepted:?}");
        } else {
            assert_eq!(response.header("content-encoding"), None, "{accepted:?}");
            assert_eq!(response.number("content-length")?, body.len() as u64);
            assert!(response.body == body, "{accepted:?}");
        }
        let asked = expected.unwrap_or("identity");
        let taken = origin.take().pop().context("a request")?;
        assert!(taken.headers.contains(&("accept-encoding".into(), asked.into())), "{taken:?}");
    }
    Ok(())
}

/// Neither twice, nor what must not be changed, nor what is not worth it.
#[tokio::test]
async fn what_is_better_left_alone_is_left_alone() -> Outcome {
    let (origin, gateway) = exact(ON).await?;
    let long = table(3000);
    for (fields, body, vary) in [
        ("Content-Type: image/png\r\n", &long[..], false),
        ("", &long, false),
        ("Content-Type: application/grpc\r\n", &long, false),
        ("Content-Type: text/css\r\nCache-Control: no-transform, max-age=9\r\n", &long, false),
        ("Content-Type: text/css\r\n", &long[..1023], false),
        ("Content-Type: text/css\r\nContent-Encoding: gzip\r\n", &long, true),
        ("Content-Type: text/css\r\nContent-Encoding: x-own\r\n", &long, true),
    ] {
        let tagged = format!("{fields}ETag: \"v1\"\r\nContent-Digest: a=:b:\r\n");
        says(&origin, "/x", &tagged, body);
        let response = gateway.send(&accepting("/x", "gzip, br, zstd")).await?.expect(200)?;
        assert!(response.body == body, "{fields}: {response}");
        assert_eq!(response.number("content-length")?, body.len() as u64, "{fields}");
        assert_eq!(response.header("etag"), Some("\"v1\""), "{fields}");
        assert_eq!(response.header("content-digest"), Some("a=:b:"), "{fields}");
        assert_eq!(varies(&response), vary, "{fields}: {response}");
        let given = response.header("content-encoding");
        assert_eq!(given.is_some(), fields.contains("Encoding"), "{response}");
    }
    says(&origin, "/x", "Content-Type: text/css\r\n", &long[..1024]);
    let response = gateway.send(&accepting("/x", "gzip")).await?;
    assert!(content(&response, "gzip")? == long[..1024], "from `minBytes` on");
    let wish = accepting("/x", "gzip").header("cache-control", "no-transform");
    assert!(gateway.send(&wish).await?.body == long[..1024], "a client may want it as it is");
    Ok(())
}

/// The service's tag stays its tag, whatever clients call the compressed answer.
#[tokio::test]
async fn clients_and_services_confirm_by_tags() -> Outcome {
    let (origin, gateway) = scripted(ON).await?;
    let target = "/bytes/5000?header=content-type:text/plain&etag=%22v1%22&cc=no-store";
    let first = gateway.send(&accepting(target, "br, gzip")).await?.expect(200)?;
    let coded = "W/\"v1--br\"";
    assert_eq!(first.header("etag"), Some(coded));
    assert_eq!(content(&first, "br")?, vec![b'x'; 5000]);
    let ask = |codings: &str, tag: &str| accepting(target, codings).header("if-none-match", tag);
    for (codings, tag, told, seen) in [
        ("br, gzip", coded, coded, "\"v1\""),
        ("identity", coded, coded, "\"v1\""),
        ("identity", "\"v1\"", "\"v1\"", "\"v1\""),
        ("br", "\"v1\"", "\"v1\"", "\"v1\""),
        ("gzip", "W/\"v1--gzip\", W/\"v1--br\"", "W/\"v1--gzip\"", "\"v1\""),
    ] {
        let response = gateway.send(&ask(codings, tag)).await?.expect(304)?;
        assert_eq!(response.header("etag"), Some(told), "{tag}: {response}");
        assert!(varies(&response) && response.body.is_empty(), "{response}");
        assert_eq!(response.header("content-encoding"), None);
        let last = origin.last().context("a request")?;
        assert_eq!(last.header("if-none-match"), Some(seen));
    }
    let other = gateway.send(&ask("br", "W/\"v0--br\"")).await?.expect(200)?;
    assert_eq!(content(&other, "br")?.len(), 5000);
    // Whoever read a compressed answer may write what it names.
    let change = Request::new("PUT", "/thing").header("if-match", coded).body("x");
    gateway.send(&change).await?.expect(200)?;
    assert_eq!(
        origin.last().and_then(|seen| seen.header("if-match").map(str::to_owned)),
        Some("\"v1\"".to_owned())
    );
    Ok(())
}

#[tokio::test]
async fn head_tells_what_get_would() -> Outcome {
    let (origin, gateway) = scripted(ON).await?;
    let target = "/bytes/5000?header=content-type:text/plain&etag=%22v1%22";
    let head = |codings: &str| Request::new("HEAD", target).header("accept-encoding", codings);
    let coded = gateway.send(&head("gzip")).await?.expect(200)?;
    assert_eq!(coded.header("content-encoding"), Some("gzip"));
    assert_eq!(coded.header("etag"), Some("W/\"v1--gzip\""));
    assert_eq!(coded.header("content-length"), None);
    let plain = gateway.send(&head("identity")).await?.expect(200)?;
    assert_eq!(plain.header("etag"), Some("\"v1\""));
    assert_eq!(plain.number("content-length")?, 5000);
    assert!(varies(&coded) && varies(&plain));
    assert!(origin.seen().iter().all(|seen| seen.method == "HEAD"));
    Ok(())
}

/// The rest of an answer must be the rest of what the client has.
#[tokio::test]
async fn parts_are_parts_of_the_same() -> Outcome {
    let (origin, gateway) = exact(ON).await?;
    let part = "HTTP/1.1 206 Partial Content\r\nContent-Type: text/css\r\n\
                Content-Range: bytes 0-1/5000\r\nContent-Length: 2\r\n\r\nab";
    origin.script("/x", vec![Step::Say(part.into())]);
    let date = "Fri, 07 Jul 2023 22:03:25 GMT";
    for (condition, codings, sent) in [
        (None, "gzip", true),
        (Some("\"v1\""), "gzip", true),
        (Some("W/\"v1--gzip\""), "gzip", false),
        (Some(date), "gzip", false),
        (Some(date), "identity", true),
    ] {
        let request = accepting("/x", codings).header("range", "bytes=0-1");
        let request = match condition {
            Some(condition) => request.header("if-range", condition),
            None => request,
        };
        let response = gateway.send(&request).await?.expect(206)?;
        assert_eq!((response.text().as_str(), response.header("content-encoding")), ("ab", None));
        let taken = origin.take().pop().context("a request")?;
        let has = |name: &str| taken.headers.iter().any(|(known, _)| known == name);
        assert_eq!(has("range"), sent, "{condition:?} {codings}");
        assert_eq!(has("if-range"), sent && condition.is_some(), "{condition:?} {codings}");
    }
    Ok(())
}

const KEPT: &str = "compression: {codings: [br, zstd, gzip]}, cache: {ttl: 60s}";

/// One request of the service for each coding; from then on the same bytes for everybody.
#[tokio::test]
async fn each_coding_is_kept_once() -> Outcome {
    let (origin, gateway) = scripted(KEPT).await?;
    let target = "/bytes/5000?header=content-type:text/plain&etag=%22v1%22";
    let mut first = Vec::new();
    for coding in CODINGS {
        let response = gateway.send(&accepting(target, coding)).await?.expect(200)?;
        assert_eq!(response.header("x-cache"), Some("MISS"), "{coding}");
        assert_eq!(content(&response, coding)?, vec![b'x'; 5000]);
        first.push(response.body);
    }
    let plain = gateway.get(target).await?.expect(200)?;
    assert_eq!(plain.header("x-cache"), Some("MISS"));
    assert!(varies(&plain) && plain.body.len() == 5000);
    for (accepted, index) in [
        ("gzip", 0),
        ("deflate, GZIP;q=0.3, x", 0),
        ("br;q=0.2, gzip;q=0.9", 0),
        ("gzip, deflate, br, zstd", 1),
        ("br", 1),
        ("zstd, gzip", 2),
    ] {
        let hit = gateway.send(&accepting(target, accepted)).await?.expect(200)?;
        assert_eq!(hit.header("x-cache"), Some("HIT"), "{accepted}");
        assert!(hit.body == first[index], "{accepted}: the same bytes");
        assert_eq!(content(&hit, CODINGS[index])?.len(), 5000);
    }
    for accepted in ["identity", "gzip;q=0", "", "deflate", "gzip;q=0.1, identity"] {
        let hit = gateway.send(&accepting(target, accepted)).await?.expect(200)?;
        assert_eq!(hit.header("x-cache"), Some("HIT"), "{accepted}");
        assert_eq!(hit.header("content-encoding"), None, "{accepted}");
        assert_eq!(hit.body.len(), 5000);
    }
    // A request that only asks, and one for a part: never a part of the compressed answer.
    let head = Request::new("HEAD", target).header("accept-encoding", "gzip");
    let head = gateway.send(&head).await?.expect(200)?;
    assert_eq!(
        (head.header("x-cache"), head.header("etag")),
        (Some("HIT"), Some("W/\"v1--gzip\""))
    );
    let part = accepting(target, "gzip").header("range", "bytes=0-9");
    assert!(gateway.send(&part).await?.expect(200)?.body == first[0]);
    for (accepted, tag, status) in [
        ("gzip", "W/\"v1--gzip\"", 304),
        ("gzip", "\"v1--gzip\"", 304),
        ("identity", "\"v1\"", 304),
        ("br", "W/\"v1--gzip\"", 200),
        ("identity", "W/\"v1--gzip\"", 200),
    ] {
        let asked = accepting(target, accepted).header("if-none-match", tag);
        let response = gateway.send(&asked).await?.expect(status)?;
        assert!(varies(&response), "{tag}: {response}");
    }
    assert_eq!(origin.total(), 4);
    Ok(())
}

/// Whether or not asking by HEAD brings the answer into the cache: what comes from it is whole.
#[tokio::test]
async fn head_before_get_spoils_nothing() -> Outcome {
    let (_origin, gateway) = scripted(KEPT).await?;
    let target = "/chunks/9?header=content-type:text/plain";
    let head = Request::new("HEAD", target).header("accept-encoding", "zstd");
    let head = gateway.send(&head).await?.expect(200)?;
    assert_eq!(head.header("content-encoding"), Some("zstd"));
    for _ in 0..2 {
        let response = gateway.send(&accepting(target, "zstd")).await?.expect(200)?;
        assert_eq!(content(&response, "zstd")?, vec![b'c'; 9 * 1024]);
    }
    let hit = gateway.send(&accepting(target, "zstd")).await?;
    assert_eq!(hit.header("x-cache"), Some("HIT"));
    Ok(())
}

/// A kept answer is confirmed by the tag that the service knows.
#[tokio::test]
async fn what_is_kept_is_confirmed_by_the_services_tag() -> Outcome {
    let (origin, gateway) = scripted(KEPT).await?;
    let target = "/bytes/5000?header=content-type:text/plain&etag=%22v1%22&cc=max-age%3D1\
                  &header=repr-digest:plain&header=accept-ranges:bytes";
    let first = gateway.send(&accepting(target, "gzip")).await?.expect(200)?;
    let confirmed = wait::until("the entry to be confirmed", async || {
        let response = gateway.send(&accepting(target, "gzip")).await.ok()?;
        (response.header("x-cache") == Some("REVALIDATED")).then_some(response)
    })
    .await?;
    let last = origin.last().context("a request")?;
    assert_eq!(last.header("if-none-match"), Some("\"v1\""));
    assert_eq!(confirmed.header("etag"), Some("W/\"v1--gzip\""));
    // Fields of the confirmation are the answer's (RFC 9111 section 3.2), but for those that say
    // something of the plain content.
    assert_eq!(confirmed.header("x-serial"), Some("2"));
    for name in ["repr-digest", "accept-ranges"] {
        assert_eq!((first.header(name), confirmed.header(name)), (None, None), "{name}");
    }
    assert_eq!(confirmed.header("content-encoding"), Some("gzip"));
    assert!(confirmed.body == first.body);
    assert_eq!(content(&confirmed, "gzip")?.len(), 5000);
    assert_eq!(origin.total(), 2);
    let asked = accepting(target, "gzip").header("if-none-match", "W/\"v1--gzip\"");
    let hit = gateway.send(&asked).await?;
    assert_eq!(hit.expect(304)?.header("etag"), Some("W/\"v1--gzip\""));
    Ok(())
}

/// Even where the service forgets to say that it varies.
#[tokio::test]
async fn what_a_service_coded_reaches_those_who_can_read_it() -> Outcome {
    let (origin, gateway) = exact(KEPT).await?;
    let coded = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &table(3000))?;
        encoder.finish()?
    };
    let fields = "Content-Type: text/css\r\nContent-Encoding: gzip\r\nETag: \"g\"\r\n";
    says(&origin, "/x", fields, &coded);
    for expected in ["MISS", "HIT"] {
        let response = gateway.send(&accepting("/x", "gzip")).await?.expect(200)?;
        assert_eq!(response.header("x-cache"), Some(expected));
        assert_eq!(response.header("etag"), Some("\"g\""));
        assert!(response.body == coded && varies(&response), "{response}");
    }
    says(&origin, "/x", "Content-Type: text/css\r\nETag: \"p\"\r\n", &table(3000));
    for expected in ["MISS", "HIT"] {
        let response = gateway.get("/x").await?.expect(200)?;
        assert_eq!(response.header("x-cache"), Some(expected));
        assert!(response.body == table(3000), "{response}");
    }
    assert_eq!(origin.take().len(), 2);
    Ok(())
}

/// What a client can read so far, of an answer in chunks.
fn readable(bytes: &[u8]) -> Option<Vec<u8>> {
    let begin = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let (mut rest, mut coded) = (bytes.get(begin..)?, Vec::new());
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(rest.get(..end)?).ok()?, 16).ok()?;
        coded.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 4 + size..)?;
    }
    let mut reader = flate2::read::GzDecoder::new(&coded[..]);
    let (mut plain, mut byte) = (Vec::new(), [0_u8]);
    while matches!(reader.read(&mut byte), Ok(1)) {
        plain.push(byte[0]);
    }
    Some(plain)
}

/// What a service has said, its client can read.
#[tokio::test]
async fn nothing_is_held_back() -> Outcome {
    let origin = ManualOrigin::start().await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route(ON)).start().await?;
    for (content_type, is_coded) in [("text/plain", true), ("text/event-stream", false)] {
        let mut client = tokio::net::TcpStream::connect(gateway.address()).await?;
        let get = b"GET / HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip\r\n\r\n";
        client.write_all(get).await?;
        let mut exchange = origin.request().await?;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        exchange.send(head).await?;
        let mut bytes = Vec::new();
        for piece in ["data: 1\n\n", "data: 2\n\n"] {
            exchange.send(format!("9\r\n{piece}\r\n")).await?;
            wait::within("what the service said", async {
                loop {
                    let plain = if is_coded { readable(&bytes) } else { Some(bytes.clone()) };
                    let text = String::from_utf8_lossy(&plain.unwrap_or_default()).into_owned();
                    if text.contains(piece) {
                        return Ok(());
                    }
                    if client.read_buf(&mut bytes).await? == 0 {
                        return Err(Error::new("the gateway closed"));
                    }
                }
            })
            .await??;
        }
        exchange.send("0\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        assert_eq!(head.contains("content-encoding: gzip"), is_coded, "{head}");
    }
    Ok(())
}

#[tokio::test]
async fn streams_are_left_alone() -> Outcome {
    let (origin, gateway) = scripted("compression: {}, stream: {}").await?;
    let target = "/bytes/5000?header=content-type:text/plain";
    let response = gateway.send(&accepting(target, "gzip, br")).await?.expect(200)?;
    assert_eq!((response.header("content-encoding"), response.body.len()), (None, 5000));
    let seen = origin.last().context("a request")?;
    assert_eq!(seen.header("accept-encoding"), Some("gzip, br"));
    Ok(())
}

/// Both sides speak HTTP/2; the service ends its answers in each way that it can.
#[tokio::test]
async fn http2_ends_whole() -> Outcome {
    let (origin, gateway) = speaking(Speaks::Http2, KEPT).await?;
    let client = Http2Client::connect(gateway.address()).await?;
    for (target, length) in [("/bytes/5000", 5000), ("/chunks/9", 9216), ("/trailers/9", 9216)] {
        let target = format!("{target}?header=content-type:text/plain");
        for coding in CODINGS {
            for expected in ["MISS", "HIT"] {
                let response = client.get(&target, &[("accept-encoding", coding)]).await?;
                assert_eq!(response.header("x-cache"), Some(expected), "{target} {response}");
                assert_eq!(content(&response, coding)?.len(), length, "{target} {expected}");
            }
            let hit = gateway.send(&accepting(&target, coding)).await?.expect(200)?;
            assert_eq!(content(&hit, coding)?.len(), length, "{target} over HTTP/1");
        }
    }
    assert_eq!(origin.total(), 9);
    let fresh = "/trailers/9?header=content-type:text/plain&cc=no-store";
    let response = gateway.send(&accepting(fresh, "br")).await?.expect(200)?;
    assert_eq!(content(&response, "br")?.len(), 9216);
    let response = client.get(fresh, &[("accept-encoding", "br")]).await?;
    assert_eq!(content(&response, "br")?.len(), 9216);
    Ok(())
}

/// A service that dies in the middle: nobody takes that for a whole answer, nor is it kept.
#[tokio::test]
async fn what_breaks_off_has_no_end() -> Outcome {
    let (origin, gateway) = scripted(KEPT).await?;
    let target = "/cut/9000?header=content-type:text/plain";
    for serial in 1..=2 {
        let response = gateway.send(&accepting(target, "gzip")).await;
        assert!(!matches!(&response, Ok(response) if response.status == 200), "{response:?}");
        assert_eq!(origin.total(), serial);
    }
    let compressed = gateway.metric("tidegate_compressed_total", &[]).await?;
    assert!(compressed < 0.5, "{compressed}");
    Ok(())
}

/// Where two attempts race, the one that wins is compressed as any.
#[tokio::test]
async fn a_hedged_answer_is_compressed_once() -> Outcome {
    let (one, other) = (Origin::start("one").await?, Origin::start("other").await?);
    let config = api(&[one.address(), other.address()])
        + &open_route("compression: {}, hedge: {minDelay: 50ms}");
    let gateway = gateway(config).start().await?;
    let target = "/bytes/5000?header=content-type:text/plain";
    for coding in CODINGS {
        let response = gateway.send(&accepting(target, coding)).await?.expect(200)?;
        assert_eq!(content(&response, coding)?, vec![b'x'; 5000]);
    }
    Ok(())
}

/// The gateway's own answers are short, and stay as they are.
#[tokio::test]
async fn own_answers_stay_plain() -> Outcome {
    let gateway = gateway(
        "routes:\n  - {name: hello, match: {path: /hello}, respond: {status: 200, body: hello}, \
         policies: {auth: none}}\npolicies: {compression: {minBytes: 0}}\n",
    )
    .start()
    .await?;
    let hello = gateway.send(&accepting("/hello", "gzip")).await?.expect(200)?;
    assert_eq!((hello.header("content-encoding"), hello.text().as_str()), (None, "hello"));
    let none = gateway.send(&accepting("/none", "gzip")).await?;
    none.problem(404, "route.not_found")?;
    Ok(())
}
