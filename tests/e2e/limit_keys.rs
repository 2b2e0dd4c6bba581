//! What limits count apart: parts of keys, what stands for a missing one, plans, routes; and
//! what clients are told of all that.

use tidegate_kit::{Gateway, Issuer, Origin, Outcome, Redis, Request, Result};

use crate::{api, gateway, has_keys, open_route, provider};

/// A limit that gives nothing back within a test.
fn limit(name: &str, limit: u32, more: &str) -> String {
    format!("  {name}: {{limit: {limit}, window: 1h, {more}}}\n")
}

/// Sends requests one after the other and checks their status.
async fn statuses(gateway: &Gateway, request: &Request, expected: &[u16]) -> Result<()> {
    for status in expected {
        gateway.send(request).await?.expect(*status)?;
    }
    Ok(())
}

/// A request's tenant, user and one more header.
type From = (&'static str, &'static str, Option<(&'static str, &'static str)>);

const RED: Option<(&str, &str)> = Some(("x-team", "red"));
const BLUE: Option<(&str, &str)> = Some(("x-team", "blue"));
const LEFT: Option<(&str, &str)> = Some(("cookie", "a=1; team=red"));
const RIGHT: Option<(&str, &str)> = Some(("cookie", "team=blue"));

const NEAR: Option<(&str, &str)> = Some(("x-forwarded-for", "2001:db8::1"));
const SAME_64: Option<(&str, &str)> = Some(("x-forwarded-for", "2001:db8::2:0:0:1"));
const FAR: Option<(&str, &str)> = Some(("x-forwarded-for", "2001:db8:0:1::1"));

/// The parts of a key, two requests with one budget, and one with another.
const DIMENSIONS: [(&str, &str, [From; 3]); 7] = [
    ("tenant", "tenantId", [("a", "u", None), ("a", "v", None), ("b", "u", None)]),
    ("user", "userId", [("a", "u", None), ("b", "u", None), ("a", "v", None)]),
    ("claim", "'claim:teams'", [("a", "u", None), ("a", "u", RED), ("a", "v", None)]),
    ("address", "clientIp", [("a", "u", NEAR), ("b", "v", SAME_64), ("a", "u", FAR)]),
    ("header", "'header:x-team'", [("a", "u", RED), ("b", "v", RED), ("a", "u", BLUE)]),
    ("cookie", "'cookie:team'", [("a", "u", LEFT), ("b", "v", LEFT), ("a", "u", RIGHT)]),
    ("both", "tenantId, 'header:x-team'", [("a", "u", RED), ("a", "v", RED), ("a", "u", BLUE)]),
];

/// R078: each dimension alone, and two together.
#[tokio::test]
async fn each_dimension_is_a_key() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let limit = |(name, key, _): &(&str, &str, _)| limit(name, 1, &format!("key: [{key}]"));
    let limits: String = DIMENSIONS.iter().map(limit).collect();
    let route = |(name, ..): &(&str, &str, _)| {
        format!(
            "  - {{name: {name}, match: {{pathPrefix: /{name}}}, upstream: {{service: api}}, \
             policies: {{rateLimit: {name}}}}}\n"
        )
    };
    let routes: String = DIMENSIONS.iter().map(route).collect();
    let config = api(&[origin.address()])
        + &provider(&issuer)
        + "rateLimits:\n"
        + &limits
        + "policies: {auth: required}\nroutes:\n"
        + &routes;
    let gateway = gateway(config).listener("trustedProxies: [127.0.0.0/8]").start().await?;
    has_keys(&gateway).await?;
    let request = |route: &str, (tenant, user, header): From| {
        let token = issuer.token().tenant(tenant).subject(user);
        let token = token.claim("teams", serde_json::json!([tenant, user])).sign()?;
        let request = Request::get(&format!("/{route}")).bearer(&token);
        Ok::<_, tidegate_kit::Error>(match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        })
    };
    for (route, _, [first, second, other]) in DIMENSIONS {
        gateway.send(&request(route, first)?).await?.expect(200)?;
        let refused = gateway.send(&request(route, second)?).await?;
        let problem = refused.problem(429, "limit.exceeded")?;
        assert_eq!(problem["violated-policies"], serde_json::json!([route]));
        statuses(&gateway, &request(route, other)?, &[200, 429]).await?;
    }
    // Both parts count.
    statuses(&gateway, &request("both", ("b", "u", RED))?, &[200, 429]).await?;
    Ok(())
}

