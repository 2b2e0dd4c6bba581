//! TLS for tests: authorities and certificates made for each run, a client and a server end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;

use crate::{Context, Result, wait};

/// TLS 1.2 only.
pub const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
/// TLS 1.3 only.
pub const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

/// An authority that signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate to be made.
#[derive(Clone, Debug, Default)]
pub struct Leaf {
    names: Vec<String>,
    uris: Vec<String>,
    common_name: Option<String>,
    years: Option<(i32, i32)>,
    lifetime: Option<Duration>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// Its private key.
    pub key: String,
}

/// Where a pair was written.
#[derive(Clone, Debug)]
pub struct PairFiles {
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("key of an authority")?;
        CertifiedIssuer::self_signed(params, key).context("authority").map(Self)
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes its certificate to a file.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let path = folder.join(name);
        std::fs::write(&path, self.pem())?;
        Ok(path)
    }

    /// Signs a certificate.
    pub fn sign(&self, leaf: &Leaf) -> Result<Pair> {
        let mut params = CertificateParams::new(leaf.names.clone()).context("names")?;
        for uri in &leaf.uris {
            let uri = Ia5String::try_from(uri.as_str()).context("URI")?;
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = &leaf.common_name {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        if let Some((from, to)) = leaf.years {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
        }
        if let Some(lifetime) = leaf.lifetime {
            params.not_after = expiry(lifetime).into();
        }
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("key")?;
        let cert = params.signed_by(&key, &self.0).context("certificate")?;
        Ok(Pair { cert: cert.pem(), key: key.serialize_pem() })
    }

    /// Signs a certificate for these names.
    pub fn leaf(&self, names: &[&str]) -> Result<Pair> {
        self.sign(&Leaf::new(names))
    }

    /// A client that trusts this authority alone.
    #[must_use]
    pub fn client(&self) -> TlsClient {
        TlsClient { roots: self.pem(), ..TlsClient::default() }
    }
}

impl Leaf {
    /// A certificate for these names, which may be addresses.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self { names, ..Self::default() }
    }

    /// Adds a URI.
    #[must_use]
    pub fn uri(mut self, uri: &str) -> Self {
        self.uris.push(uri.to_owned());
        self
    }

    /// Sets the common name.
    #[must_use]
    pub fn common_name(mut self, name: &str) -> Self {
        self.common_name = Some(name.to_owned());
        self
    }

    /// Valid from the first day of one year to the first day of another.
    #[must_use]
    pub const fn years(mut self, from: i32, to: i32) -> Self {
        self.years = Some((from, to));
        self
    }
}

impl Leaf {
    /// Valid for so many seconds from now.
    #[must_use]
    pub const fn expires_in(mut self, seconds: u64) -> Self {
        self.lifetime = Some(Duration::from_secs(seconds));
        self
    }
}

#[expect(clippy::disallowed_methods, reason = "certificates carry the time of day")]
fn expiry(lifetime: Duration) -> std::time::SystemTime {
    std::time::SystemTime::now() + lifetime
}

impl Pair {
    /// Writes `NAME.crt` and `NAME.key`, each in one step.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PairFiles> {
        let files = PairFiles {
            cert: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        for (path, text) in [(&files.cert, &self.cert), (&files.key, &self.key)] {
            let draft = path.with_extension("draft");
            std::fs::write(&draft, text)?;
            std::fs::rename(&draft, path)?;
        }
        Ok(files)
    }

    /// The certificate in DER, as the other end sees it.
    pub fn der(&self) -> Result<Vec<u8>> {
        Ok(certificates(&self.cert)?.first().context("a certificate")?.to_vec())
    }

    fn parts(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).context("key in PEM")?;
        Ok((certificates(&self.cert)?, key))
    }
}

impl PairFiles {
    /// `certFile` and `keyFile` as a YAML mapping without its braces.
    #[must_use]
    pub fn yaml(&self) -> String {
        format!("certFile: {}, keyFile: {}", self.cert.display(), self.key.display())
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let list: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    list.context("certificates in PEM")
}

fn roots(pem: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).context("authority")?;
    }
    Ok(roots)
}

