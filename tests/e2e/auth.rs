//! Who is calling, and may they: tokens, API keys, challenges, identity headers, key sets.

use tidegate_kit::{
    Algorithm, Gateway, Issuer, Mood, Origin, Outcome, RSA_PUBLIC_PEM, Request, Response, Result,
    Signature,
};

use crate::{api, gateway, has_keys, provider, provider_with};

/// A route that wants a token, `/private`; one that also wants a scope, `/orders`; and a public
/// one, `/public`.
const ROUTES: &str = "routes:
  - {name: private, match: {pathPrefix: /private}, upstream: {service: api},
     policies: {auth: required}}
  - {name: orders, match: {pathPrefix: /orders}, upstream: {service: api},
     policies: {auth: required,
       authorization: {requiredScopes: [orders:read, orders:write], tenantStatus: [ACTIVE]}}}
  - {name: public, match: {pathPrefix: /public}, upstream: {service: api},
     policies: {auth: none}}
";

/// An origin, an issuer, and a gateway that has the issuer's keys.
struct Scene {
    origin: Origin,
    issuer: Issuer,
    gateway: Gateway,
}

impl Scene {
    async fn start() -> Result<Self> {
        Self::start_with("{}", "").await
    }

    /// With these settings for the key set and this further configuration.
    async fn start_with(jwks: &str, more: &str) -> Result<Self> {
        let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
        let config = api(&[origin.address()]) + &provider_with(&issuer, jwks) + more + ROUTES;
        let gateway = gateway(config).start().await?;
        has_keys(&gateway).await?;
        Ok(Self { origin, issuer, gateway })
    }

    async fn private(&self, token: &str) -> Result<Response> {
        self.gateway.send(&Request::get("/private").bearer(token)).await
    }

    /// How many fetches of the key set did this.
    async fn fetches(&self, outcome: &str) -> Result<f64> {
        let labels = [("provider", "main"), ("outcome", outcome)];
        self.gateway.metric("tidegate_keyring_fetches_total", &labels).await
    }
}

#[tokio::test]
async fn a_good_token_of_every_algorithm_passes_and_its_claims_become_headers() -> Outcome {
    let scene = Scene::start().await?;
    for algorithm in Algorithm::ALL {
        let token = scene
            .issuer
            .token()
            .algorithm(algorithm)
            .tenant("acme")
            .scopes("orders:read orders:write")
            .claim("roles", serde_json::json!(["admin", "clerk"]))
            .claim("email", "alice@example.com")
            .sign()?;
        let request = Request::get("/private")
            .bearer(&token)
            .header("cookie", "session=1")
            .header("x-api-key", "not-a-key-but-secret");
        let response = scene.gateway.send(&request).await?.expect(200)?;
        for (name, value) in [
            ("x-user-id", "alice"),
            ("x-tenant-id", "acme"),
            ("x-auth-scopes", "orders:read orders:write"),
            ("x-user-roles", "admin,clerk"),
            ("x-user-email", "alice@example.com"),
        ] {
            assert_eq!(response.echoed(name)?.as_deref(), Some(value), "{algorithm:?} {name}");
        }
        for name in ["authorization", "cookie", "x-api-key", "x-client-id", "x-client-plan"] {
            assert_eq!(response.echoed(name)?, None, "{algorithm:?} {name}");
        }
    }
    // R086: verifying three tokens asked the issuer for nothing more.
    assert_eq!(scene.issuer.fetches(), 1);
    Ok(())
}