/// R081: three plans, and whoever has none of them.
#[tokio::test]
async fn each_plan_has_its_own_limit() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "apiKeys:\n  \
           - {id: a, key: \"${env:A}\", plan: free}\n  \
           - {id: b, key: \"${env:B}\", plan: pro}\n  \
           - {id: c, key: \"${env:C}\", plan: enterprise}\n  \
           - {id: d, key: \"${env:D}\", plan: gold}\n  \
           - {id: e, key: \"${env:E}\"}\n\
           rateLimits:\n  \
           by-plan:\n    \
           {limit: 100, window: 1m, key: [apiKey],\n     \
            plans: {free: {limit: 100}, pro: {limit: 1000}, enterprise: {limit: 10000}}}\n  \
           few: {limit: 2, window: 1h, key: [apiKey], plans: {pro: {limit: 3}}}\n\
           policies: {auth: required}\n\
           routes:\n  \
           - {name: told, match: {pathPrefix: /told}, upstream: {service: api},\n     \
              policies: {rateLimit: by-plan}}\n  \
           - {name: few, match: {pathPrefix: /few}, upstream: {service: api},\n     \
              policies: {rateLimit: few}}\n";
    let mut setup = gateway(config);
    for name in ["A", "B", "C", "D", "E"] {
        setup = setup.environment(name, &format!("{name}-0123456789abcdef"));
    }
    let gateway = setup.start().await?;
    for (name, told) in [("A", 100), ("B", 1000), ("C", 10_000), ("D", 100), ("E", 100)] {
        let key = format!("{name}-0123456789abcdef");
        let with = |path| Request::get(path).header("x-api-key", &key);
        let response = gateway.send(&with("/told")).await?.expect(200)?;
        assert_eq!(response.number("x-ratelimit-limit")?, told, "{name}");
        assert_eq!(response.number("x-ratelimit-remaining")?, told - 1, "{name}");
        let few: &[u16] = if name == "B" { &[200, 200, 200, 429] } else { &[200, 200, 429] };
        statuses(&gateway, &with("/few"), few).await?;
    }
    Ok(())
}

/// R082: per user, and per address for those who are nobody.
#[tokio::test]
async fn who_has_no_user_counts_by_address() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let config = api(&[origin.address()])
        + &provider(&issuer)
        + "rateLimits:\n"
        + &limit("usual", 1, "key: [userId]")
        + &limit("strict", 1, "key: [userId], missingKey: refuse")
        + &limit("shared", 1, "key: [userId], missingKey: global")
        + "routes:\n";
    let config = ["usual", "strict", "shared"].iter().fold(config, |config, name| {
        let route = |prefix: &str, auth: &str| {
            format!(
                "  - {{name: {prefix}-{name}, match: {{pathPrefix: /{prefix}/{name}}}, \
                 upstream: {{service: api}}, policies: {{auth: {auth}, rateLimit: {name}}}}}\n"
            )
        };
        config + &route("open", "none") + &route("mine", "required")
    });
    let gateway = gateway(config).listener("trustedProxies: [127.0.0.0/8]").start().await?;
    has_keys(&gateway).await?;
    let (alice, bob) =
        (issuer.token().subject("alice").sign()?, issuer.token().subject("bob").sign()?);
    let from = |name: &str, address: &str| {
        Request::get(&format!("/open/{name}")).header("x-forwarded-for", address)
    };
    let mine = |name: &str, token: &str, address: &str| {
        let request = Request::get(&format!("/mine/{name}")).bearer(token);
        request.header("x-forwarded-for", address)
    };
    statuses(&gateway, &from("usual", "192.0.2.1"), &[200, 429]).await?;
    statuses(&gateway, &from("usual", "192.0.2.2"), &[200, 429]).await?;
    statuses(&gateway, &mine("usual", &alice, "192.0.2.1"), &[200, 429]).await?;
    statuses(&gateway, &mine("usual", &alice, "192.0.2.3"), &[429]).await?;
    statuses(&gateway, &mine("usual", &bob, "192.0.2.1"), &[200, 429]).await?;

    let refused = gateway.send(&from("strict", "192.0.2.1")).await?;
    let problem = refused.problem(403, "limit.key_missing")?;
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("userId") && !detail.contains("192.0.2.1"), "{detail}");
    statuses(&gateway, &mine("strict", &alice, "192.0.2.1"), &[200, 429]).await?;

    statuses(&gateway, &from("shared", "192.0.2.1"), &[200]).await?;
    statuses(&gateway, &from("shared", "192.0.2.2"), &[429]).await?;
    statuses(&gateway, &mine("shared", &alice, "192.0.2.2"), &[200, 429]).await?;
    Ok(())
}

