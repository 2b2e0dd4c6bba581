//! Which route takes a request, where more than host, path and method decides: headers, API
//! versions, claims, tenants, regions. And that nothing a client writes leads it astray.

use serde_json::{Value, json};
use tidegate_kit::{
    Algorithm, Gateway, GeoDatabase, Issuer, Mood, Origin, Outcome, Request, Response, Result,
    Signature,
};

use crate::{gateway, has_keys, provider};

/// A service for each of these origins.
fn services(origins: &[(&str, &Origin)]) -> String {
    let services = origins.iter().fold(String::new(), |services, (name, origin)| {
        format!("{services}  {name}: {{endpoints: [{{address: \"{}\"}}]}}\n", origin.address())
    });
    format!("services:\n{services}")
}

/// A route; `when` and `policies` are YAML.
fn named(name: &str, service: &str, when: &str, policies: &str) -> String {
    format!(
        "  - {{name: {name}, match: {{{when}}}, upstream: {{service: {service}}}, \
         policies: {{{policies}}}}}\n"
    )
}

/// A route with the name of its service.
fn route(service: &str, when: &str, policies: &str) -> String {
    named(service, service, when, policies)
}

/// Which origin answers a request.
async fn taker(gateway: &Gateway, request: &Request) -> Result<String> {
    let response = gateway.send(request).await?.expect(200)?;
    Ok(response.origin().unwrap_or_default().to_owned())
}

/// Names of the headers of an answer, and what differs for every request left out.
fn shape(response: &Response) -> Vec<String> {
    let mut names: Vec<String> = response.headers.iter().map(|(name, _)| name.clone()).collect();
    names.sort_unstable();
    names
}

const STABLE: &str = "pathPrefix: /, methods: [GET]";

/// R028, R029, R030.
#[tokio::test]
async fn a_canary_is_chosen_by_a_header_and_nothing_shows_it() -> Outcome {
    let (stable, canary, beta) = (
        Origin::start("stable").await?,
        Origin::start("canary").await?,
        Origin::start("beta").await?,
    );
    let config = services(&[("stable", &stable), ("canary", &canary), ("beta", &beta)])
        + "configVersion: 7\nroutes:\n"
        + &route("stable", STABLE, "auth: none")
        + &route(
            "canary",
            "pathPrefix: /, methods: [GET], headers: [{name: x-canary-group, exact: enabled}]",
            "auth: none",
        )
        + &route(
            "beta",
            "pathPrefix: /checkout, headers: [{name: x-beta-features, contains: new-checkout}]",
            "auth: none",
        );
    let gateway = gateway(config).start().await?;
    let get = || Request::get("/echo");
    let group = |value: &str| get().header("x-canary-group", value);
    assert_eq!(taker(&gateway, &group("enabled")).await?, "canary");
    for request in [get(), group("disabled"), group("Enabled"), group("enabled2"), group("")] {
        assert_eq!(taker(&gateway, &request).await?, "stable");
    }
    let features = |list: &str| Request::get("/checkout/echo").header("x-beta-features", list);
    assert_eq!(taker(&gateway, &features("a, new-checkout")).await?, "beta");
    assert_eq!(taker(&gateway, &features("new-checkout-2")).await?, "stable");

    // The log says which rule fired, under which configuration.
    let noted = group("enabled").header("x-request-id", "steered-by-a-header");
    let steered = gateway.send(&noted).await?.expect(200)?;
    let line = gateway.access_line("steered-by-a-header").await?;
    assert_eq!((&line["route"], &line["configVersion"]), (&json!("canary"), &json!(7)));
    // The answer does not: both look alike, but for what the service itself says.
    let plain = gateway.send(&get()).await?.expect(200)?;
    assert_eq!(shape(&steered), shape(&plain));
    let ours = |(name, value): &&(String, String)| {
        !["x-origin", "date"].contains(&name.as_str()) && value.contains("canary")
    };
    assert_eq!(steered.headers.iter().find(ours), None);
    Ok(())
}