/// R092 to R097, T7, T22: what is not a good token is 401, each kind with its own code.
#[tokio::test]
async fn tokens_that_are_not_good_are_401_each_with_its_reason() -> Outcome {
    let scene = Scene::start().await?;
    let token = || scene.issuer.token();
    let hs256 = Signature::Hmac(RSA_PUBLIC_PEM.as_bytes().to_vec());
    let rsa_kid = token().algorithm(Algorithm::Rs256);
    let cases = [
        ("expired", token().expires_in(-31).sign()?, "auth.token_expired"),
        ("without expiry", token().without("exp").sign()?, "auth.token_malformed"),
        ("not yet", token().claim("nbf", 32_503_680_000_i64).sign()?, "auth.token_not_yet_valid"),
        ("audience", token().claim("aud", "other").sign()?, "auth.token_audience"),
        ("no audience", token().without("aud").sign()?, "auth.token_audience"),
        ("issuer", token().claim("iss", "http://other").sign()?, "auth.token_untrusted"),
        ("no issuer", token().without("iss").sign()?, "auth.token_untrusted"),
        ("unsigned", token().signature(Signature::Empty).sign()?, "auth.token_malformed"),
        ("public key as secret", token().signature(hs256).sign()?, "auth.token_untrusted"),
        (
            "algorithm of another key",
            rsa_kid.header("alg", "ES256").sign()?,
            "auth.token_untrusted",
        ),
        ("no JWT", "abc.def".to_owned(), "auth.token_malformed"),
        ("no subject", token().without("sub").sign()?, "auth.token_malformed"),
    ];
    for (what, token, code) in cases {
        let refused = scene.private(&token).await?;
        refused.problem(401, code).map_err(|error| named(what, &error))?;
        let challenge = refused.required("www-authenticate")?;
        assert!(challenge.starts_with("Bearer realm="), "{what}: {challenge}");
        assert!(challenge.contains("error=\"invalid_token\""), "{what}: {challenge}");
    }
    for algorithm in Algorithm::ALL {
        let broken = token().signature(Signature::Broken(algorithm)).sign()?;
        scene.private(&broken).await?.problem(401, "auth.token_untrusted")?;
    }
    assert_eq!(scene.origin.total(), 0);
    Ok(())
}

fn named(what: &str, error: &tidegate_kit::Error) -> tidegate_kit::Error {
    tidegate_kit::Error::new(format!("{what}: {error}"))
}

/// R095: no credentials are no error of the client yet.
#[tokio::test]
async fn no_credentials_are_401_with_a_bare_challenge() -> Outcome {
    let scene = Scene::start().await?;
    let get = || Request::get("/private");
    for request in [get(), get().header("authorization", "Basic YTpi")] {
        let refused = scene.gateway.send(&request).await?;
        refused.problem(401, "auth.credentials_missing")?;
        let challenge = refused.required("www-authenticate")?;
        assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        assert!(!challenge.contains("error="), "{challenge}");
    }
    let empty = scene.gateway.send(&get().header("authorization", "Bearer ")).await?.expect(401)?;
    assert!(empty.required("www-authenticate")?.starts_with("Bearer "));
    assert_eq!(scene.origin.total(), 0);
    Ok(())
}

/// R094, with room for a slow machine; the exact second is a unit test's.
#[tokio::test]
async fn a_clock_difference_is_forgiven() -> Outcome {
    let scene = Scene::start().await?;
    let just = scene.issuer.token().expires_in(-15).sign()?;
    scene.private(&just).await?.expect(200)?;
    let long = scene.issuer.token().expires_in(-60).sign()?;
    scene.private(&long).await?.problem(401, "auth.token_expired")?;
    Ok(())
}

/// R111, R114.
#[tokio::test]
async fn scopes_and_the_tenants_status_are_403() -> Outcome {
    let tenants = "tenants: {acme: {status: ACTIVE}, initech: {status: SUSPENDED}}\n";
    let scene = Scene::start_with("{}", tenants).await?;
    let orders = async |tenant: &str, scopes: &str| {
        let token = scene.issuer.token().tenant(tenant).scopes(scopes).sign()?;
        scene.gateway.send(&Request::get("/orders").bearer(&token)).await
    };
    let refused = orders("acme", "orders:read").await?;
    let problem = refused.problem(403, "auth.scope_insufficient")?;
    assert_eq!(problem["detail"], "missing required scope: orders:write");
    let challenge = refused.required("www-authenticate")?;
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.contains("scope=\"orders:read orders:write\""), "{challenge}");

    let all = "orders:write orders:read";
    orders("initech", all).await?.problem(403, "auth.tenant_refused")?;
    orders("unheard-of", all).await?.problem(403, "auth.tenant_refused")?;
    assert_eq!(scene.origin.total(), 0);
    orders("acme", all).await?.expect(200)?;
    Ok(())
}

