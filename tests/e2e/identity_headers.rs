//! What services are told about callers: the gateway's word and nobody else's.

mod contract;
mod verifiers;

use tidegate_kit::http2::{Frame, Http2Client, RawHttp2, frame, header_block};
use tidegate_kit::{
    Context as _, Gateway, Issuer, ManualOrigin, Origin, Outcome, RawConnection, Request, Result,
    Seen,
};

use crate::{api, gateway, has_keys, open_route, provider};

/// Headers of identity beside the usual ones.
const HEADERS: &str = "identityHeaders:
  x-user-id: subject
  x-tenant-id: tenantId
  x_desk: claim:desk
  X-Profile: {fact: \"claim:profile\", encoding: json}
  x-name: {fact: \"claim:profile.name\", encoding: base64}
  x-proof: tokenId
  x-by: provider
";

/// `/private` wants a token, `/public` nobody; both under HTTP/1 and HTTP/2.
const ROUTES: &str = "routes:
  - {name: private, match: {pathPrefix: /private}, upstream: {service: api},
     policies: {auth: required}}
  - {name: public, match: {pathPrefix: /public}, upstream: {service: api},
     policies: {auth: none}}
";

/// What a client could try to be believed by.
const FORGED: [&str; 16] = [
    "x-user-id",
    "X-User-Id",
    "X_USER_ID",
    "x_user-id",
    "x-tenant-id",
    "x_tenant_id",
    "X-User-Roles",
    "x_user_roles",
    "x-auth-scopes",
    "x-user-email",
    "x-client-id",
    "x_client_plan",
    "x_desk",
    "x-desk",
    "x_profile",
    "X-NAME",
];

struct Scene {
    origin: Origin,
    issuer: Issuer,
    gateway: Gateway,
}

impl Scene {
    async fn start(more: &str) -> Result<Self> {
        let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
        let config = api(&[origin.address()]) + &provider(&issuer) + more + ROUTES;
        let gateway = gateway(config).listener("protocols: [http1, http2]").start().await?;
        has_keys(&gateway).await?;
        Ok(Self { origin, issuer, gateway })
    }

    fn last(&self) -> Result<Seen> {
        self.origin.last().context("a request at the origin")
    }
}

/// Values that a request carried under any spelling of a name.
fn told(seen: &Seen, name: &str) -> Vec<String> {
    let fold = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    let same = seen.headers.iter().filter(|(known, _)| fold(known) == fold(name));
    same.map(|(_, value)| value.clone()).collect()
}

fn assert_unforged(seen: &Seen, user: &[&str], what: &str) {
    assert!(seen.headers.iter().all(|(_, value)| value != "mallory"), "{what}: {seen:?}");
    for name in FORGED {
        let expected = if name.eq_ignore_ascii_case("x-user-id") || told(seen, name) == user {
            user
        } else {
            &[]
        };
        assert_eq!(told(seen, name), expected, "{what} {name}");
    }
}

/// R108: on every route, in any case, with underscores, over both versions of HTTP, and however
/// the connection is told about them.
#[tokio::test]
async fn what_clients_say_of_themselves_reaches_nobody() -> Outcome {
    let scene = Scene::start(HEADERS).await?;
    let token = scene.issuer.token().sign()?;
    let user = ["alice"];
    let forge = |request: Request| {
        FORGED.iter().fold(request, |request, name| request.header(name, "mallory"))
    };
    for (nominated, target) in [
        (None, "/public"),
        (None, "/private"),
        (Some("x-user-id, X_User_Id"), "/public"),
        (Some("x-user-id, x-tenant-id, x-request-id"), "/private"),
    ] {
        let mut request = forge(Request::get(target)).bearer(&token);
        if let Some(list) = nominated {
            request = request.header("connection", list);
        }
        scene.gateway.send(&request).await?.expect(200)?;
        let expected: &[&str] = if target == "/private" { &user } else { &[] };
        let seen = scene.last()?;
        assert_unforged(&seen, expected, &format!("{target} {nominated:?}"));
        assert_eq!(seen.count("x-request-id"), 1, "{nominated:?}");
    }
    let client = Http2Client::connect(scene.gateway.address()).await?;
    for target in ["/public", "/private"] {
        let url = format!("http://{}{target}", scene.gateway.address());
        let mut request =
            http::Request::get(url).header("authorization", format!("Bearer {token}"));
        for name in FORGED {
            request = request.header(name, "mallory");
        }
        let response = client.send(request.body(())?, b"").await?;
        assert_eq!(response.status, 200);
        let expected: &[&str] = if target == "/private" { &user } else { &[] };
        assert_unforged(&scene.last()?, expected, &format!("HTTP/2 {target}"));
    }
    Ok(())
}

/// A trailer is not a header, but some services put both together.
#[tokio::test]
async fn identity_in_trailers_is_not_passed_on() -> Outcome {
    let origin = ManualOrigin::start().await?;
    let config = api(&[origin.address()]) + &open_route("");
    let gateway = gateway(config).listener("protocols: [http1, http2]").start().await?;
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    let mut client = RawConnection::connect(gateway.address()).await?;
    let trailers = "x-user-id: mallory\r\nX_User_Id: mallory\r\n";
    let request = format!(
        "POST /public HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\
         trailer: x-user-id\r\n\r\n1\r\na\r\n0\r\n{trailers}\r\n"
    );
    client.send(request.as_bytes()).await?;
    let mut exchange = origin.request().await?;
    assert_eq!(exchange.until("\r\n0\r\n\r\n").await?, "1\r\na\r\n0\r\n\r\n");
    assert!(!exchange.head.contains("mallory"), "{}", exchange.head);
    exchange.send(answer).await?;
    client.response().await?.expect(200)?;

    let mut client = RawHttp2::begin(gateway.address()).await?;
    let head = header_block("POST", "/public", &[("trailer", "x-user-id")]);
    client.send(&Frame::new(frame::HEADERS, frame::END_HEADERS, 1, head)).await?;
    client.send(&Frame::new(frame::DATA, 0, 1, *b"a")).await?;
    let mut trailers = vec![0, 9];
    trailers.extend(b"x-user-id\x07mallory");
    let flags = frame::END_HEADERS | frame::END_STREAM;
    client.send(&Frame::new(frame::HEADERS, flags, 1, trailers)).await?;
    let mut exchange = origin.request().await?;
    assert_eq!(exchange.until("\r\n0\r\n\r\n").await?, "1\r\na\r\n0\r\n\r\n");
    assert!(!exchange.head.contains("mallory"), "{}", exchange.head);
    exchange.send(answer).await?;
    client.until(|other| other.kind == frame::HEADERS && other.stream == 1).await?;
    Ok(())
}

/// What counts only from trusted proxies does not reach services from others either.
#[tokio::test]
async fn words_of_trusted_proxies_come_from_trusted_proxies() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "routes:\n  \
           - {name: all, match: {pathPrefix: /}, upstream: {service: api}, policies: {auth: none}}\n  \
           - {name: gold, match: {pathPrefix: /, headers: [{name: x-verified-plan, exact: gold, \
              trustedOnly: true}]}, upstream: {service: api}, policies: {auth: none}}\n";
    let request =
        Request::get("/").header("x-verified-plan", "gold").header("x_verified_plan", "b");
    for (proxies, expected) in [("127.0.0.1", &["gold", "b"][..]), ("192.0.2.1", &[])] {
        let listener = format!("trustedProxies: [{proxies}]");
        let gateway = gateway(&config).listener(&listener).start().await?;
        gateway.send(&request).await?.expect(200)?;
        let seen = origin.last().context("a request")?;
        assert_eq!(told(&seen, "x-verified-plan"), expected, "{proxies}");
    }
    Ok(())
}

/// R106, T28: values equal the claims, whatever is in them, and nothing is forged with them.
#[tokio::test]
async fn claims_arrive_as_they_were_proved() -> Outcome {
    let roles = "  x-roles: {fact: roles, encoding: json}\n  x-user-roles: roles\n";
    let scene = Scene::start(&(HEADERS.to_owned() + roles)).await?;
    let profile = serde_json::json!({"name": "Zoë\r\nx-user-id: root", "age": 7});
    let base = || scene.issuer.token().claim("desk", "Größe 7%").claim("jti", "t-1");
    let token = base().claim("profile", profile.clone()).claim("roles", ["a", "b"]).sign()?;
    scene.gateway.send(&Request::get("/private").bearer(&token)).await?.expect(200)?;
    let seen = scene.last()?;
    for (name, value) in [
        ("x-user-id", "alice"),
        ("x_desk", "Gr%C3%B6%C3%9Fe 7%25"),
        ("x-name", "Wm/Dqw0KeC11c2VyLWlkOiByb290"),
        ("x-proof", "t-1"),
        ("x-by", "main"),
        ("x-roles", r#"["a","b"]"#),
        ("x-user-roles", "a,b"),
    ] {
        assert_eq!(told(&seen, name), [value], "{name}");
    }
    let told_profile = seen.header("x-profile").context("x-profile")?;
    assert!(told_profile.is_ascii(), "{told_profile}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(told_profile)?, profile);

    let served = scene.origin.total();
    for (what, token) in [
        ("a role of two", base().claim("roles", ["a,admin"]).sign()?),
        ("a line break", base().claim("desk", "a\r\nx-user-id: root").sign()?),
        ("a value too long", base().claim("desk", "x".repeat(4097)).sign()?),
    ] {
        let refused = scene.gateway.send(&Request::get("/private").bearer(&token)).await?;
        refused.problem(401, "auth.token_untrusted").context(what)?;
    }
    assert_eq!(scene.origin.total(), served);
    let longest = base().claim("desk", "x".repeat(4096)).sign()?;
    scene.gateway.send(&Request::get("/private").bearer(&longest)).await?.expect(200)?;
    let absent = scene.issuer.token().sign()?;
    scene.gateway.send(&Request::get("/private").bearer(&absent)).await?.expect(200)?;
    assert_eq!(told(&scene.last()?, "x_desk"), [""; 0]);
    assert_eq!(told(&scene.last()?, "x-profile"), [""; 0]);
    Ok(())
}

/// R031, T12, T16: what a client says of itself moves no limit, no cached answer, no route and no
/// version.
#[tokio::test]
async fn no_policy_reads_what_a_client_says_of_itself() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let config = api(&[origin.address()])
        + &provider(&issuer)
        + "rateLimits:\n  \
             few: {algorithm: sliding_window, limit: 2, window: 1h, key: [tenantId, userId]}\n\
           routes:\n  \
           - {name: limited, match: {pathPrefix: /limited}, upstream: {service: api},\n     \
              policies: {auth: none, rateLimit: few}}\n  \
           - {name: cached, match: {pathPrefix: /cached}, upstream: {service: api},\n     \
              policies: {auth: required, cache: {ttl: 1h, key: {tenant: true}, shared: true}}}\n";
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    for (number, status) in [(0, 200), (1, 200), (2, 429), (3, 429)] {
        let who = format!("user-{number}");
        let request = Request::get("/limited")
            .header("x-user-id", &who)
            .header("x_tenant_id", &who)
            .header("x-tenant-id", &who);
        assert_eq!(gateway.send(&request).await?.status, status, "{who}");
    }
    let cached = async |tenant: &str, claimed: &str| {
        let token = issuer.token().tenant(tenant).sign()?;
        let request = Request::get("/cached?cc=public,max-age=60&vary=X-Tenant-Id")
            .bearer(&token)
            .header("x-tenant-id", claimed)
            .header("x_tenant_id", claimed);
        gateway.send(&request).await?.expect(200)?.echoed("x-tenant-id")
    };
    assert_eq!(cached("acme", "initech").await?.as_deref(), Some("acme"));
    assert_eq!(cached("initech", "acme").await?.as_deref(), Some("initech"));
    assert_eq!(cached("acme", "acme").await?.as_deref(), Some("acme"));
    assert_eq!(cached("initech", "other").await?.as_deref(), Some("initech"));
    Ok(())
}
