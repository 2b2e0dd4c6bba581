//! The cache: what is kept, for whom, under which key.

use tidegate_kit::{Gateway, Issuer, Origin, Outcome, Request, Response, Result};

use crate::{api, gateway, has_keys, open_route, provider};

/// An origin behind a public route that caches with these settings.
async fn open(cache: &str) -> Result<(Origin, Gateway)> {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route(&format!("cache: {cache}"));
    let gateway = gateway(config).start().await?;
    Ok((origin, gateway))
}

/// Sends a request twice and returns the second answer; the first must be a miss.
async fn twice(gateway: &Gateway, request: &Request) -> Result<Response> {
    let first = gateway.send(request).await?.expect(200)?;
    assert_eq!(first.header("x-cache"), Some("MISS"), "{first}");
    gateway.send(request).await
}

/// What the cache did.
async fn did(gateway: &Gateway, request: &Request) -> Result<String> {
    Ok(gateway.send(request).await?.required("x-cache")?.to_owned())
}

/// R142, R146.
#[tokio::test]
async fn a_second_request_is_a_hit_and_reaches_nobody() -> Outcome {
    let (origin, gateway) = open("{ttl: 60s}").await?;
    let hit = twice(&gateway, &Request::get("/lamps")).await?.expect(200)?;
    assert_eq!(hit.header("x-cache"), Some("HIT"));
    assert!(hit.required("cache-status")?.starts_with("tidegate; hit"));
    assert!(hit.number("age")? < 60);
    assert_eq!(hit.header("x-serial"), Some("1"), "the first answer, word for word");
    assert_eq!(hit.json()?["path"], "/lamps");
    assert_eq!(origin.total(), 1);
    let line = gateway.access_line(hit.required("x-request-id")?).await?;
    assert_eq!(line["cache"], "HIT");
    gateway.settled().await?;
    let labels = |outcome| [("route", "all"), ("outcome", outcome)];
    for outcome in ["HIT", "MISS"] {
        let count = gateway.metric("tidegate_cache_total", &labels(outcome)).await?;
        assert!((count - 1.0).abs() < 0.1, "{outcome}: {count}");
    }
    Ok(())
}

#[tokio::test]
async fn a_miss_says_so() -> Outcome {
    let (_origin, gateway) = open("{ttl: 60s}").await?;
    let miss = gateway.get("/lamps").await?.expect(200)?;
    assert!(miss.required("cache-status")?.starts_with("tidegate; fwd="), "{miss}");
    Ok(())
}

/// R144: one resource, one entry, however it is spelled.
#[tokio::test]
async fn spelling_does_not_matter_but_content_does() -> Outcome {
    let (origin, gateway) = open("{ttl: 60s}").await?;
    let get = |target: &str| Request::get(target).host("shop.example.com");
    gateway.send(&get("/a/lamps?b=2&a=1")).await?.expect(200)?;
    for same in
        ["/a/lamps?a=1&b=2", "/a//lamps?b=2&a=1", "/a/./%6Camps?a=1&b=2", "/a/x/../lamps?b=2&a=1"]
    {
        assert_eq!(did(&gateway, &get(same)).await?, "HIT", "{same}");
    }
    let same_host = Request::get("/a/lamps?a=1&b=2").host("SHOP.example.com.");
    assert_eq!(did(&gateway, &same_host).await?, "HIT");
    for other in
        ["/a/lamps", "/a/lamps?a=1", "/a/lamps?a=1&b=3", "/a/lamps/?a=1&b=2", "/A/lamps?a=1&b=2"]
    {
        assert_eq!(did(&gateway, &get(other)).await?, "MISS", "{other}");
    }
    let other_host = Request::get("/a/lamps?a=1&b=2").host("www.example.com");
    assert_eq!(did(&gateway, &other_host).await?, "MISS");
    assert_eq!(origin.total(), 7);
    Ok(())
}

#[tokio::test]
async fn only_chosen_parameters_count_where_they_are_chosen() -> Outcome {
    let (_origin, gateway) = open("{ttl: 60s, key: {query: [page]}}").await?;
    let of = |target: &str| Request::get(target);
    assert_eq!(did(&gateway, &of("/l?page=1&utm=x")).await?, "MISS");
    assert_eq!(did(&gateway, &of("/l?utm=y&page=1")).await?, "HIT");
    assert_eq!(did(&gateway, &of("/l?page=2")).await?, "MISS");
    Ok(())
}