/// R108, D18: whoever sends identity headers is not believed, on any route.
#[tokio::test]
async fn identity_headers_of_clients_never_arrive() -> Outcome {
    let scene = Scene::start().await?;
    let forge = |request: Request| {
        ["X-User-Id", "x-tenant-id", "x-user-roles", "x-auth-scopes", "x-user-email", "x-client-id"]
            .iter()
            .fold(request, |request, name| request.header(name, "mallory").header(name, "root"))
    };
    scene.gateway.send(&forge(Request::get("/public"))).await?.expect(200)?;
    let seen = scene.origin.last();
    let names = ["x-user-id", "x-tenant-id", "x-user-roles", "x-auth-scopes", "x-user-email"];
    for name in names {
        assert_eq!(seen.as_ref().and_then(|seen| seen.header(name)), None, "{name}");
    }
    let token = scene.issuer.token().sign()?;
    scene.gateway.send(&forge(Request::get("/private").bearer(&token))).await?.expect(200)?;
    let seen = scene.origin.last();
    for name in names {
        let expected = if name == "x-user-id" { Some("alice") } else { None };
        assert_eq!(seen.as_ref().and_then(|seen| seen.header(name)), expected, "{name}");
        assert!(seen.as_ref().is_some_and(|seen| seen.count(name) <= 1), "{name}");
    }
    Ok(())
}

/// Public routes do not look at credentials, and so do not keep them from the service; routes
/// that authenticate do keep them, unless told otherwise.
#[tokio::test]
async fn credentials_go_where_the_route_says() -> Outcome {
    let more = "policies: {forwardCredentials: true}\n";
    let forwarding = Scene::start_with("{}", more).await?;
    let token = forwarding.issuer.token().sign()?;
    let response = forwarding.private(&token).await?.expect(200)?;
    assert_eq!(response.echoed("authorization")?, Some(format!("Bearer {token}")));

    let scene = Scene::start().await?;
    let public = Request::get("/public").bearer("not a token").header("cookie", "a=b");
    let response = scene.gateway.send(&public).await?.expect(200)?;
    assert_eq!(response.echoed("authorization")?.as_deref(), Some("Bearer not a token"));
    assert_eq!(response.echoed("cookie")?.as_deref(), Some("a=b"));
    Ok(())
}

/// R089, R193: the keys that are there stay, whatever becomes of the issuer.
#[tokio::test]
async fn an_outage_of_the_issuer_is_not_noticed() -> Outcome {
    let scene = Scene::start_with("{refresh: 1s, timeout: 1s}", "").await?;
    for mood in [Mood::Status(500), Mood::Hang] {
        scene.issuer.set_mood(mood);
        let before = scene.fetches("failed").await?;
        let labels = [("provider", "main"), ("outcome", "failed")];
        let more = |failed: f64| failed > before;
        scene.gateway.metric_until("tidegate_keyring_fetches_total", &labels, more).await?;
        scene.private(&scene.issuer.token().sign()?).await?.expect(200)?;
    }
    scene.issuer.stop().await;
    let response =
        scene.private(&scene.issuer.token().subject("bob").sign()?).await?.expect(200)?;
    assert_eq!(response.echoed("x-user-id")?.as_deref(), Some("bob"));
    Ok(())
}

