//! What a route does with a request: rewrites, redirects, answers of its own.

use std::path::Path;

use tidegate_kit::{Issuer, Origin, Outcome, RawConnection, Request, Result};
use tokio::process::Command;

use crate::{BINARY, api, gateway, has_keys, provider};

/// The example, without its listener and with these addresses instead of its ports.
fn example(origins: &[&Origin; 4]) -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples/rewrite.yaml");
    let text = std::fs::read_to_string(file)?;
    let services = text.find("\nservices:").unwrap_or_default();
    let mut config = text[services..].to_owned();
    for (index, origin) in origins.iter().enumerate() {
        config =
            config.replace(&format!("127.0.0.1:{}", 3001 + index), &origin.address().to_string());
    }
    Ok(config)
}

/// R034, R035: public paths, internal services; all four mappings from one file.
#[tokio::test]
async fn public_paths_lead_to_internal_services() -> Outcome {
    let (users, orders) = (Origin::start("users").await?, Origin::start("orders").await?);
    let (payments, users_v2) = (Origin::start("payments").await?, Origin::start("users-v2").await?);
    let gateway = gateway(example(&[&users, &orders, &payments, &users_v2])?).start().await?;
    for (target, origin, expected) in [
        ("/api/v1/users/42?a=%2F&b", "users", "/users/42?a=%2F&b"),
        ("/api/v1/users", "users", "/users"),
        ("/api/v1/orders/7/", "orders", "/orders/7/"),
        ("/api/v1/payments?", "payments", "/payments?"),
        ("/api/v2/users/42", "users-v2", "/users/42"),
        ("/api/v1/./users//%34%32", "users", "/users/42"),
    ] {
        let response = gateway.get(target).await?.expect(200)?;
        assert_eq!(response.origin(), Some(origin), "{target}");
        assert_eq!(response.json()?["target"], expected, "{target}");
        let line = gateway.access_line(response.required("x-request-id")?).await?;
        let path = expected.split('?').next();
        assert_eq!(line["upstreamPath"].as_str(), path, "{target}: both paths are logged");
        assert!(line["path"].as_str().is_some_and(|path| path.starts_with("/api/v")), "{line}");
    }
    let moved = gateway.get("/users?id=3").await?.expect(308)?;
    assert_eq!(moved.header("location"), Some("/api/v1/users?id=3"));
    assert_eq!(gateway.get("/health").await?.expect(200)?.text(), "ok\n");
    gateway.send(&Request::post("/health", "")).await?.problem(405, "route.method_not_allowed")?;
    Ok(())
}

#[tokio::test]
async fn the_example_passes_the_check() -> Outcome {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples/rewrite.yaml");
    let checked = Command::new(BINARY).arg("check").arg(file).output().await?;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    Ok(())
}

/// A client cannot make a path of an expression's groups that the configuration did not mean.
#[tokio::test]
async fn an_expression_rewrites_and_never_makes_an_ambiguous_path() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "policies: {auth: none}\nroutes:\n  - name: all\n    match: {pathPrefix: /}\n    \
           upstream: {service: api}\n    rewrite: {regex: \
           {pattern: \"/u/(?<id>[^/]*)(/.*)?\", with: \"/users/${id}${2}\"}}\n";
    let gateway = gateway(config).start().await?;
    for (target, expected) in
        [("/u/42/orders?x=/u/1", "/users/42/orders?x=/u/1"), ("/u/42", "/users/42"), ("/x", "/x")]
    {
        let response = gateway.get(target).await?.expect(200)?;
        assert_eq!(response.json()?["target"], expected);
    }
    let unchanged = gateway.get("/x").await?.expect(200)?;
    let line = gateway.access_line(unchanged.required("x-request-id")?).await?;
    assert!(line["upstreamPath"].is_null(), "{line}");
    // Without an id the slashes would meet; a route on `/users/` would have seen another path.
    let before = origin.total();
    gateway.get("/u/%C3%A9").await?.expect(200)?;
    let refused = gateway.get("/u//x").await?;
    // `/u//x` is `/u/x` before it is rewritten.
    assert_eq!(refused.expect(200)?.json()?["target"], "/users/x");
    assert_eq!(origin.total(), before + 2);
    Ok(())
}

#[tokio::test]
async fn a_rewrite_that_gives_no_sound_path_is_refused() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "policies: {auth: none}\nroutes:\n  - name: all\n    match: {pathPrefix: /}\n    \
           upstream: {service: api}\n    rewrite: {regex: \
           {pattern: \"/x-?(.*)\", with: \"/a/${1}/b\"}}\n";
    let gateway = gateway(config).start().await?;
    assert_eq!(gateway.get("/x-y").await?.expect(200)?.json()?["target"], "/a/y/b");
    for target in ["/x", "/x-/y", "/x-..", "/x-."] {
        gateway.get(target).await?.problem(400, "request.path_refused")?;
    }
    assert_eq!(origin.total(), 1);
    Ok(())
}

