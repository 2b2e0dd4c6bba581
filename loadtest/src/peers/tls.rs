//! A certificate for the run, and a request over TLS to look at the answer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::document::HOST;
use crate::{Context, Error, Result, probe};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Files of the certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Both in one file, as `HAProxy` wants it.
    pub bundle: PathBuf,
}

impl Certificate {
    /// Makes one for the measured host and the loopback address, with an ECDSA key.
    pub fn make(folder: &Path) -> Result<Self> {
        let [cert, key, bundle] =
            ["cert.pem", "cert.key", "bundle.pem"].map(|name| folder.join(name));
        let output = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", &format!("/CN={HOST}")])
            .args(["-addext", &format!("subjectAltName=DNS:{HOST},IP:127.0.0.1")])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .context("openssl, which makes the certificate of the run")?;
        if !output.status.success() {
            return Err(Error::new(String::from_utf8_lossy(&output.stderr)));
        }
        let read = |file: &Path| std::fs::read_to_string(file).context(file.display());
        std::fs::write(&bundle, read(&cert)? + &read(&key)?).context(bundle.display())?;
        Ok(Self { cert, key, bundle })
    }
}

/// What a connection agreed on: version and cipher suite.
pub async fn agreed(address: SocketAddr) -> Result<(String, String)> {
    let (out, words) = client(address, &["-brief"], "").await?;
    let words = String::from_utf8_lossy(&[out, words].concat()).into_owned();
    let said = |name: &str| {
        let line = words.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned()).context(format_args!("no {name} in\n{words}"))
    };
    Ok((said("Protocol version:")?, said("Ciphersuite:")?))
}

/// Has a request answered over TLS 1.3 and HTTP/1.1.
pub async fn get(address: SocketAddr, target: &str) -> Result<probe::Answer> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    let arguments = ["-quiet", "-ign_eof", "-tls1_3", "-alpn", "http/1.1"];
    let (out, words) = client(address, &arguments, &request).await?;
    probe::read(&out).context(format_args!("over TLS: {}", String::from_utf8_lossy(&words)))
}

/// What `openssl s_client` says on its two outputs.
async fn client(
    address: SocketAddr,
    arguments: &[&str],
    input: &str,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", HOST])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("openssl")?;
    let mut stdin = child.stdin.take().context("openssl")?;
    stdin.write_all(input.as_bytes()).await.context("openssl")?;
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await.context("openssl")?;
    let output = output.context("openssl")?;
    Ok((output.stdout, output.stderr))
}
