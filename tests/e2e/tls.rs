//! TLS between clients and the gateway: certificates by name, client certificates, new files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;
use tidegate_kit::{
    Authority, Gateway, Http2Client, Leaf, Origin, Outcome, Pair, RawConnection, Request, Result,
    Setup, TLS12, TLS13, TlsClient, wait,
};

use crate::{api, gateway, open_route};

/// An authority, an origin and a folder for files.
struct Scene {
    folder: TempDir,
    authority: Authority,
    origin: Origin,
}

impl Scene {
    async fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            authority: Authority::new("test authority")?,
            origin: Origin::start("api").await?,
        })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Signs a certificate for these names and writes it; `certFile` and `keyFile` of it.
    fn certificate(&self, file: &str, names: &[&str]) -> Result<(Pair, String)> {
        let pair = self.authority.leaf(names)?;
        let yaml = pair.write(self.path(), file)?.yaml();
        Ok((pair, yaml))
    }

    /// A gateway with this `tls` and an open route to the origin.
    fn gateway(&self, tls: &str) -> Setup {
        gateway(api(&[self.origin.address()]) + &open_route("")).listener(&format!("tls: {tls}"))
    }
}

/// The certificate that a client gets who asks for this name.
async fn shown(gateway: &Gateway, client: &TlsClient, name: &str) -> Result<Vec<u8>> {
    Ok(client.connect(gateway.address(), name).await?.1.certificate)
}

/// R201: both versions, and what the service hears of it.
#[tokio::test]
async fn tls_ends_at_the_gateway() -> Outcome {
    let scene = Scene::new().await?;
    let (_, files) = scene.certificate("a", &["a.example"])?;
    let gateway = scene.gateway(&format!("{{certificates: [{{{files}}}]}}")).start().await?;
    for (version, name) in [(TLS12, "TLSv1_2"), (TLS13, "TLSv1_3")] {
        let client = scene.authority.client().version(version);
        let (mut connection, agreed) =
            RawConnection::tls(&client, gateway.address(), "a.example").await?;
        assert_eq!(agreed.version, name);
        for _ in 0..2 {
            let response = connection.request(&Request::get("/")).await?.expect(200)?;
            assert_eq!(response.echoed("x-forwarded-proto")?.as_deref(), Some("https"));
            assert_eq!(response.echoed("host")?.as_deref(), Some("a.example"));
        }
    }
    // Clear text on a TLS port is answered by nobody.
    assert!(gateway.get("/").await.is_err());
    assert_eq!(scene.origin.total(), 4);
    Ok(())
}

#[tokio::test]
async fn an_old_version_is_refused_where_the_listener_wants_a_new_one() -> Outcome {
    let scene = Scene::new().await?;
    let (_, files) = scene.certificate("a", &["a.example"])?;
    let tls = format!("{{certificates: [{{{files}}}], minVersion: \"1.3\"}}");
    let gateway = scene.gateway(&tls).start().await?;
    let client = scene.authority.client();
    assert!(client.clone().version(TLS12).connect(gateway.address(), "a.example").await.is_err());
    client.version(TLS13).connect(gateway.address(), "a.example").await?;
    Ok(())
}

