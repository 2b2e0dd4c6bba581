//! May this caller do this, here: scopes, roles, products, networks, by method.

use tidegate_kit::{Gateway, Issuer, Origin, Outcome, Request, Response, Result};

use crate::{api, gateway, has_keys, provider};

/// An origin, an issuer, and a gateway with these routes that has the issuer's keys.
struct Scene {
    origin: Origin,
    issuer: Issuer,
    gateway: Gateway,
}

impl Scene {
    async fn start(routes: &str) -> Result<Self> {
        let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
        let config = api(&[origin.address()]) + &provider(&issuer) + "routes:\n" + routes;
        let gateway = gateway(config).listener("trustedProxies: [127.0.0.0/8]").start().await?;
        has_keys(&gateway).await?;
        Ok(Self { origin, issuer, gateway })
    }

    async fn send(&self, request: Request, scopes: &str, roles: &[&str]) -> Result<Response> {
        let token = self.issuer.token().scopes(scopes).claim("roles", roles).sign()?;
        self.gateway.send(&request.bearer(&token)).await
    }
}

/// R111: `POST` needs another scope than `GET`; a refusal names what is missing, and what would
/// be enough for this method.
#[tokio::test]
async fn each_method_has_scopes_of_its_own() -> Outcome {
    let scene = Scene::start(
        "  - name: orders\n    match: {pathPrefix: /api/orders}\n    upstream: {service: api}\n    \
         policies:\n      auth: required\n      authorization:\n        \
         requiredRoles: [clerk]\n        methods:\n          \
         GET: {requiredScopes: [orders:read]}\n          \
         POST: {requiredScopes: [orders:read, orders:write]}\n          \
         DELETE: {anyScope: [orders:admin, admin:full], anyRole: [boss, auditor]}\n",
    )
    .await?;
    let orders = |method: &str| Request::new(method, "/api/orders/7");
    for method in ["GET", "HEAD"] {
        let response = scene.send(orders(method), "orders:read", &["clerk"]);
        assert_eq!(response.await?.status, 200, "{method}");
        let response = scene.send(orders(method), "orders:write", &["clerk"]);
        assert_eq!(response.await?.status, 403, "{method}");
    }
    scene.send(orders("PUT"), "", &["clerk"]).await?.expect(200)?;
    let served = scene.origin.total();

    let refused = scene.send(orders("POST"), "orders:read", &["clerk"]).await?;
    let problem = refused.problem(403, "auth.scope_insufficient")?;
    assert_eq!(problem["detail"], "missing required scope: orders:write");
    let challenge = refused.required("www-authenticate")?;
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.contains("scope=\"orders:read orders:write\""), "{challenge}");

    let refused = scene.send(orders("DELETE"), "orders:read", &["clerk", "boss"]).await?;
    let problem = refused.problem(403, "auth.scope_insufficient")?;
    assert_eq!(problem["detail"], "missing any scope of: orders:admin, admin:full");
    assert!(refused.required("www-authenticate")?.contains("scope=\"orders:admin\""));
    let refused = scene.send(orders("DELETE"), "admin:full", &["clerk"]).await?;
    let problem = refused.problem(403, "auth.role_insufficient")?;
    assert_eq!(problem["detail"], "missing any role of: boss, auditor");
    let refused = scene.send(orders("GET"), "orders:read", &["boss"]).await?;
    let problem = refused.problem(403, "auth.role_insufficient")?;
    assert_eq!(problem["detail"], "missing required role: clerk");
    assert_eq!(scene.origin.total(), served);
    scene.send(orders("DELETE"), "admin:full", &["clerk", "auditor"]).await?.expect(200)?;
    Ok(())
}

/// R112, T9: no spelling of a path goes around the route that guards it.
#[tokio::test]
async fn no_path_that_means_the_admins_passes_without_their_scope() -> Outcome {
    let scene = Scene::start(
        "  - {name: rest, match: {pathPrefix: /}, upstream: {service: api}, \
            policies: {auth: none}}\n  \
           - {name: health, match: {pathPrefix: /health}, upstream: {service: api}, \
            policies: {auth: none}}\n  \
           - {name: admin, match: {pathPrefix: /api/admin}, upstream: {service: api}, \
            policies: {auth: required, authorization: {requiredScopes: [admin:read], \
            methods: {DELETE: {requiredScopes: [admin:full]}}}}}\n",
    )
    .await?;
    let targets = [
        "/api/admin",
        "/api/admin/",
        "/api/admin/users/7",
        "/api//admin/users",
        "//api/admin",
        "/api/./admin/users",
        "/api/x/../admin/users",
        "/health/../api/admin/users",
        "/api/%61dmin/users",
        "/api/%61%64%6d%69%6e",
        "/%61pi/admin?x=/public",
        "/api/admin/../admin/users",
    ];
    for target in targets {
        let response = scene.send(Request::new("DELETE", target), "admin:read", &[]).await?;
        // Some spellings are refused for their ambiguity before anybody looks at the caller.
        assert!([400, 403].contains(&response.status), "{target}: {response}");
        let anonymous = scene.gateway.send(&Request::new("GET", target)).await?;
        assert!([400, 401].contains(&anonymous.status), "{target}: {anonymous}");
    }
    assert_eq!(scene.origin.total(), 0);
    let full = scene.send(Request::new("DELETE", targets[2]), "admin:read admin:full", &[]);
    full.await?.expect(200)?;
    scene.send(Request::get(targets[2]), "admin:read", &[]).await?.expect(200)?;
    // Other paths stay public, also those that only begin alike.
    scene.gateway.get("/api/administrators").await?.expect(200)?;
    scene.gateway.get("/health-admin").await?.expect(200)?;
    Ok(())
}