/// R054, R079: routes that name one limit share its budget; `perRoute` keeps them apart.
#[tokio::test]
async fn routes_share_a_budget_unless_they_have_their_own() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &format!("redis: {{url: \"{}\", timeout: 5s}}\n", redis.url())
        + "rateLimits:\n"
        + &limit("shared", 3, "key: [clientIp]")
        + &limit("apart", 1, "key: [clientIp], perRoute: true")
        + "policies: {auth: none}\n\
           routes:\n  \
           - {name: a, match: {pathPrefix: /a}, upstream: {service: api},\n     \
              policies: {rateLimit: shared}}\n  \
           - {name: b, match: {pathPrefix: /b}, upstream: {service: api},\n     \
              policies: {rateLimit: [shared, apart]}}\n  \
           - {name: c, match: {pathPrefix: /c}, upstream: {service: api},\n     \
              policies: {rateLimit: apart}}\n";
    let gateway = gateway(config).start().await?;
    let fired = async |path: &str| {
        let problem = gateway.get(path).await?.problem(429, "limit.exceeded")?;
        Ok::<_, tidegate_kit::Error>(problem["violated-policies"][0].clone())
    };
    statuses(&gateway, &Request::get("/a"), &[200, 200]).await?;
    statuses(&gateway, &Request::get("/b"), &[200]).await?;
    assert_eq!(fired("/a").await?, "shared");
    statuses(&gateway, &Request::get("/c"), &[200]).await?;
    assert_eq!(fired("/c").await?, "apart");
    Ok(())
}

/// R083, R084, R085: two limits together; the refusal names the one that fired, and both are
/// told on 200 and on 429.
#[tokio::test]
async fn two_limits_are_told_and_the_one_that_fires_is_named() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "rateLimits:\n  \
           rate: {limit: 2, window: 1m, key: [clientIp, routeName], mode: exact}\n  \
           daily: {limit: 300, window: 1d, key: [clientIp], cost: 99, overage: 10%}\n  \
           unseen: {limit: 1, window: 1h, key: [clientIp], shadow: true}\n\
           policies: {auth: none, rateLimit: [rate, daily]}\n\
           routes:\n  \
           - {name: one, match: {pathPrefix: /one}, upstream: {service: api}}\n  \
           - {name: two, match: {pathPrefix: /two}, upstream: {service: api}}\n";
    let gateway = gateway(config).start().await?;
    let policy = "\"rate\";q=2;w=60, \"daily\";q=300;w=86400;tidegate-overage=30";
    for left in [1, 0] {
        let response = gateway.get("/one").await?.expect(200)?;
        assert_eq!(response.required("ratelimit-policy")?, policy);
        let limits = response.required("ratelimit")?;
        assert!(limits.starts_with(&format!("\"rate\";r={left};t=")), "{limits}");
        assert_eq!(response.number("x-ratelimit-limit")?, 2);
        assert_eq!(response.number("x-ratelimit-remaining")?, left);
        assert!((1..=120).contains(&response.number("x-ratelimit-reset")?), "{response}");
    }
    let refused = gateway.get("/one").await?;
    let problem = refused.problem(429, "limit.exceeded")?;
    assert_eq!(problem["violated-policies"], serde_json::json!(["rate"]));
    assert_eq!(problem["retry_after"], refused.number("retry-after")?);
    assert_eq!(refused.number("x-ratelimit-reset")?, refused.number("retry-after")?);
    assert_eq!(refused.required("ratelimit-policy")?, policy);
    assert!(refused.number("retry-after")? <= 120);

    // The refused request took nothing of the other: one more passes, and then that is used up.
    gateway.get("/two").await?.expect(200)?;
    let refused = gateway.get("/two").await?;
    let problem = refused.problem(429, "limit.exceeded")?;
    assert_eq!(problem["violated-policies"], serde_json::json!(["daily"]));
    assert_eq!(refused.number("x-ratelimit-limit")?, 300);
    assert!(refused.number("retry-after")? > 120, "{refused}");
    Ok(())
}

/// R076: what is told is more than what is enforced.
#[tokio::test]
async fn a_margin_is_enforced_and_not_told() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "rateLimits:\n"
        + &limit("careful", 20, "key: [clientIp], margin: 10%")
        + &open_route("rateLimit: careful");
    let gateway = gateway(config).start().await?;
    for n in 1..=18 {
        let response = gateway.get("/").await?.expect(200)?;
        assert_eq!(response.number("x-ratelimit-limit")?, 20);
        assert_eq!(response.number("x-ratelimit-remaining")?, 18 - n);
    }
    let refused = gateway.get("/").await?.expect(429)?;
    assert_eq!(refused.number("x-ratelimit-limit")?, 20);
    Ok(())
}
