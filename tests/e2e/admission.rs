//! Which requests are let in at all: methods, paths, hosts, framing, sizes, shapes.

use tidegate_kit::{Origin, Outcome, RawConnection, Request, Response, Result};

use crate::{api, gateway, open_route};

#[tokio::test]
async fn no_route_is_404_and_reaches_nobody() -> Outcome {
    let origin = Origin::start("api").await?;
    let routes = "routes:\n  - {name: v1, match: {host: api.example.com, pathPrefix: /v1}, \
                  upstream: {service: api}, policies: {auth: none}}\n";
    let gateway = gateway(api(&[origin.address()]) + routes).start().await?;
    let at = |host: &str, target: &str| Request::get(target).host(host);
    for (host, target) in [
        ("api.example.com", "/v2"),
        ("api.example.com", "/v10"),
        ("api.example.com", "/"),
        ("example.com", "/v1"),
        ("www.api.example.com", "/v1"),
    ] {
        let refused = gateway.send(&at(host, target)).await?;
        refused.problem(404, "route.not_found")?;
    }
    assert_eq!(origin.total(), 0);
    for host in ["api.example.com", "API.Example.COM:8080", "api.example.com."] {
        gateway.send(&at(host, "/v1")).await?.expect(200)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_method_is_405_with_the_right_ones() -> Outcome {
    let origin = Origin::start("api").await?;
    let routes = "routes:\n  \
        - {name: read, match: {pathPrefix: /v1, methods: [GET]}, upstream: {service: api}, \
           policies: {auth: none}}\n  \
        - {name: write, match: {pathPrefix: /v1, methods: [POST]}, upstream: {service: api}, \
           policies: {auth: none}}\n";
    let gateway = gateway(api(&[origin.address()]) + routes).start().await?;
    let refused = gateway.send(&Request::new("PATCH", "/v1/x")).await?;
    refused.problem(405, "route.method_not_allowed")?;
    let mut allowed: Vec<&str> = refused.required("allow")?.split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "POST"]);
    assert_eq!(origin.total(), 0);
    Ok(())
}

/// T9, R112, R121: no spelling of a path escapes the stricter route.
#[tokio::test]
async fn no_spelling_of_a_path_gets_around_a_stricter_route() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "apiKeys: [{id: operator, key: \"${env:OPERATOR_KEY}\"}]\n\
           routes:\n  \
           - {name: open, match: {pathPrefix: /v1}, upstream: {service: api}, \
              policies: {auth: none}}\n  \
           - {name: admin, match: {pathPrefix: /v1/admin}, upstream: {service: api}, \
              policies: {auth: required}}\n";
    let gateway =
        gateway(config).environment("OPERATOR_KEY", "0123456789abcdef0123").start().await?;
    for spelling in [
        "/v1/admin",
        "/v1/admin/",
        "/v1/admin/users?x=/../..",
        "/v1//admin",
        "/v1/./admin",
        "/v1/open/../admin",
        "/v1/open/%2e%2e/admin",
        "/v1/open/.%2E/admin",
        "/v1/%61dmin",
        "/v1/%61%64min/x",
    ] {
        let refused = gateway.get(spelling).await?;
        refused
            .problem(401, "auth.credentials_missing")
            .map_err(|error| named(spelling, &error))?;
    }
    for spelling in [
        "/v1/open/..%2fadmin",
        "/v1/open/..%2Fadmin",
        "/v1/open/..\\admin",
        "/v1/open/..%5cadmin",
        "/v1/open;/../admin",
        "/v1/%2561dmin",
        "/v1/open%00/../admin",
        "/v1/%c0%ae%c0%ae/admin",
        "/../v1/admin",
        "/v1/%zzadmin",
    ] {
        let refused = gateway.get(spelling).await?;
        assert_eq!(refused.status, 400, "{spelling}: {refused}");
    }
    assert_eq!(origin.total(), 0);
    gateway.get("/v1/administrator").await?.expect(200)?;
    gateway.get("/v1/open").await?.expect(200)?;
    Ok(())
}

fn named(what: &str, error: &tidegate_kit::Error) -> tidegate_kit::Error {
    tidegate_kit::Error::new(format!("{what}: {error}"))
}

#[tokio::test]
async fn the_service_sees_the_normal_form_and_the_query_as_sent() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let echo = gateway.get("/a/./b/c/..//%7Ed%c3%a9?q=%2e%2E&r=a//b").await?.expect(200)?.json()?;
    assert_eq!(echo["path"], "/a/b/~d%C3%A9");
    assert_eq!(echo["query"], "q=%2e%2E&r=a//b");
    Ok(())
}