/// R037.
#[tokio::test]
async fn the_service_sees_the_host_that_the_route_says() -> Outcome {
    let origin = Origin::start("api").await?;
    let address = origin.address().to_string();
    let config = api(&[origin.address()])
        + "policies: {auth: none}\nroutes:\n  \
           - {name: plain, match: {pathPrefix: /plain}, upstream: {service: api}}\n  \
           - {name: own, match: {pathPrefix: /own}, upstream: {service: api, changeOrigin: true}}\n  \
           - {name: given, match: {pathPrefix: /given}, upstream: {service: api}, \
              rewrite: {host: \"internal.example:81\"}}\n";
    let gateway = gateway(config).start().await?;
    for (target, expected) in [
        ("/plain", "API.example:8080"),
        ("/own", address.as_str()),
        ("/given", "internal.example:81"),
    ] {
        let request = Request::get(target).host("API.example:8080");
        let response = gateway.send(&request).await?.expect(200)?;
        assert_eq!(response.echoed("host")?.as_deref(), Some(expected), "{target}");
        let original = response.echoed("x-forwarded-host")?;
        assert_eq!(original.as_deref(), Some("API.example:8080"), "{target}");
    }
    Ok(())
}

#[tokio::test]
async fn clients_are_sent_elsewhere_and_nowhere_else() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "policies: {auth: none}\nroutes:\n  \
           - {name: secure, match: {pathPrefix: /secure}, redirect: {scheme: https}}\n  \
           - {name: moved, match: {pathPrefix: /moved}, redirect: {status: 302, path: /new}}\n  \
           - {name: away, match: {pathPrefix: /away}, \
              redirect: {status: 307, host: www.example, keepQuery: false}}\n  \
           - {name: plain, match: {pathPrefix: /plain}, redirect: {scheme: http}}\n";
    let gateway = gateway(config).start().await?;
    for (target, status, location, kept) in [
        ("/secure/a?b=c", 308, "https://api.example/secure/a?b=c", "max-age=3600"),
        // What could end the header or name another host is escaped, or refused before.
        (
            "/secure/%22x?%0d%0aset-cookie:a",
            308,
            "https://api.example/secure/%22x?%0d%0aset-cookie:a",
            "max-age=3600",
        ),
        ("//secure/a", 308, "https://api.example/secure/a", "max-age=3600"),
        ("/moved/x?y", 302, "/new?y", "no-store"),
        ("/away/x?y", 307, "http://www.example/away/x", "no-store"),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let request = Request::new(method, target).host("Api.example:8080");
            let response = gateway.send(&request).await?.expect(status)?;
            assert_eq!(response.header("location"), Some(location), "{method} {target}");
            assert_eq!(response.header("cache-control"), Some(kept), "{method} {target}");
            assert_eq!(response.header("content-length"), Some("0"), "{method} {target}");
            assert!(response.header("x-request-id").is_some(), "{method} {target}");
            assert!(response.header("set-cookie").is_none(), "{method} {target}");
        }
    }
    let round = gateway.send(&Request::get("/plain").host("api.example")).await?;
    round.problem(500, "route.redirect_loop")?;
    gateway
        .send(&Request::get("/secure").host("evil.example/x"))
        .await?
        .problem(400, "request.host_invalid")?;
    assert_eq!(origin.total(), 0);
    Ok(())
}

