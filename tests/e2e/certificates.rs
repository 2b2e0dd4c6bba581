//! Client certificates as logins (R104): which name counts, what its bearer may do, and who is
//! refused.

use std::path::Path;

use tempfile::TempDir;
use tidegate_kit::{
    Authority, Gateway, Leaf, Origin, Outcome, RawConnection, Request, Response, Result, TlsClient,
    wait,
};

use crate::{api, gateway};

const ROUTES: &str = "identityHeaders: {x-user-id: subject, x-auth-scopes: scopes, \
                      x-tenant-id: tenantId, x-user-roles: roles, x-client-plan: plan, \
                      x-spiffe: \"claim:spiffeId\"}\n\
   routes:\n\
   - {name: mine, match: {pathPrefix: /mine}, upstream: {service: api}, \
      policies: {auth: {anyOf: [clientCertificate]}}}\n\
   - {name: orders, match: {pathPrefix: /orders}, upstream: {service: api}, \
      policies: {auth: {anyOf: [clientCertificate]}, \
        authorization: {requiredScopes: [orders:read], tenantStatus: [ACTIVE]}}}\n\
   - {name: open, match: {pathPrefix: /open}, upstream: {service: api}, policies: {auth: none}}\n";

/// A gateway that asks for certificates, and who signs them.
struct Scene {
    folder: TempDir,
    server: Authority,
    clients: Authority,
    origin: Origin,
    gateway: Gateway,
}

impl Scene {
    /// With these `clientCertificates`.
    async fn start(settings: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (server, clients) = (Authority::new("server")?, Authority::new("clients")?);
        let origin = Origin::start("api").await?;
        let files = server.leaf(&["a.example"])?.write(folder.path(), "a")?.yaml();
        let ca = clients.write(folder.path(), "clients.pem")?;
        let tls = format!(
            "tls: {{certificates: [{{{files}}}], clientCertificate: {{mode: optional, caFile: {}}}}}",
            ca.display()
        );
        let gateway = gateway(Self::config(&origin, settings)).listener(&tls).start().await?;
        Ok(Self { folder, server, clients, origin, gateway })
    }