/// R143: languages and headers that the route tells apart.
#[tokio::test]
async fn languages_and_chosen_headers_are_told_apart() -> Outcome {
    let (_origin, gateway) =
        open("{ttl: 60s, key: {language: [en, de], headers: [x-device]}}").await?;
    let of = |language: &str, device: &str| {
        Request::get("/l").header("accept-language", language).header("x-device", device)
    };
    assert_eq!(did(&gateway, &of("de-AT,de;q=0.9,en;q=0.5", "phone")).await?, "MISS");
    assert_eq!(did(&gateway, &of("de", "phone")).await?, "HIT");
    assert_eq!(did(&gateway, &of("en-GB", "phone")).await?, "MISS");
    assert_eq!(
        did(&gateway, &of("fr", "phone")).await?,
        "HIT",
        "the first language is the fallback"
    );
    assert_eq!(did(&gateway, &of("de", "desk")).await?, "MISS");
    assert_eq!(did(&gateway, &of("de", "desk").header("x-other", "1")).await?, "HIT");
    Ok(())
}

/// T12: one tenant's answers are another's only where the route says so.
#[tokio::test]
async fn entries_are_kept_apart_by_tenant_and_by_user() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let route = |name: &str, cache: &str| {
        format!(
            "  - {{name: {name}, match: {{pathPrefix: /{name}}}, upstream: {{service: api}}, \
             policies: {{auth: required, cache: {{ttl: 60s, {cache}}}}}}}\n"
        )
    };
    let config = api(&[origin.address()])
        + &provider(&issuer)
        + "routes:\n"
        + &route("tenants", "key: {tenant: true}")
        + &route("users", "key: {user: true}")
        + &route("shared", "shared: true");
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    let of = |target: &str, user: &str, tenant: &str| {
        let token = issuer.token().subject(user).tenant(tenant).sign();
        // What a client claims about itself is no factor.
        token.map(|token| Request::get(target).bearer(&token).header("x-tenant-id", "acme"))
    };
    let cc = "?cc=public%2C+max-age%3D60";
    for (target, user, tenant, expected) in [
        ("/tenants", "alice", "acme", "MISS"),
        ("/tenants", "bob", "acme", "HIT"),
        ("/tenants", "alice", "initech", "MISS"),
        ("/users", "alice", "acme", "MISS"),
        ("/users", "bob", "acme", "MISS"),
        ("/users", "alice", "acme", "HIT"),
        ("/shared", "alice", "acme", "MISS"),
        ("/shared", "bob", "initech", "HIT"),
    ] {
        let request = of(&format!("{target}{cc}"), user, tenant)?;
        assert_eq!(did(&gateway, &request).await?, expected, "{target} {user} {tenant}");
    }
    Ok(())
}

/// Nobody gets into the cache's answer without the credentials that the route wants.
#[tokio::test]
async fn a_hit_is_authenticated_like_a_miss() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let config = api(&[origin.address()])
        + &provider(&issuer)
        + "routes:\n  - {name: all, match: {pathPrefix: /}, upstream: {service: api}, \
           policies: {auth: required, cache: {ttl: 60s, shared: true}}}\n";
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    let target = "/x?cc=public%2C+max-age%3D60";
    let request = Request::get(target).bearer(&issuer.token().sign()?);
    assert_eq!(twice(&gateway, &request).await?.header("x-cache"), Some("HIT"));
    gateway.get(target).await?.problem(401, "auth.credentials_missing")?;
    Ok(())
}