#[tokio::test]
async fn fixed_answers_go_out_like_all_others() -> Outcome {
    let config = "policies: {auth: none}\nroutes:\n  \
        - {name: closed, match: {pathPrefix: /closed}, respond: {status: 503, body: \"{}\", \
           contentType: application/json, headers: {Retry-After: \"60\"}}}\n  \
        - {name: nothing, match: {pathPrefix: /nothing}, respond: {status: 204}}\n";
    let gateway = gateway(config).start().await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    // The bodies that nobody wants do not cost the connection.
    for request in [Request::get("/closed"), Request::post("/closed", vec![b'x'; 1000])] {
        let response = connection.request(&request).await?.expect(503)?;
        assert_eq!(response.text(), "{}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("retry-after"), Some("60"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let line = gateway.access_line(response.required("x-request-id")?).await?;
        assert_eq!(line["status"], 503);
        assert_eq!(line["route"], "closed");
        assert!(line["code"].is_null(), "the configuration's answer is no refusal: {line}");
        assert!(line["upstream"].is_null(), "{line}");
    }
    let head = connection.request(&Request::new("HEAD", "/closed")).await?.expect(503)?;
    assert_eq!(head.header("content-length"), Some("2"));
    let nothing = connection.request(&Request::get("/nothing")).await?.expect(204)?;
    assert!(nothing.header("content-length").is_none(), "{nothing}");
    connection.request(&Request::get("/closed")).await?.expect(503)?;
    gateway.settled().await?;
    let labels = [("route", "closed"), ("status", "503")];
    let counted = gateway.metric("tidegate_requests_total", &labels).await?;
    assert!((counted - 4.0).abs() < 0.1, "{counted}");
    Ok(())
}

/// A route without a service is a route all the same.
#[tokio::test]
async fn fixed_answers_ask_who_calls_and_count() -> Outcome {
    let issuer = Issuer::start().await?;
    let config = provider(&issuer)
        + "rateLimits:\n  few: {algorithm: token_bucket, capacity: 2, refillPerSecond: 0.01, \
           key: [userId], failureMode: local}\n\
           policies: {auth: required, rateLimit: few}\nroutes:\n  \
           - {name: me, match: {pathPrefix: /me}, respond: {status: 200, body: hi}}\n  \
           - {name: go, match: {pathPrefix: /go}, redirect: {path: /me}}\n";
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    gateway.get("/me").await?.problem(401, "auth.credentials_missing")?;
    gateway.get("/go").await?.problem(401, "auth.credentials_missing")?;
    let token = issuer.token().subject("alice").sign()?;
    gateway.send(&Request::get("/me").bearer(&token)).await?.expect(200)?;
    gateway.send(&Request::get("/go").bearer(&token)).await?.expect(308)?;
    let third = gateway.send(&Request::get("/me").bearer(&token)).await?;
    third.problem(429, "limit.exceeded")?;
    Ok(())
}

/// An explanation says what is sent, and what is answered.
#[tokio::test]
async fn explanations_tell_what_a_route_does() -> Outcome {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples/rewrite.yaml");
    let told = async |path: &str| -> Result<serde_json::Value> {
        let mut command = Command::new(BINARY);
        command
            .args(["explain", "--json", "--host", "api.example"])
            .arg(&file)
            .args(["--path", path]);
        let output = command.output().await?;
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let sent = told("/api/v1/payments/3?x").await?;
    assert_eq!(sent["decision"], "forward");
    assert_eq!(sent["sent"]["target"], "/payments/3?x");
    let host = serde_json::json!(["host", "127.0.0.1:3003"]);
    assert!(sent["sent"]["added"].as_array().is_some_and(|all| all.contains(&host)), "{sent}");
    let redirect = told("/users?id=3").await?;
    assert_eq!(redirect["decision"], "redirect");
    assert_eq!(redirect["answered"]["status"], 308);
    let location = serde_json::json!(["location", "/api/v1/users?id=3"]);
    let headers = redirect["answered"]["headers"].as_array();
    assert!(headers.is_some_and(|all| all.contains(&location)), "{redirect}");
    let respond = told("/health").await?;
    assert_eq!(
        (&respond["decision"], &respond["answered"]["bodyBytes"]),
        (&"respond".into(), &3.into())
    );
    Ok(())
}

/// Actions that contradict each other never run.
#[tokio::test]
async fn contradictions_are_refused_with_the_file() -> Outcome {
    let folder = std::env::temp_dir();
    let check = async |name: &str, route: &str, services: &str| -> Result<String> {
        let file = folder.join(format!("tidegate-{}-{name}.yaml", std::process::id()));
        let text = format!(
            "listeners: [{{name: a, address: \"127.0.0.1:8000\"}}]\npolicies: {{auth: none}}\n\
             services: {{s: {{endpoints: [{{address: \"127.0.0.1:1\"}}]{services}}}}}\nroutes:\n  \
             - {{name: a, match: {{pathPrefix: /}}, {route}}}\n"
        );
        std::fs::write(&file, text)?;
        let output = Command::new(BINARY).arg("check").arg(&file).output().await?;
        std::fs::remove_file(&file)?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout))
    };
    for (name, route, services, code) in [
        ("both", "upstream: {service: s}, respond: {status: 200}", "", "route.action"),
        ("none", "policies: {}", "", "route.action"),
        (
            "rewrite",
            "respond: {status: 200}, rewrite: {stripPrefix: /a}",
            "",
            "rewrite.no_upstream",
        ),
        (
            "host",
            "upstream: {service: s, changeOrigin: true}, rewrite: {host: a.example}",
            "",
            "rewrite.host_twice",
        ),
        (
            "upgrade",
            "upstream: {service: s}, policies: {upgrades: [websocket]}",
            ", protocol: http2",
            "upgrade.http2",
        ),
        ("unused", "respond: {status: 200}, policies: {retries: 1}", "", "action.unused"),
        ("loop", "redirect: {status: 301}", "", "redirect.loop"),
    ] {
        let said = check(name, route, services).await?;
        assert!(said.contains(code), "{name}: {said}");
    }
    Ok(())
}
