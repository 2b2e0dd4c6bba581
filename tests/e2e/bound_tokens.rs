//! Tokens that are bound to a client certificate (RFC 8705), on real TLS connections.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tidegate_kit::{
    Authority, Gateway, Issuer, Origin, Outcome, Pair, RawConnection, Request, Response, Result,
    TlsClient,
};

use crate::{api, gateway, has_keys, provider};

const ROUTE: &str = "routes:
  - {name: private, match: {pathPrefix: /private}, upstream: {service: api},
     policies: {auth: required}}
";

/// A request with a token on a new connection of this client.
async fn send(gateway: &Gateway, client: &TlsClient, token: &str) -> Result<Response> {
    let (mut connection, _) = RawConnection::tls(client, gateway.address(), "a.example").await?;
    connection.request(&Request::get("/private").bearer(token)).await
}

/// The `cnf` that binds a token to a certificate.
fn confirmation(pair: &Pair) -> Result<serde_json::Value> {
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.der()?));
    Ok(json!({ "x5t#S256": digest }))
}

/// On every request, remembered token or not, and whoever came before.
#[tokio::test]
async fn a_bound_token_is_good_on_connections_with_its_certificate_only() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let (servers, clients) = (Authority::new("servers")?, Authority::new("clients")?);
    let folder = tempfile::tempdir()?;
    let files = servers.leaf(&["a.example"])?.write(folder.path(), "a")?;
    let ca = clients.write(folder.path(), "clients.pem")?;
    let tls = format!(
        "tls: {{certificates: [{{{}}}], clientCertificate: {{mode: optional, caFile: {}}}}}",
        files.yaml(),
        ca.display()
    );
    let config = api(&[origin.address()]) + &provider(&issuer) + ROUTE;
    let gateway = gateway(config).listener(&tls).start().await?;
    has_keys(&gateway).await?;

    let (own, other) = (clients.leaf(&["shop.example"])?, clients.leaf(&["shop.example"])?);
    let nobody = servers.client();
    let (owner, stranger) = (nobody.clone().identity(&own), nobody.clone().identity(&other));
    let bound = issuer.token().claim("cnf", confirmation(&own)?).sign()?;
    for round in 0..3 {
        for thief in [&nobody, &stranger] {
            let refused = send(&gateway, thief, &bound).await?;
            let problem = refused.problem(401, "auth.token_untrusted")?;
            assert_eq!(problem["detail"], "the token is bound to another client certificate");
            let challenge = refused.required("www-authenticate")?;
            assert!(challenge.contains("error=\"invalid_token\""), "{round}: {challenge}");
        }
        assert_eq!(origin.total(), round);
        send(&gateway, &owner, &bound).await?.expect(200)?;
    }
    let hits = gateway.metric("tidegate_token_cache_total", &[("outcome", "hit")]).await?;
    assert!(hits >= 6.0, "the token was remembered all the while: {hits}");

    // A token that is bound to nothing goes with any certificate; other bindings with none.
    let free = issuer.token().sign()?;
    send(&gateway, &nobody, &free).await?.expect(200)?;
    send(&gateway, &stranger, &free).await?.expect(200)?;
    for cnf in [json!({"jkt": "x"}), json!({"jwk": {}}), json!({})] {
        let token = issuer.token().claim("cnf", cnf).sign()?;
        send(&gateway, &owner, &token).await?.problem(401, "auth.token_untrusted")?;
    }
    Ok(())
}