/// R028: only the load balancer chooses.
#[tokio::test]
async fn a_header_for_trusted_proxies_is_nothing_in_a_clients_hand() -> Outcome {
    let (stable, canary) = (Origin::start("stable").await?, Origin::start("canary").await?);
    let condition = "{name: x-canary-group, exact: enabled, trustedOnly: true}";
    let config = services(&[("stable", &stable), ("canary", &canary)])
        + "routes:\n"
        + &route("stable", STABLE, "auth: none")
        + &route("canary", &format!("{STABLE}, headers: [{condition}]"), "auth: none");
    let request = Request::get("/echo").header("x-canary-group", "enabled");
    let proxied = gateway(&config).listener("trustedProxies: [127.0.0.1]").start().await?;
    assert_eq!(taker(&proxied, &request).await?, "canary");
    assert_eq!(taker(&proxied, &Request::get("/echo")).await?, "stable");
    let open = gateway(&config).listener("trustedProxies: [192.0.2.1]").start().await?;
    assert_eq!(taker(&open, &request).await?, "stable");
    Ok(())
}

/// R031, R030: from the verified token, by whatever means it is forged.
#[tokio::test]
async fn a_plan_is_what_the_token_proves() -> Outcome {
    let (issuer, basic) = (Issuer::start().await?, Origin::start("basic").await?);
    let enterprise = Origin::start("enterprise").await?;
    let plan = "pathPrefix: /, claims: [{name: plan, exact: enterprise}]";
    let config = services(&[("basic", &basic), ("enterprise", &enterprise)])
        + &provider(&issuer)
        + "apiKeys: [{id: robot, key: \"${env:ROBOT}\", plan: enterprise}]\nroutes:\n"
        + &route("basic", "pathPrefix: /", "auth: none")
        + &route("enterprise", plan, "auth: required");
    let key = "0123456789abcdef0123";
    let gateway = gateway(config).environment("ROBOT", key).start().await?;
    has_keys(&gateway).await?;
    let get = || Request::get("/echo");
    let token = |plan: &str| issuer.token().claim("plan", plan);

    let good = token("enterprise").sign()?;
    assert_eq!(taker(&gateway, &get().bearer(&good)).await?, "enterprise");
    assert_eq!(taker(&gateway, &get().bearer(&good)).await?, "enterprise", "remembered");
    assert_eq!(taker(&gateway, &get().header("x-api-key", key)).await?, "enterprise");
    let echo = gateway.send(&get().bearer(&good)).await?.expect(200)?;
    assert_eq!(echo.echoed("x-client-plan")?.as_deref(), Some("enterprise"));
    assert_eq!(echo.echoed("authorization")?, None);

    let broken = Signature::Broken(Algorithm::Es256);
    for (what, request) in [
        ("no token", get()),
        ("another plan", get().bearer(&token("basic").sign()?)),
        ("capitals", get().bearer(&token("Enterprise").sign()?)),
        ("an expired token", get().bearer(&token("enterprise").expires_in(-60).sign()?)),
        ("a broken token", get().bearer(&token("enterprise").signature(broken).sign()?)),
        (
            "an unsigned token",
            get().bearer(&token("enterprise").signature(Signature::Empty).sign()?),
        ),
        ("an unknown key", get().header("x-api-key", "fedcba98765432100123")),
        ("headers", get().header("plan", "enterprise").header("x-client-plan", "enterprise")),
        ("a parameter", Request::get("/echo?plan=enterprise&claim:plan=enterprise")),
    ] {
        assert_eq!(taker(&gateway, &request).await?, "basic", "{what}");
    }
    Ok(())
}

/// Misleading somebody is worse than letting them wait.
#[tokio::test]
async fn without_keys_nobody_is_led_astray() -> Outcome {
    let (issuer, basic) = (Issuer::start().await?, Origin::start("basic").await?);
    issuer.set_mood(Mood::Status(500));
    let config = services(&[("basic", &basic)])
        + &provider(&issuer)
        + "routes:\n"
        + &route("basic", "pathPrefix: /", "auth: none")
        + &named(
            "claimed",
            "basic",
            "pathPrefix: /, claims: [{name: plan, exact: a}]",
            "auth: required",
        );
    let gateway = gateway(config).start().await?;
    let token = issuer.token().claim("plan", "a").sign()?;
    let refused = gateway.send(&Request::get("/echo").bearer(&token)).await?;
    refused.problem(503, "auth.keys_unavailable")?;
    assert_eq!(basic.total(), 0);
    assert_eq!(taker(&gateway, &Request::get("/echo")).await?, "basic", "nothing to verify");
    Ok(())
}