/// D17: no keys at all is the gateway's trouble, not the client's; it ends by itself.
#[tokio::test]
async fn without_any_key_it_is_503_until_the_issuer_is_there() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    issuer.stop().await;
    let config = api(&[origin.address()]) + &provider(&issuer) + ROUTES;
    let gateway = gateway(config).start().await?;
    let request = Request::get("/private").bearer(&issuer.token().sign()?);
    let refused = gateway.send(&request).await?;
    refused.problem(503, "auth.keys_unavailable")?;
    assert!(refused.number("retry-after")? > 0);
    gateway.get("/public").await?.expect(200)?;
    issuer.restart().await?;
    has_keys(&gateway).await?;
    gateway.send(&request).await?.expect(200)?;
    Ok(())
}

/// R088, R090: a new key is accepted with its first token, for one fetch.
#[tokio::test]
async fn a_new_key_is_fetched_when_it_is_first_used() -> Outcome {
    let scene = Scene::start().await?;
    let old = scene.issuer.token().sign()?;
    scene.private(&old).await?.expect(200)?;
    scene.issuer.add_key(Algorithm::Es256)?;
    let new = scene.issuer.token().sign()?;
    scene.private(&new).await?.expect(200)?;
    scene.private(&old).await?.expect(200)?;
    assert_eq!(scene.issuer.fetches(), 2);
    Ok(())
}

/// A verified token is remembered, but not beyond its key.
#[tokio::test]
async fn a_token_dies_with_its_key() -> Outcome {
    let scene = Scene::start().await?;
    let old = scene.issuer.token().sign()?;
    for _ in 0..3 {
        scene.private(&old).await?.expect(200)?;
    }
    let hits = scene.gateway.metric("tidegate_token_cache_total", &[("outcome", "hit")]).await?;
    assert!((hits - 2.0).abs() < 0.1, "{hits}");
    scene.issuer.rotate()?;
    // The first token of a new key brings the new set.
    scene.private(&scene.issuer.token().sign()?).await?.expect(200)?;
    scene.private(&old).await?.problem(401, "auth.token_untrusted")?;
    Ok(())
}

/// R088: tokens of unknown keys cannot make the gateway flood its issuer.
#[tokio::test]
async fn unknown_keys_cause_a_bounded_number_of_fetches() -> Outcome {
    let scene = Scene::start_with("{fetchesPerMinute: 3}", "").await?;
    for number in 0..40 {
        let token = scene.issuer.token().header("kid", format!("unknown-{number}")).sign()?;
        scene.private(&token).await?.problem(401, "auth.token_untrusted")?;
    }
    // The first, and at most three for the forty unknown keys; the quota may spread them.
    assert!((2..=1 + 3).contains(&scene.issuer.fetches()), "{}", scene.issuer.fetches());
    let labels = [("provider", "main")];
    let unknown = scene.gateway.metric("tidegate_keyring_unknown_kid_total", &labels).await?;
    assert!(unknown >= 40.0, "{unknown}");
    scene.private(&scene.issuer.token().sign()?).await?.expect(200)?;
    Ok(())
}

/// R101, R103, R115.
#[tokio::test]
async fn api_keys_prove_what_the_configuration_says() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "apiKeys:\n  \
           - {id: partner-one, key: \"${env:ONE}\", tenantId: acme, plan: pro, \
              scopes: [orders:read, orders:write]}\n  \
           - {id: partner-two, key: \"${env:TWO}\", active: false}\n\
           tenants: {acme: {status: ACTIVE}}\n"
        + ROUTES;
    let gateway = gateway(config)
        .environment("ONE", "one-0123456789abcdef")
        .environment("TWO", "two-0123456789abcdef")
        .start()
        .await?;
    let orders = |key: &str| Request::get("/orders").header("x-api-key", key);
    let response = gateway.send(&orders("one-0123456789abcdef")).await?.expect(200)?;
    for (name, value) in
        [("x-user-id", "partner-one"), ("x-tenant-id", "acme"), ("x-client-plan", "pro")]
    {
        assert_eq!(response.echoed(name)?.as_deref(), Some(value), "{name}");
    }
    assert_eq!(response.echoed("x-api-key")?, None);
    for key in ["two-0123456789abcdef", "one-0123456789abcdeF", "x"] {
        let refused = gateway.send(&orders(key)).await?;
        refused.problem(401, "auth.api_key_unknown")?;
        assert!(refused.header("www-authenticate").is_some());
    }
    let log = gateway.log() + &format!("{:?}", gateway.access_lines()?);
    assert!(!log.contains("0123456789abcdef"), "keys stay out of logs");
    Ok(())
}