/// What two servers could read differently is refused, and nobody behind sees it.
#[tokio::test]
async fn malformed_requests_are_400() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    for (what, bytes) in [
        ("not HTTP", "hello\r\n\r\n"),
        ("no version", "GET /\r\nhost: a\r\n\r\n"),
        ("space before colon", "GET / HTTP/1.1\r\nhost : a\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\naccept: */*\r\n\r\n"),
        ("empty host", "GET / HTTP/1.1\r\nhost:\r\n\r\n"),
        ("host is no name", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n"),
        ("host list", "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n"),
        ("target and host differ", "GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n"),
        (
            "two lengths that differ",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        ),
        (
            "length and chunks",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
             0\r\n\r\n",
        ),
        ("length is no number", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n"),
        ("asterisk", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        let mut connection = RawConnection::connect(gateway.address()).await?;
        connection.send(bytes.as_bytes()).await?;
        let refused = connection.response().await.map_err(|error| named(what, &error))?;
        assert_eq!(refused.status, 400, "{what}: {refused}");
    }
    assert_eq!(origin.total(), 0);
    Ok(())
}

#[tokio::test]
async fn a_missing_host_is_a_problem_with_its_own_code() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let refused = gateway.send(&Request::get("/").without_host()).await?;
    refused.problem(400, "request.host_invalid")?;
    Ok(())
}

/// R117, both ways around the boundary, declared and chunked.
#[tokio::test]
async fn a_body_may_be_as_long_as_the_limit_and_no_longer() -> Outcome {
    let origin = Origin::start("api").await?;
    let config =
        api(&[origin.address()]) + &open_route("") + "requestPolicy: {maxBodyBytes: 1KiB}\n";
    let gateway = gateway(config).start().await?;
    let whole = |length: usize| Request::post("/whole", vec![b'x'; length]);
    let chunked = |length: usize| {
        let body = vec![b'x'; length];
        Request::new("POST", "/chunked").chunked(body.chunks(500).map(<[u8]>::to_vec).collect())
    };
    let good = gateway.send(&whole(1024)).await?.expect(200)?;
    assert_eq!(good.json()?["bodyLength"], 1024);
    let good = gateway.send(&chunked(1024)).await?.expect(200)?;
    assert_eq!(good.json()?["bodyLength"], 1024);

    gateway.send(&whole(1025)).await?.problem(413, "request.body_too_large")?;
    assert_eq!(origin.count("/whole"), 1, "an honest length is refused before the service");
    gateway.send(&chunked(1025)).await?.problem(413, "request.body_too_large")?;
    let whole_bodies = origin.seen().into_iter().filter(|seen| seen.body_length.is_some()).count();
    assert_eq!(whole_bodies, 2, "the service never sees the end of a body that is too long");
    Ok(())
}

#[tokio::test]
async fn other_content_types_are_415() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + &open_route("")
        + "requestPolicy: {allowedContentTypes: [application/json]}\n";
    let gateway = gateway(config).start().await?;
    let post = |kind: &str| Request::post("/", "{}").header("content-type", kind);
    for kind in ["text/plain", "application/jsonx", "application/json-patch+json"] {
        let refused = gateway.send(&post(kind)).await?;
        refused.problem(415, "request.content_type")?;
    }
    let untyped = gateway.send(&Request::post("/", "{}")).await?;
    untyped.problem(415, "request.content_type")?;
    assert_eq!(origin.total(), 0);
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        gateway.send(&post(kind)).await?.expect(200)?;
    }
    gateway.get("/").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn large_headers_are_431_and_long_targets_414() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route(""))
        .listener("maxHeaders: 20")
        .listener("maxHeaderBytes: 2KiB")
        .listener("maxUriBytes: 1KiB")
        .start()
        .await?;
    let many = |count: usize| {
        (0..count).fold(Request::get("/"), |request, n| request.header(&format!("x-{n}"), "1"))
    };
    // `host` is one of the twenty.
    gateway.send(&many(19)).await?.expect(200)?;
    gateway.send(&many(20)).await?.problem(431, "request.headers_too_large")?;
    let large = |bytes: usize| Request::get("/").header("x-large", &"v".repeat(bytes));
    gateway.send(&large(1900)).await?.expect(200)?;
    gateway.send(&large(2048)).await?.problem(431, "request.headers_too_large")?;
    let target = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
    gateway.get(&target(1024)).await?.expect(200)?;
    gateway.get(&target(1025)).await?.problem(414, "request.uri_too_long")?;
    assert_eq!(origin.total(), 3);
    Ok(())
}

#[tokio::test]
async fn required_headers_are_named_and_the_request_id_is_ours() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + &open_route("")
        + "requestPolicy: {requireHeaders: [x-request-id, X-Device]}\n";
    let gateway = gateway(config).start().await?;
    let refused = gateway.get("/").await?.problem(400, "request.header_missing")?;
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("x-device") && !detail.contains("x-request-id"), "{detail}");
    gateway.send(&Request::get("/").header("x-device", "d")).await?.expect(200)?;
    assert_eq!(origin.total(), 1);
    Ok(())
}

/// RFC 9110, 7.6.1: fields that concern this hop, and those that `Connection` names, end here.
#[tokio::test]
async fn fields_of_one_hop_stay_on_it() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let request = Request::get("/?header=keep-alive:timeout%3D5&header=x-kept:yes")
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1")
        .header("x-end", "2")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("te", "trailers");
    let response: Response = gateway.send(&request).await?.expect(200)?;
    for name in ["x-hop", "keep-alive", "proxy-connection", "te"] {
        assert_eq!(response.echoed(name)?, None, "{name}");
    }
    assert_eq!(response.echoed("x-end")?.as_deref(), Some("2"));
    assert_eq!(response.header("x-kept"), Some("yes"));
    assert_eq!(response.header("keep-alive"), None);
    Ok(())
}

/// A refusal of a HEAD has no body, and the next request on the connection is in step.
#[tokio::test]
async fn refusals_of_head_have_no_body() -> Outcome {
    let origin = Origin::start("api").await?;
    let routes = "routes:\n  - {name: v1, match: {pathPrefix: /v1}, upstream: {service: api}, \
                  policies: {auth: none}}\n";
    let gateway = gateway(api(&[origin.address()]) + routes).start().await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let refused = connection.request(&Request::new("HEAD", "/x")).await?.expect(404)?;
    assert!(refused.number("content-length")? > 0);
    let echo = status_of(&mut connection, "/v1/ok").await?;
    assert_eq!(echo, 200);
    Ok(())
}

async fn status_of(connection: &mut RawConnection, target: &str) -> Result<u16> {
    Ok(connection.request(&Request::get(target)).await?.status)
}