/// R033: by claim, by API key and by host, and never at somebody else's door.
#[tokio::test]
async fn tenants_have_their_own_services() -> Outcome {
    let (issuer, acme) = (Issuer::start().await?, Origin::start("acme").await?);
    let (globex, shared) = (Origin::start("globex").await?, Origin::start("shared").await?);
    let config = services(&[("acme", &acme), ("globex", &globex), ("shared", &shared)])
        + &provider(&issuer)
        + "apiKeys: [{id: robot, key: \"${env:ROBOT}\", tenantId: globex}]\n\
           tenants:\n  acme: {status: ACTIVE, hosts: [acme.example.com]}\n  \
           globex: {status: ACTIVE, hosts: [globex.example.com]}\nroutes:\n"
        + &route("acme", "pathPrefix: /app, tenant: acme", "auth: required")
        + &route("globex", "pathPrefix: /app, tenant: [globex]", "auth: required")
        + &route("shared", "pathPrefix: /app", "auth: required")
        + &named("acme-site", "acme", "pathPrefix: /site, tenant: acme", "auth: none");
    let key = "0123456789abcdef0123";
    let gateway = gateway(config).environment("ROBOT", key).start().await?;
    has_keys(&gateway).await?;
    let at = |host: &str| Request::get("/app/echo").host(host);
    let neutral = || at("api.example.com");
    let token = |tenant: &str| issuer.token().tenant(tenant).sign();

    assert_eq!(taker(&gateway, &neutral().bearer(&token("acme")?)).await?, "acme");
    assert_eq!(taker(&gateway, &neutral().bearer(&token("globex")?)).await?, "globex");
    assert_eq!(taker(&gateway, &neutral().header("x-api-key", key)).await?, "globex");
    assert_eq!(taker(&gateway, &neutral().bearer(&token("unheard-of")?)).await?, "shared");
    let forged = neutral().bearer(&token("unheard-of")?).header("x-tenant-id", "acme");
    assert_eq!(taker(&gateway, &forged).await?, "shared");
    let none = issuer.token().sign()?;
    assert_eq!(taker(&gateway, &at("ACME.example.com:8080").bearer(&none)).await?, "acme");
    assert_eq!(taker(&gateway, &at("acme.example.com").bearer(&token("acme")?)).await?, "acme");

    let before = acme.total() + globex.total() + shared.total();
    let noted = at("acme.example.com").bearer(&token("globex")?).header("x-request-id", "foreign");
    gateway.send(&noted).await?.problem(403, "auth.tenant_refused")?;
    assert_eq!(gateway.access_line("foreign").await?["code"], "auth.tenant_refused");
    let robot = at("acme.example.com").header("x-api-key", key);
    gateway.send(&robot).await?.problem(403, "auth.tenant_refused")?;
    // By its host the request is acme's, whose route wants to know the caller.
    gateway.send(&at("acme.example.com")).await?.problem(401, "auth.credentials_missing")?;
    gateway.send(&neutral()).await?.problem(401, "auth.credentials_missing")?;
    assert_eq!(acme.total() + globex.total() + shared.total(), before);

    // A public route goes by the host alone, and an unknown tenant gets 404 without a default.
    let site = |host: &str| Request::get("/site/echo").host(host);
    assert_eq!(taker(&gateway, &site("acme.example.com")).await?, "acme");
    gateway.send(&site("globex.example.com")).await?.problem(404, "route.not_found")?;
    gateway.send(&site("other.example.com")).await?.problem(404, "route.not_found")?;
    Ok(())
}