/// The client's end of TLS.
#[derive(Clone, Debug)]
pub struct TlsClient {
    roots: String,
    versions: Vec<&'static SupportedProtocolVersion>,
    protocols: Vec<&'static str>,
    identity: Option<Pair>,
    /// The same for all connections of one client, so that sessions are resumed.
    prepared: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Default for TlsClient {
    fn default() -> Self {
        Self {
            roots: String::new(),
            versions: vec![TLS13, TLS12],
            protocols: Vec::new(),
            identity: None,
            prepared: Arc::default(),
        }
    }
}

/// What both ends agreed on.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: String,
    /// The protocol chosen by ALPN.
    pub protocol: Option<String>,
    /// The server's certificate in DER.
    pub certificate: Vec<u8>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

/// A connection after its handshake.
pub type TlsConnection = tokio_rustls::client::TlsStream<TcpStream>;

impl TlsClient {
    /// Speaks this version only.
    #[must_use]
    pub fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self.anew()
    }

    /// Offers these protocols by ALPN: `h2`, `http/1.1`.
    #[must_use]
    pub fn protocols(mut self, protocols: &[&'static str]) -> Self {
        self.protocols = protocols.to_vec();
        self.anew()
    }

    /// Shows this certificate where the server asks for one.
    #[must_use]
    pub fn identity(mut self, pair: &Pair) -> Self {
        self.identity = Some(pair.clone());
        self.anew()
    }

    /// Connects and shakes hands. `name` is the server's; an address is never sent as a name.
    pub async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> Result<(TlsConnection, Agreed)> {
        let config = if let Some(config) = self.prepared.get() {
            Arc::clone(config)
        } else {
            let config = Arc::new(self.config()?);
            Arc::clone(self.prepared.get_or_init(|| config))
        };
        let name = ServerName::try_from(name.to_owned()).context("server name")?;
        let connect = async {
            let stream = TcpStream::connect(address).await.context("connect")?;
            stream.set_nodelay(true)?;
            let connector = tokio_rustls::TlsConnector::from(config);
            connector.connect(name, stream).await.context("handshake")
        };
        let stream = wait::within("a TLS connection", connect).await??;
        let (_, session) = stream.get_ref();
        let agreed = Agreed {
            version: session.protocol_version().map_or_else(String::new, |v| format!("{v:?}")),
            protocol: session.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned()),
            certificate: session
                .peer_certificates()
                .and_then(|list| list.first())
                .map_or_else(Vec::new, |leaf| leaf.to_vec()),
            resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        };
        Ok((stream, agreed))
    }

    /// Another client: what was agreed with the one before is forgotten.
    fn anew(mut self) -> Self {
        self.prepared = Arc::default();
        self
    }

    fn config(&self) -> Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&self.versions)
            .context("versions")?
            .with_root_certificates(roots(&self.roots)?);
        let mut config = match &self.identity {
            Some(pair) => {
                let (chain, key) = pair.parts()?;
                builder.with_client_auth_cert(chain, key).context("client certificate")?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        Ok(config)
    }
}

/// The server's end of TLS.
#[derive(Clone, Debug)]
pub struct TlsServer {
    pair: Pair,
    protocols: Vec<&'static str>,
    clients: Option<String>,
}

impl TlsServer {
    /// Shows this certificate, speaks HTTP/1.1 and HTTP/2, asks clients for nothing.
    #[must_use]
    pub fn new(pair: &Pair) -> Self {
        Self { pair: pair.clone(), protocols: vec!["h2", "http/1.1"], clients: None }
    }

    /// Agrees on these protocols only.
    #[must_use]
    pub fn protocols(mut self, protocols: &[&'static str]) -> Self {
        self.protocols = protocols.to_vec();
        self
    }

    /// Requires a client certificate that this authority has signed.
    #[must_use]
    pub fn clients_of(mut self, authority: &Authority) -> Self {
        self.clients = Some(authority.pem());
        self
    }

    pub(crate) fn config(&self) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("versions")?;
        let builder = match &self.clients {
            Some(pem) => {
                let roots = Arc::new(roots(pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().context("verifier")?)
            }
            None => builder.with_no_client_auth(),
        };
        let (chain, key) = self.pair.parts()?;
        let mut config = builder.with_single_cert(chain, key).context("certificate")?;
        config.alpn_protocols = self.protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}