/// R097: keys without an identity provider, from the configuration and from the environment.
#[tokio::test]
async fn static_keys_and_secrets_need_no_issuer() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let pem = RSA_PUBLIC_PEM.replace('\n', "\n      ");
    let config = api(&[origin.address()])
        + &format!(
            "identityProviders:\n  \
             pem:\n    issuer: {}\n    audience: api.example.com\n    algorithms: [RS256]\n    \
             publicKeyPem: |\n      {pem}\n  \
             shared:\n    issuer: internal\n    audience: api.example.com\n    \
             algorithms: [HS256]\n    secret: ${{env:JWT_SECRET}}\n",
            issuer.name()
        )
        + ROUTES;
    let secret = "a secret of more than thirty-two bytes";
    let gateway = gateway(config).environment("JWT_SECRET", secret).start().await?;
    let private = |token: &str| Request::get("/private").bearer(token);
    let rs256 = issuer.token().algorithm(Algorithm::Rs256).sign()?;
    gateway.send(&private(&rs256)).await?.expect(200)?;
    let hmac = |secret: &str| {
        let signature = Signature::Hmac(secret.as_bytes().to_vec());
        issuer.token().claim("iss", "internal").signature(signature).sign()
    };
    gateway.send(&private(&hmac(secret)?)).await?.expect(200)?;
    let refused = gateway.send(&private(&hmac("another secret of thirty-two bytes!")?)).await?;
    refused.problem(401, "auth.token_untrusted")?;
    // An HS256 token for the provider whose key is public.
    let confused =
        issuer.token().signature(Signature::Hmac(RSA_PUBLIC_PEM.as_bytes().to_vec())).sign()?;
    gateway.send(&private(&confused)).await?.problem(401, "auth.token_untrusted")?;
    assert_eq!(issuer.fetches(), 0);
    assert!(!gateway.log().contains(secret));
    Ok(())
}

/// A route may narrow whose tokens it takes.
#[tokio::test]
async fn a_route_takes_the_providers_that_it_names() -> Outcome {
    let (origin, main) = (Origin::start("api").await?, Issuer::start().await?);
    let other = Issuer::start().await?;
    let config = api(&[origin.address()])
        + &provider(&main)
        + &format!(
            "  other: {{issuer: \"{}\", audience: api.example.com, algorithms: [ES256], \
             jwksUrl: \"{}\"}}\n",
            other.name(),
            other.jwks_url()
        )
        + "routes:\n  \
           - {name: narrow, match: {pathPrefix: /narrow}, upstream: {service: api}, \
              policies: {auth: {providers: [main], anyOf: [jwt]}}}\n  \
           - {name: wide, match: {pathPrefix: /wide}, upstream: {service: api}, \
              policies: {auth: required}}\n";
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    let labels = [("provider", "other"), ("outcome", "changed")];
    gateway.metric_until("tidegate_keyring_fetches_total", &labels, |n| n >= 1.0).await?;
    let (mine, theirs) = (main.token().sign()?, other.token().sign()?);
    for (target, token, status) in
        [("/narrow", &mine, 200), ("/wide", &mine, 200), ("/wide", &theirs, 200)]
    {
        gateway.send(&Request::get(target).bearer(token)).await?.expect(status)?;
    }
    let refused = gateway.send(&Request::get("/narrow").bearer(&theirs)).await?;
    refused.problem(401, "auth.token_untrusted")?;
    Ok(())
}