/// The service has the last word on what may be kept.
#[tokio::test]
async fn what_must_not_be_shared_is_not_kept() -> Outcome {
    let (origin, gateway) = open("{ttl: 60s, maxBodyBytes: 4KiB}").await?;
    for target in [
        "/a?cc=no-store",
        "/a?cc=private",
        "/a?cc=no-cache",
        "/a?cc=max-age%3D0",
        "/a?set-cookie=session%3D1",
        "/a?vary=*",
        "/a/status/500",
        "/a/bytes/5000",
    ] {
        let first = gateway.get(target).await?;
        let second = gateway.get(target).await?;
        assert_ne!(second.header("x-cache"), Some("HIT"), "{target}: {second}");
        assert_ne!(first.header("x-serial"), second.header("x-serial"), "{target}");
    }
    assert_eq!(origin.total(), 16);
    Ok(())
}

#[tokio::test]
async fn only_get_and_head_use_the_cache() -> Outcome {
    let (origin, gateway) = open("{ttl: 60s}").await?;
    for method in ["POST", "PUT", "DELETE"] {
        for _ in 0..2 {
            let response = gateway.send(&Request::new(method, "/x")).await?.expect(200)?;
            assert_ne!(response.header("x-cache"), Some("HIT"), "{method}");
        }
    }
    assert_eq!(origin.total(), 6);
    gateway.get("/x").await?.expect(200)?;
    let head = gateway.send(&Request::new("HEAD", "/x")).await?.expect(200)?;
    assert_eq!(head.header("x-cache"), Some("HIT"));
    assert!(head.body.is_empty());
    assert_eq!(origin.total(), 7);
    Ok(())
}

/// A client may insist on an answer of its own, and on not being kept.
#[tokio::test]
async fn a_client_may_ask_for_no_store() -> Outcome {
    let (origin, gateway) = open("{ttl: 60s}").await?;
    let private = || Request::get("/x").header("cache-control", "no-store");
    for _ in 0..2 {
        let response = gateway.send(&private()).await?.expect(200)?;
        assert_ne!(response.header("x-cache"), Some("HIT"));
    }
    assert_eq!(did(&gateway, &Request::get("/x")).await?, "MISS");
    assert_eq!(origin.total(), 3);
    Ok(())
}

/// RFC 9111, 4.1: an answer that varies is another entry for another request.
#[tokio::test]
async fn answers_that_vary_are_kept_apart() -> Outcome {
    let (origin, gateway) = open("{ttl: 60s}").await?;
    let of = |accept: &str| Request::get("/x?vary=Accept").header("accept", accept);
    assert_eq!(did(&gateway, &of("text/html")).await?, "MISS");
    assert_eq!(did(&gateway, &of("application/json")).await?, "MISS");
    for accept in ["text/html", "application/json"] {
        let hit = gateway.send(&of(accept)).await?.expect(200)?;
        assert_eq!(hit.header("x-cache"), Some("HIT"), "{accept}");
        assert_eq!(hit.echoed("accept")?.as_deref(), Some(accept), "each its own answer");
    }
    assert_eq!(origin.total(), 2);
    Ok(())
}

/// R147: the service's freshness wins over the route's.
#[tokio::test]
async fn an_entry_ends_when_the_service_says() -> Outcome {
    let (origin, gateway) = open("{ttl: 1h}").await?;
    let request = Request::get("/x?cc=max-age%3D1");
    assert_eq!(twice(&gateway, &request).await?.header("x-cache"), Some("HIT"));
    tidegate_kit::wait::until("the entry to end", async || {
        let response = gateway.send(&request).await.ok()?;
        (response.header("x-serial") == Some("2")).then_some(())
    })
    .await?;
    assert_eq!(origin.total(), 2);
    Ok(())
}

/// Several requests for one missing entry cost the service one.
#[tokio::test]
async fn one_of_many_fetches_for_all() -> Outcome {
    let (origin, gateway) = open("{ttl: 60s}").await?;
    let address = gateway.address();
    let get = || async move {
        tidegate_kit::send(address, &Request::get("/hold/it?cc=max-age%3D60")).await
    };
    let first = tokio::spawn(get());
    origin.arrived(1).await?;
    let others: Vec<_> = (0..5).map(|_| tokio::spawn(get())).collect();
    gateway.metric_until("tidegate_requests_in_flight", &[], |count| count > 5.5).await?;
    origin.release("it");
    first.await??.expect(200)?;
    for other in others {
        other.await??.expect(200)?;
    }
    assert_eq!(origin.total(), 1);
    Ok(())
}