/// R115: a key for one product is none for another, and a key for none is for none.
#[tokio::test]
async fn a_key_opens_the_products_that_it_is_for() -> Outcome {
    let origin = Origin::start("api").await?;
    let route = |product: &str| {
        format!(
            "  - {{name: {product}, match: {{pathPrefix: /{product}}}, upstream: {{service: api}}, \
             policies: {{auth: required, authorization: {{product: {product}}}}}}}\n"
        )
    };
    let config = api(&[origin.address()])
        + "apiKeys:\n  \
           - {id: one, key: \"${env:ONE}\", products: [orders]}\n  \
           - {id: both, key: \"${env:BOTH}\", products: [stock, orders]}\n  \
           - {id: none, key: \"${env:NONE}\"}\nroutes:\n"
        + &route("orders")
        + &route("stock");
    let gateway = gateway(config)
        .environment("ONE", "one-0123456789abcdef")
        .environment("BOTH", "both-0123456789abcdef")
        .environment("NONE", "none-0123456789abcdef")
        .start()
        .await?;
    for (key, target, status) in [
        ("one-0123456789abcdef", "/orders", 200),
        ("one-0123456789abcdef", "/stock", 403),
        ("both-0123456789abcdef", "/orders", 200),
        ("both-0123456789abcdef", "/stock", 200),
        ("none-0123456789abcdef", "/orders", 403),
    ] {
        let response = gateway.send(&Request::get(target).header("x-api-key", key)).await?;
        if status == 403 {
            response.problem(403, "auth.product_refused")?;
        } else {
            response.expect(status)?;
        }
    }
    assert_eq!(origin.total(), 3);
    Ok(())
}

/// Networks are checked on every route, before credentials are looked at.
#[tokio::test]
async fn clients_come_from_where_they_may() -> Outcome {
    let scene = Scene::start(
        "  - {name: open, match: {pathPrefix: /open}, upstream: {service: api}, \
            policies: {auth: none, authorization: {deny: [198.51.100.0/24]}}}\n  \
           - {name: inside, match: {pathPrefix: /inside}, upstream: {service: api}, \
            policies: {auth: required, authorization: {allow: [10.0.0.0/8, '2001:db8::/32'], \
            deny: [10.9.0.0/16]}}}\n",
    )
    .await?;
    let from = |target: &str, client: &str| Request::get(target).header("x-forwarded-for", client);
    for (client, admitted) in [
        ("198.51.100.7", false),
        ("::ffff:198.51.100.7", false),
        ("198.51.101.7", true),
        ("2001:db8::7", true),
    ] {
        let response = scene.gateway.send(&from("/open", client)).await?;
        if admitted {
            response.expect(200)?;
        } else {
            response.problem(403, "auth.address_refused")?;
        }
    }
    for (client, admitted) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("2001:db8::7", true),
        ("10.9.2.3", false),
        ("192.0.2.1", false),
        ("2001:db9::7", false),
    ] {
        let response = scene.send(from("/inside", client), "", &[]).await?;
        if admitted {
            response.expect(200)?;
            scene.gateway.send(&from("/inside", client)).await?.expect(401)?;
            continue;
        }
        response.problem(403, "auth.address_refused")?;
        // Whoever may not come learns nothing about credentials.
        for request in [from("/inside", client), from("/inside", client).bearer("nonsense")] {
            let refused = scene.gateway.send(&request).await?;
            refused.problem(403, "auth.address_refused")?;
            assert_eq!(refused.header("www-authenticate"), None);
        }
    }
    Ok(())
}

/// Where claims choose the route, its networks are looked at before its caller is.
#[tokio::test]
async fn a_route_by_claims_asks_nobody_from_elsewhere() -> Outcome {
    let scene = Scene::start(
        "  - {name: rest, match: {pathPrefix: /}, upstream: {service: api}, \
            policies: {auth: none}}\n  \
           - {name: gold, match: {pathPrefix: /, claims: [{name: plan, exact: gold}]}, \
            upstream: {service: api}, policies: {auth: required, \
            authorization: {allow: [10.0.0.0/8]}}}\n",
    )
    .await?;
    let gold = scene.issuer.token().claim("plan", "gold").sign()?;
    let from = |client: &str| Request::get("/").header("x-forwarded-for", client).bearer(&gold);
    let response = scene.gateway.send(&from("10.1.2.3")).await?.expect(200)?;
    assert_eq!(response.echoed("x-user-id")?.as_deref(), Some("alice"));
    let refused = scene.gateway.send(&from("192.0.2.1")).await?;
    refused.problem(403, "auth.address_refused")?;
    let line = scene.gateway.access_line(refused.required("x-request-id")?).await?;
    assert_eq!(line["route"], "gold");
    Ok(())
}