/// Exact names, wildcards of one label, and what happens to all others.
#[tokio::test]
async fn the_name_chooses_the_certificate() -> Outcome {
    let scene = Scene::new().await?;
    let (first, first_files) = scene.certificate("first", &["first.example", "127.0.0.1"])?;
    let (wild, wild_files) = scene.certificate("wild", &["*.example.com"])?;
    let (exact, exact_files) = scene.certificate("exact", &["api.example.com"])?;
    let list = format!("[{{{first_files}}}, {{{wild_files}}}, {{{exact_files}}}]");
    let gateway_with = |unknown: &str| {
        scene.gateway(&format!("{{certificates: {list}, unknownServerName: {unknown}}}")).start()
    };
    let gateway = gateway_with("refuse").await?;
    let client = scene.authority.client();
    for (name, expected) in [
        ("first.example", &first),
        ("api.example.com", &exact),
        ("API.example.com", &exact),
        ("www.example.com", &wild),
        // An address is not sent as a name.
        ("127.0.0.1", &first),
    ] {
        assert_eq!(shown(&gateway, &client, name).await?, expected.der()?, "{name}");
    }
    for name in ["example.com", "a.b.example.com", "other.example"] {
        let refused = shown(&gateway, &client, name).await.unwrap_err().to_string();
        assert!(refused.contains("alert"), "{name}: {refused}");
    }
    // With `first` the client is shown a certificate, and it is the client that refuses it.
    let gateway = gateway_with("first").await?;
    let refused = shown(&gateway, &client, "other.example").await.unwrap_err().to_string();
    assert!(refused.contains("not valid for name"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn the_protocol_is_agreed_on() -> Outcome {
    let scene = Scene::new().await?;
    let (_, files) = scene.certificate("a", &["a.example"])?;
    let tls = format!("{{certificates: [{{{files}}}]}}");
    let gateway = scene.gateway(&tls).start().await?;
    let client = scene.authority.client();
    for (offered, agreed) in [
        (&["http/1.1", "h2"][..], Some("h2")),
        (&["h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let client = client.clone().protocols(offered);
        let found = client.connect(gateway.address(), "a.example").await?.1.protocol;
        assert_eq!(found.as_deref(), agreed, "{offered:?}");
    }
    let (h2, _) = Http2Client::tls(&client, gateway.address(), "a.example").await?;
    let response = h2.request("GET", "/", b"").await?.expect(200)?;
    assert_eq!(response.echoed("x-forwarded-proto")?.as_deref(), Some("https"));

    let http1 = scene.gateway(&tls).listener("protocols: [http1]").start().await?;
    let http2 = client.clone().protocols(&["h2"]);
    assert!(http2.connect(http1.address(), "a.example").await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_client_that_comes_back_resumes_its_session() -> Outcome {
    let scene = Scene::new().await?;
    let (_, files) = scene.certificate("a", &["a.example"])?;
    let gateway = scene.gateway(&format!("{{certificates: [{{{files}}}]}}")).start().await?;
    for version in [TLS12, TLS13] {
        let client = scene.authority.client().version(version);
        for resumed in [false, true] {
            let (mut connection, agreed) =
                RawConnection::tls(&client, gateway.address(), "a.example").await?;
            assert_eq!(agreed.resumed, resumed, "{version:?}");
            // Tickets of TLS 1.3 come after the handshake.
            connection.request(&Request::get("/")).await?.expect(200)?;
        }
    }
    Ok(())
}

async fn applied(gateway: &Gateway, count: f64) -> Result<()> {
    let labels = [("outcome", "applied")];
    let enough = |n: f64| n > count - 0.5;
    gateway.metric_until("tidegate_config_applies_total", &labels, enough).await.map(|_| ())
}

/// R201: new files come into force by themselves, for new connections; open ones stay.
#[tokio::test]
async fn a_renewed_certificate_comes_into_force_by_itself() -> Outcome {
    let scene = Scene::new().await?;
    let (old, files) = scene.certificate("a", &["a.example"])?;
    let gateway = scene.gateway(&format!("{{certificates: [{{{files}}}]}}")).start().await?;
    let client = scene.authority.client();
    assert_eq!(shown(&gateway, &client, "a.example").await?, old.der()?);
    let (mut open, _) = RawConnection::tls(&client, gateway.address(), "a.example").await?;
    open.request(&Request::get("/")).await?.expect(200)?;

    // A broken file changes nothing.
    let cert = scene.path().join("a.crt");
    fs::write(&cert, "-----BEGIN CERTIFICATE-----\nAAAA\n")?;
    gateway.log_says("configuration refused").await?;
    assert!(gateway.log().contains("tls.certificates[0].certFile"), "the log names the place");
    assert_eq!(shown(&gateway, &client, "a.example").await?, old.der()?);
    let bad = gateway.metric("tidegate_config_last_apply_successful", &[]).await?;
    assert!(bad < 0.5);

    let (new, _) = scene.certificate("a", &["a.example"])?;
    applied(&gateway, 2.0).await?;
    wait::until("the new certificate", async || {
        let shown = shown(&gateway, &client, "a.example").await.ok()?;
        (shown == new.der().ok()?).then_some(())
    })
    .await?;
    open.request(&Request::get("/")).await?.expect(200)?;
    Ok(())
}

/// Kubernetes mounts files as links into a folder that is itself a link, and moves that one.
#[tokio::test]
async fn a_moved_link_is_a_change() -> Outcome {
    let scene = Scene::new().await?;
    let put = |folder: &str, pair: &Pair| -> Result<()> {
        let folder = scene.path().join(folder);
        fs::create_dir(&folder)?;
        pair.write(&folder, "tls").map(|_| ())
    };
    let (old, new) = (scene.authority.leaf(&["a.example"])?, scene.authority.leaf(&["a.example"])?);
    put("..1", &old)?;
    symlink("..1", scene.path().join("..data"))?;
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), scene.path().join(name))?;
    }
    let path = scene.path().display();
    let tls = format!("{{certificates: [{{certFile: {path}/tls.crt, keyFile: {path}/tls.key}}]}}");
    let gateway = scene.gateway(&tls).start().await?;
    let client = scene.authority.client();
    assert_eq!(shown(&gateway, &client, "a.example").await?, old.der()?);
    // Twice, so that the folder that did not exist at the start is seen to change too.
    for (count, folder, pair) in [(2.0, "..2", &new), (3.0, "..3", &old)] {
        put(folder, pair)?;
        symlink(folder, scene.path().join("..draft"))?;
        fs::rename(scene.path().join("..draft"), scene.path().join("..data"))?;
        applied(&gateway, count).await?;
        assert_eq!(shown(&gateway, &client, "a.example").await?, pair.der()?);
    }
    Ok(())
}

/// A client of `authority` with a certificate, and with the roots of `scene`.
fn holder(scene: &Scene, pair: &Pair) -> TlsClient {
    scene.authority.client().identity(pair)
}

/// A request on a new connection.
async fn ask(
    gateway: &Gateway,
    client: &TlsClient,
    target: &str,
) -> Result<tidegate_kit::Response> {
    let (mut connection, _) = RawConnection::tls(client, gateway.address(), "a.example").await?;
    connection.request(&Request::get(target)).await
}

#[tokio::test]
async fn a_required_client_certificate_must_be_good() -> Outcome {
    let scene = Scene::new().await?;
    let clients = Authority::new("clients")?;
    let (_, files) = scene.certificate("a", &["a.example"])?;
    let ca = clients.write(scene.path(), "clients.pem")?;
    let tls = format!(
        "{{certificates: [{{{files}}}], clientCertificate: {{mode: required, caFile: {}}}}}",
        ca.display()
    );
    let gateway = scene.gateway(&tls).start().await?;
    let good = clients.leaf(&["shop.example"])?;
    let old = clients.sign(&Leaf::new(&["shop.example"]).years(2000, 2001))?;
    let early = clients.sign(&Leaf::new(&["shop.example"]).years(2998, 2999))?;
    let foreign = Authority::new("clients")?.leaf(&["shop.example"])?;
    for version in [TLS12, TLS13] {
        let client = scene.authority.client().version(version);
        assert!(ask(&gateway, &client, "/").await.is_err(), "no certificate");
        for (bad, why) in [(&old, "expired"), (&early, "not yet"), (&foreign, "wrong authority")] {
            assert!(ask(&gateway, &client.clone().identity(bad), "/").await.is_err(), "{why}");
        }
        let (mut connection, agreed) =
            RawConnection::tls(&client.identity(&good), gateway.address(), "a.example").await?;
        connection.request(&Request::get("/")).await?.expect(200)?;
        assert!(!agreed.resumed);
    }
    assert_eq!(scene.origin.total(), 2);
    Ok(())
}

/// A new authority file comes into force like a certificate: old clients are out.
#[tokio::test]
async fn a_new_authority_takes_effect() -> Outcome {
    let scene = Scene::new().await?;
    let (first, second) = (Authority::new("one")?, Authority::new("two")?);
    let (_, files) = scene.certificate("a", &["a.example"])?;
    let ca = first.write(scene.path(), "clients.pem")?;
    let tls = format!(
        "{{certificates: [{{{files}}}], clientCertificate: {{mode: required, caFile: {}}}}}",
        ca.display()
    );
    let gateway = scene.gateway(&tls).start().await?;
    let old = holder(&scene, &first.leaf(&["x.example"])?);
    let new = holder(&scene, &second.leaf(&["x.example"])?);
    ask(&gateway, &old, "/").await?.expect(200)?;
    assert!(ask(&gateway, &new, "/").await.is_err());
    second.write(scene.path(), "clients.pem")?;
    applied(&gateway, 2.0).await?;
    ask(&gateway, &new, "/").await?.expect(200)?;
    assert!(ask(&gateway, &old, "/").await.is_err());
    Ok(())
}

/// A certificate is a login only where the route says so.
#[tokio::test]
async fn a_client_certificate_proves_who_is_calling() -> Outcome {
    let scene = Scene::new().await?;
    let clients = Authority::new("clients")?;
    let (_, files) = scene.certificate("a", &["a.example"])?;
    let ca = clients.write(scene.path(), "clients.pem")?;
    let tls = format!(
        "{{certificates: [{{{files}}}], clientCertificate: {{mode: optional, caFile: {}}}}}",
        ca.display()
    );
    let config = api(&[scene.origin.address()])
        + "identityHeaders: {x-user-id: subject, x-cert-issuer: \"claim:issuer\", \
           x-cert-uris: \"claim:uris\"}\n\
           apiKeys: [{id: partner, key: a-long-enough-key-of-a-partner}]\n\
           routes:\n\
           - {name: open, match: {pathPrefix: /open}, upstream: {service: api}, \
              policies: {auth: none}}\n\
           - {name: mine, match: {pathPrefix: /mine}, upstream: {service: api}, \
              policies: {auth: {anyOf: [clientCertificate]}}}\n\
           - {name: either, match: {pathPrefix: /either}, upstream: {service: api}, \
              policies: {auth: {anyOf: [apiKey, clientCertificate]}}}\n\
           - {name: keys, match: {pathPrefix: /keys}, upstream: {service: api}, \
              policies: {auth: required}}\n";
    let gateway = gateway(config).listener(&format!("tls: {tls}")).start().await?;
    let nobody = scene.authority.client();
    let leaf = Leaf::new(&["shop.example"]).uri("spiffe://example/shop").common_name("shop");
    let shop = holder(&scene, &clients.sign(&leaf)?);

    ask(&gateway, &nobody, "/open").await?.expect(200)?;
    let refused = ask(&gateway, &nobody, "/mine").await?;
    refused.problem(401, "auth.certificate_missing")?;
    assert!(refused.header("www-authenticate").is_some());
    ask(&gateway, &nobody, "/either").await?.problem(401, "auth.credentials_missing")?;

    let (mut connection, _) = RawConnection::tls(&shop, gateway.address(), "a.example").await?;
    for target in ["/mine", "/either", "/mine"] {
        let request = Request::get(target).header("x-user-id", "root");
        let response = connection.request(&request).await?.expect(200)?;
        let told = response.echoed("x-user-id")?;
        assert_eq!(told.as_deref(), Some("spiffe://example/shop"), "{target}");
        assert_eq!(response.echoed("x-cert-issuer")?.as_deref(), Some("CN=clients"));
        assert_eq!(response.echoed("x-cert-uris")?.as_deref(), Some("spiffe://example/shop"));
    }
    // An open route tells the service nothing, and `required` does not take certificates.
    let response = connection.request(&Request::get("/open")).await?.expect(200)?;
    assert_eq!(response.echoed("x-user-id")?, None);
    let refused = connection.request(&Request::get("/keys")).await?;
    refused.problem(401, "auth.credentials_missing")?;
    // A key counts before the certificate, and a bad key is not made good by one.
    let key = |key: &str| Request::get("/either").header("x-api-key", key);
    let response = connection.request(&key("a-long-enough-key-of-a-partner")).await?.expect(200)?;
    assert_eq!(response.echoed("x-user-id")?.as_deref(), Some("partner"));
    connection.request(&key("wrong")).await?.problem(401, "auth.api_key_unknown")?;
    // The wrong authority is refused even where certificates are optional.
    let foreign = Authority::new("clients")?.sign(&leaf)?;
    assert!(ask(&gateway, &holder(&scene, &foreign), "/open").await.is_err());
    Ok(())
}

/// Everything wrong is said at once, each at its place, and nothing is served.
#[tokio::test]
async fn a_listener_that_cannot_work_is_refused() -> Outcome {
    let scene = Scene::new().await?;
    let (_, files) = scene.certificate("a", &["a.example"])?;
    let folder = scene.path().display();
    let tls = format!(
        "{{certificates: [{{{files}}}, {{certFile: {folder}/none.crt, keyFile: {folder}/a.key}}], \
         clientCertificate: {{mode: required, caFile: {folder}/a.key}}}}"
    );
    let error = scene.gateway(&tls).start().await.err().map(|error| error.to_string());
    let error = error.unwrap_or_default();
    for word in ["none.crt", "clientCertificate.caFile", "there is no certificate"] {
        assert!(error.contains(word), "{word} in {error}");
    }
    Ok(())
}