    fn config(origin: &Origin, settings: &str) -> String {
        format!(
            "{}tenants: {{acme: {{status: ACTIVE}}}}\nclientCertificates: {{{settings}}}\n{ROUTES}",
            api(&[origin.address()])
        )
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A client that shows a certificate of the clients' authority.
    fn holder(&self, leaf: &Leaf) -> Result<TlsClient> {
        Ok(self.server.client().identity(&self.clients.sign(leaf)?))
    }

    async fn connect(&self, client: &TlsClient) -> Result<RawConnection> {
        Ok(RawConnection::tls(client, self.gateway.address(), "a.example").await?.0)
    }

    async fn ask(&self, client: &TlsClient, target: &str) -> Result<Response> {
        self.connect(client).await?.request(&Request::get(target)).await
    }

    /// The subject that the service hears of.
    async fn subject(&self, leaf: &Leaf) -> Result<Option<String>> {
        self.ask(&self.holder(leaf)?, "/mine").await?.expect(200)?.echoed("x-user-id")
    }
}

const PAYMENTS: &str = "spiffe://prod.example.com/payments";

fn leaf() -> Leaf {
    Leaf::new(&["shop.example"]).common_name("shop")
}

#[tokio::test]
async fn the_chosen_name_is_the_subject() -> Outcome {
    let scene = Scene::start("subject: [spiffe, dns, commonName]").await?;
    let told = async |leaf: Leaf| scene.subject(&leaf).await;
    assert_eq!(told(leaf().uri(PAYMENTS)).await?.as_deref(), Some(PAYMENTS));
    assert_eq!(told(leaf()).await?.as_deref(), Some("shop.example"));
    let only = Leaf::new(&[]).common_name("shop");
    assert_eq!(told(only).await?.as_deref(), Some("shop"));
    // Two URIs are no SPIFFE id, and neither is what is not spelled like one.
    let two = leaf().uri(PAYMENTS).uri("https://shop.example/");
    assert_eq!(told(two).await?.as_deref(), Some("shop.example"));
    let slash = leaf().uri("spiffe://prod.example.com/payments/");
    assert_eq!(told(slash).await?.as_deref(), Some("shop.example"));
    // Nobody can call themselves a SPIFFE id.
    let forged = scene.holder(&Leaf::new(&[]).common_name(PAYMENTS))?;
    let refused = scene.ask(&forged, "/mine").await?;
    let problem = refused.problem(401, "auth.certificate_missing")?;
    assert_eq!(problem["detail"], "the client certificate names nobody");
    Ok(())
}

#[tokio::test]
async fn a_caller_has_the_rights_that_its_certificate_stands_for() -> Outcome {
    let callers = format!(
        "callers: {{'{PAYMENTS}': {{tenantId: acme, plan: gold, scopes: ['orders:read'], \
         roles: [service]}}, 'spiffe://prod.example.com/poor': {{}}}}"
    );
    let scene = Scene::start(&callers).await?;
    let payments = scene.holder(&leaf().uri(PAYMENTS))?;
    let mut connection = scene.connect(&payments).await?;
    for target in ["/orders", "/mine", "/orders"] {
        let request = Request::get(target)
            .header("x-user-id", "root")
            .header("x-auth-scopes", "admin:full")
            .header("client-cert", ":AAAA:")
            .header("client-cert-chain", ":AAAA:");
        let response = connection.request(&request).await?.expect(200)?;
        for (name, value) in [
            ("x-user-id", Some(PAYMENTS)),
            ("x-auth-scopes", Some("orders:read")),
            ("x-tenant-id", Some("acme")),
            ("x-user-roles", Some("service")),
            ("x-client-plan", Some("gold")),
            ("x-spiffe", Some(PAYMENTS)),
            ("client-cert", None),
            ("client-cert-chain", None),
        ] {
            assert_eq!(response.echoed(name)?.as_deref(), value, "{target} {name}");
        }
    }
    for id in ["spiffe://prod.example.com/poor", "spiffe://prod.example.com/unlisted"] {
        let poor = scene.holder(&leaf().uri(id))?;
        scene.ask(&poor, "/orders").await?.problem(403, "auth.scope_insufficient")?;
        scene.ask(&poor, "/mine").await?.expect(200)?;
    }
    let open = Request::get("/open").header("client-cert", ":AAAA:");
    let response = connection.request(&open).await?.expect(200)?;
    assert_eq!(response.echoed("client-cert")?, None, "on public routes too");
    Ok(())
}

#[tokio::test]
async fn who_is_not_accepted_is_401() -> Outcome {
    let scene = Scene::start(&format!(
        "trustDomains: [prod.example.com], acceptUnlisted: false, callers: {{'{PAYMENTS}': {{}}}}"
    ))
    .await?;
    let good = scene.holder(&leaf().uri(PAYMENTS))?;
    scene.ask(&good, "/mine").await?.expect(200)?;
    let domain = "the client certificate is of a trust domain not accepted here";
    let unknown = "the holder of the client certificate is not known here";
    for (leaf, why) in [
        (leaf().uri("spiffe://test.example.com/payments"), domain),
        (leaf(), domain),
        (leaf().uri(PAYMENTS).uri("https://a/"), domain),
        (leaf().uri("spiffe://prod.example.com/other"), unknown),
    ] {
        let refused = scene.ask(&scene.holder(&leaf)?, "/mine").await?;
        let problem = refused.problem(401, "auth.certificate_missing")?;
        assert_eq!(problem["detail"], why, "{leaf:?}");
        assert!(refused.required("www-authenticate")?.starts_with("ClientCertificate "));
    }
    scene.ask(&scene.server.client(), "/mine").await?.problem(401, "auth.certificate_missing")?;
    // Another authority's certificate does not even get a connection.
    let foreign = Authority::new("clients")?.sign(&leaf().uri(PAYMENTS))?;
    let foreign = scene.server.client().identity(&foreign);
    assert!(scene.ask(&foreign, "/mine").await.is_err());
    assert_eq!(scene.origin.total(), 1);
    Ok(())
}

/// A connection may live longer than the certificate that it was opened with.
#[tokio::test]
async fn a_certificate_that_expires_while_connected_proves_nothing_any_more() -> Outcome {
    let scene = Scene::start("").await?;
    let short = scene.holder(&leaf().uri(PAYMENTS).expires_in(4))?;
    let mut connection = scene.connect(&short).await?;
    connection.request(&Request::get("/mine")).await?.expect(200)?;
    wait::until("the certificate to expire", async || {
        let response = connection.request(&Request::get("/mine")).await.ok()?;
        (response.status == 401).then_some(())
    })
    .await?;
    connection.request(&Request::get("/open")).await?.expect(200)?;
    Ok(())
}

/// A connection that is open hears of a change with its next request.
#[tokio::test]
async fn a_change_of_the_settings_counts_on_open_connections() -> Outcome {
    let with =
        |scopes: &str| format!("callers: {{'{PAYMENTS}': {{tenantId: acme, scopes: [{scopes}]}}}}");
    let scene = Scene::start(&with("'orders:read'")).await?;
    assert!(scene.path().join("clients.pem").exists());
    let mut connection = scene.connect(&scene.holder(&leaf().uri(PAYMENTS))?).await?;
    connection.request(&Request::get("/orders")).await?.expect(200)?;
    scene.gateway.write_config(&Scene::config(&scene.origin, &with("")))?;
    wait::until("the scope to be gone", async || {
        let response = connection.request(&Request::get("/orders")).await.ok()?;
        (response.status == 403).then_some(())
    })
    .await?;
    scene
        .gateway
        .write_config(&Scene::config(&scene.origin, "trustDomains: [test.example.com]"))?;
    wait::until("the trust to be gone", async || {
        let response = connection.request(&Request::get("/mine")).await.ok()?;
        (response.status == 401).then_some(())
    })
    .await?;
    Ok(())
}