/// R032: the address that trusted proxies vouch for, not the one a client writes.
#[tokio::test]
async fn regions_are_those_of_the_trusted_client_address() -> Outcome {
    let (eu, rest) = (Origin::start("eu").await?, Origin::start("rest").await?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("countries.mmdb");
    GeoDatabase::world()?.write(&file)?;
    let config = services(&[("eu", &eu), ("rest", &rest)])
        + &format!("geo: {{database: {}}}\nroutes:\n", file.display())
        + &route("rest", "pathPrefix: /", "auth: none")
        + &route("eu", "pathPrefix: /, region: [CH, \"continent:EU\"]", "auth: none");
    let from = |address: &str| Request::get("/echo").header("x-forwarded-for", address);
    let german = "192.0.2.7";
    let proxied = gateway(&config).listener("trustedProxies: [127.0.0.1]").start().await?;
    for address in [german, "198.51.100.1", "2001:db8:1::7", "203.0.113.1", "203.0.113.65"] {
        assert_eq!(taker(&proxied, &from(address)).await?, "eu", "{address}");
    }
    for address in ["198.51.100.200", "2001:db8:2::1", "10.0.0.1", "not an address"] {
        assert_eq!(taker(&proxied, &from(address)).await?, "rest", "{address}");
    }
    // The client wrote the first address, the proxy saw the second.
    let spoofed = from(&format!("{german}, 198.51.100.200"));
    assert_eq!(taker(&proxied, &spoofed).await?, "rest");
    let direct = gateway(&config).start().await?;
    for request in [from(german), from(german).header("x-real-ip", german)] {
        assert_eq!(taker(&direct, &request).await?, "rest", "nobody vouches for it");
    }
    Ok(())
}

/// R036.
#[tokio::test]
async fn api_versions_by_header_and_by_path() -> Outcome {
    let (v1, v2) = (Origin::start("v1").await?, Origin::start("v2").await?);
    let named = |name: &str, service: &str, when: &str| named(name, service, when, "auth: none");
    let config = services(&[("v1", &v1), ("v2", &v2)])
        + "routes:\n"
        + &named("legacy", "v1", "pathPrefix: /v1")
        + &named("new", "v2", "pathPrefix: /v2")
        + &named("items-2", "v2", "pathPrefix: /items, acceptVersion: v2")
        + &named("items", "v1", "pathPrefix: /items")
        + &named("strict-2", "v2", "pathPrefix: /strict, acceptVersion: \"2\"");
    let gateway = gateway(config).start().await?;
    let asks = |path: &str, version: &str| Request::get(path).header("Accept-Version", version);
    assert_eq!(taker(&gateway, &Request::get("/v1/users/echo")).await?, "v1");
    assert_eq!(taker(&gateway, &Request::get("/v2/users/echo")).await?, "v2");
    gateway.get("/v3/users/echo").await?.problem(404, "route.not_found")?;
    for version in ["v2", "2", "V2"] {
        assert_eq!(taker(&gateway, &asks("/items/echo", version)).await?, "v2", "{version}");
        assert_eq!(taker(&gateway, &asks("/strict/echo", version)).await?, "v2", "{version}");
    }
    for version in ["v1", "v3", "20", ""] {
        assert_eq!(taker(&gateway, &asks("/items/echo", version)).await?, "v1", "{version}");
        gateway.send(&asks("/strict/echo", version)).await?.problem(404, "route.not_found")?;
    }
    assert_eq!(taker(&gateway, &Request::get("/items/echo")).await?, "v1");
    gateway.get("/strict/echo").await?.problem(404, "route.not_found")?;
    Ok(())
}

/// R038, T9: public paths are public, and nothing that only looks like them.
#[tokio::test]
async fn public_paths_are_exactly_those() -> Outcome {
    let api = Origin::start("api").await?;
    let public =
        |(name, path): (&str, &str)| named(name, "api", &format!("path: {path}"), "auth: none");
    let paths = [
        ("health", "/health"),
        ("login", "/auth/login"),
        ("refresh", "/auth/refresh"),
        ("token", "/auth/token"),
    ];
    let config = services(&[("api", &api)])
        + "apiKeys: [{id: operator, key: \"${env:OPERATOR}\"}]\n\
           rateLimits: {one: {algorithm: token_bucket, capacity: 1, refillPerSecond: 0.001, \
           key: [clientIp]}}\nroutes:\n"
        + &paths.map(public).concat()
        + &route("api", "pathPrefix: /", "auth: required, rateLimit: one");
    let gateway = gateway(config).environment("OPERATOR", "0123456789abcdef0123").start().await?;
    for (_, path) in paths {
        for spelling in [path.to_owned(), format!("{path}?next=/admin"), format!("/x/..{path}")] {
            gateway.get(&spelling).await?.expect(200)?;
        }
    }
    let seen = api.total();
    assert_eq!(seen, 12);
    for spelling in [
        "/health/../admin",
        "/healthx",
        "/health-admin",
        "/health/",
        "/health/x",
        "/Health",
        "/%68ealth/x",
        "/auth/login/../x",
        "/auth/login/../../admin",
        "/auth/login/.%2e/.%2e/admin",
        "/auth/loginx",
        "/auth",
        "/admin?/health",
    ] {
        gateway.get(spelling).await?.problem(401, "auth.credentials_missing")?;
    }
    // What two servers could read differently is not served to anybody.
    for spelling in ["/auth/login%2f..%2fadmin", "/auth/login%5c..%5cadmin", "/health;/../admin"] {
        gateway.get(spelling).await?.problem(400, "request.path_refused")?;
    }
    assert_eq!(api.total(), seen);
    Ok(())
}

/// What `explain` says is what happens, and without a caller it says that the caller decides.
#[tokio::test]
async fn explain_shows_what_the_caller_decides() -> Outcome {
    let (issuer, api) = (Issuer::start().await?, Origin::start("api").await?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gateway.yaml");
    let named = |name: &str, when: &str, auth: &str| named(name, "api", when, auth);
    let config = "listeners: [{name: main, address: \"127.0.0.1:0\"}]\n".to_owned()
        + &services(&[("api", &api)])
        + &provider(&issuer)
        + "tenants: {acme: {status: ACTIVE, hosts: [acme.example.com]}}\nroutes:\n"
        + &named("everybody", "pathPrefix: /", "auth: none")
        + &named(
            "enterprise",
            "pathPrefix: /, claims: [{name: plan, exact: enterprise}]",
            "auth: required",
        )
        + &named("acme", "pathPrefix: /acme, tenant: acme", "auth: required");
    std::fs::write(&file, config)?;
    let explain = async |host: &str, path: &str, more: &[&str]| -> Result<Value> {
        let mut command = tokio::process::Command::new(crate::BINARY);
        command.args(["explain", &file.display().to_string(), "--json", "--host", host]);
        let output = command.args(["--path", path]).args(more).output().await?;
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let host = "api.example.com";
    let nobody = explain(host, "/x", &[]).await?;
    assert_eq!(nobody["route"], "everybody");
    let reasons = nobody["candidates"].to_string();
    assert!(reasons.contains("not met without a verified caller: claim `plan`"), "{reasons}");
    let as_enterprise = ["--as", "sub=alice,tenant=acme,plan=enterprise"];
    assert_eq!(explain(host, "/x", &as_enterprise).await?["route"], "enterprise");
    assert_eq!(explain(host, "/acme", &as_enterprise).await?["route"], "acme");
    assert_eq!(explain(host, "/x", &["--as", "sub=alice,plan=basic"]).await?["route"], "everybody");
    let token = issuer.token().claim("plan", "enterprise").sign()?;
    let by_token = explain(host, "/x", &["--token", &token]).await?;
    assert_eq!(
        (&by_token["route"], &by_token["decision"]),
        (&json!("enterprise"), &json!("forward"))
    );
    let foreign = explain("acme.example.com", "/acme", &["--as", "sub=bob,tenant=globex"]).await?;
    assert_eq!(foreign["refusal"]["code"], "auth.tenant_refused");
    assert_eq!(foreign["route"], "acme");
    let at_the_door = explain("acme.example.com", "/acme", &[]).await?;
    assert_eq!(
        (&at_the_door["route"], &at_the_door["refusal"]["status"]),
        (&json!("acme"), &json!(401))
    );
    Ok(())
}
