//! What passes through: streams, old and rare HTTP, upgrades, gRPC.

mod grpc;
mod streams;
mod websocket;

use tidegate_kit::{ManualOrigin, Origin, Outcome, RawConnection, Request, Response, Result, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{api, gateway, open_route};

/// Sends bytes and reads all that comes until the gateway closes.
async fn to_the_end(gateway: &tidegate_kit::Gateway, bytes: &str) -> Result<String> {
    let mut stream = TcpStream::connect(gateway.address()).await?;
    stream.write_all(bytes.as_bytes()).await?;
    let mut all = Vec::new();
    wait::within("the end of a connection", stream.read_to_end(&mut all)).await??;
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// HTTP/1.0 knows neither chunks nor interim answers, and closes unless told otherwise.
#[tokio::test]
async fn old_clients_are_served_in_their_own_way() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let whole = to_the_end(&gateway, "GET /bytes/5 HTTP/1.0\r\nHost: a.example\r\n\r\n").await?;
    let (head, body) = whole.split_once("\r\n\r\n").unwrap_or_default();
    assert!(head.contains("200") && head.to_lowercase().contains("content-length: 5"), "{head}");
    assert!(head.to_lowercase().contains("connection: close"), "{head}");
    assert_eq!(body, "xxxxx");
    for connection in ["", "Connection: keep-alive\r\n"] {
        let request = format!("GET /chunks/3 HTTP/1.0\r\nHost: a.example\r\n{connection}\r\n");
        let pieces = to_the_end(&gateway, &request).await?;
        let (head, body) = pieces.split_once("\r\n\r\n").unwrap_or_default();
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
        assert!(head.to_lowercase().contains("connection: close"), "{head}");
        assert_eq!(body, "c".repeat(3072), "{connection}");
    }
    // Whose answer has a length can go on, if the client wants to.
    let one = "GET /bytes/5 HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n";
    let mut connection = RawConnection::connect(gateway.address()).await?;
    for _ in 0..2 {
        connection.send(one.as_bytes()).await?;
        let response = connection.response().await?.expect(200)?;
        assert_eq!(response.header("connection"), Some("keep-alive"));
        assert_eq!(response.text(), "xxxxx");
    }
    let refused = to_the_end(&gateway, "GET /%00 HTTP/1.0\r\nHost: a.example\r\n\r\n").await?;
    assert!(refused.contains("request.path_refused"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_wants_to_close_is_let_go() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let request = Request::get("/").header("connection", "close");
    let response = connection.request(&request).await?.expect(200)?;
    assert_eq!(response.header("connection"), Some("close"));
    connection.closed().await?;
    Ok(())
}

#[tokio::test]
async fn early_hints_reach_those_who_know_them() -> Outcome {
    let origin = ManualOrigin::start().await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut connection = RawConnection::connect(gateway.address()).await?;
    connection.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await?;
    let mut exchange = origin.request().await?;
    exchange.send(hints).await?;
    let early = connection.peek().await?;
    assert!(early.contains(" 103 ") && early.contains("</a.css>"), "{early}");
    exchange.send(answer).await?;
    assert_eq!(connection.response().await?.expect(200)?.text(), "ok");
    drop(exchange);

    let old = async { to_the_end(&gateway, "GET / HTTP/1.0\r\nHost: a.example\r\n\r\n").await };
    let serve = async {
        let mut exchange = origin.request().await?;
        exchange.send(hints).await?;
        exchange.send(answer).await?;
        Ok::<_, tidegate_kit::Error>(exchange)
    };
    let (whole, served) = tokio::join!(old, serve);
    served?;
    let whole = whole?;
    assert!(!whole.contains("103") && whole.ends_with("ok"), "{whole}");
    Ok(())
}

/// The service decides whether it wants a body; the client waits for its word.
#[tokio::test]
async fn expect_continue_is_the_services_to_answer() -> Outcome {
    let origin = ManualOrigin::start().await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\
                Expect: 100-continue\r\n\r\n";
    let mut connection = RawConnection::connect(gateway.address()).await?;
    connection.send(head.as_bytes()).await?;
    let mut exchange = origin.request().await?;
    assert_eq!(exchange.header("expect"), Some("100-continue"));
    exchange.send("HTTP/1.1 100 Continue\r\n\r\n").await?;
    assert!(connection.peek().await?.starts_with("HTTP/1.1 100 "));
    connection.send(b"hello").await?;
    assert_eq!(exchange.until("hello").await?, "hello");
    exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await?;
    assert_eq!(connection.response().await?.expect(200)?.text(), "ok");

    // A service that wants none says so at once.
    let mut connection = RawConnection::connect(gateway.address()).await?;
    connection.send(head.as_bytes()).await?;
    let mut exchange = origin.request().await?;
    exchange.send("HTTP/1.1 417 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await?;
    assert_eq!(connection.response().await?.expect(417)?.text(), "no");
    Ok(())
}

#[tokio::test]
async fn a_refusal_does_not_ask_for_the_body_first() -> Outcome {
    let origin = Origin::start("api").await?;
    let routes = "routes:\n  - name: all\n    match: {pathPrefix: /}\n    \
        upstream: {service: api}\n    policies: {auth: none}\n    \
        requestPolicy: {maxBodyBytes: 10}\n";
    let gateway = gateway(api(&[origin.address()]) + routes).start().await?;
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 11\r\n\
                Expect: 100-continue\r\n\r\n";
    let mut connection = RawConnection::connect(gateway.address()).await?;
    connection.send(head.as_bytes()).await?;
    assert!(connection.peek().await?.starts_with("HTTP/1.1 413 "), "and not 100");
    connection.response().await?.problem(413, "request.body_too_large")?;
    // The client may send the body all the same, so that what follows could not be told apart.
    connection.closed().await?;
    assert_eq!(origin.total(), 0);
    Ok(())
}

#[tokio::test]
async fn methods_pass_or_are_refused_by_name() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    for target in ["/bytes/10", "/chunks/2"] {
        let head = connection.request(&Request::new("HEAD", target)).await?.expect(200)?;
        assert!(head.body.is_empty());
    }
    let head = connection.request(&Request::new("HEAD", "/bytes/10")).await?;
    assert_eq!(head.header("content-length"), Some("10"));
    let options = connection.request(&Request::new("OPTIONS", "/a")).await?.expect(200)?;
    assert_eq!(options.json()?["method"], "OPTIONS");
    let odd = connection.request(&Request::new("PURGE", "/a")).await?.expect(200)?;
    assert_eq!(odd.json()?["method"], "PURGE");
    let before = origin.total();
    gateway.send(&Request::new("OPTIONS", "*")).await?.problem(400, "request.path_refused")?;
    let trace = gateway.send(&Request::new("TRACE", "/a")).await?;
    trace.problem(405, "route.method_not_allowed")?;
    assert!(!trace.required("allow")?.contains("TRACE"), "{trace}");
    let connect = Request::new("CONNECT", "a.example:443").host("a.example:443");
    let connect: Response = gateway.send(&connect).await?;
    assert_eq!(connect.status, 405, "{connect}");
    assert_eq!(origin.total(), before);
    Ok(())
}

/// HTTP/1.1 lets whoever passes a message on drop its trailers (RFC 9110 section 6.5.1).
#[tokio::test]
async fn trailers_of_http1_end_here() -> Outcome {
    let origin = ManualOrigin::start().await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\
                   Trailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n";
    connection.send(request.as_bytes()).await?;
    let mut exchange = origin.request().await?;
    let body = exchange.until("0\r\n\r\n").await?;
    assert!(body.contains("abc") && !body.contains("x-sum"), "{body}");
    exchange
        .send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
        )
        .await?;
    assert_eq!(connection.response().await?.expect(200)?.text(), "ok");
    Ok(())
}
