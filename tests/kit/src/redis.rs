//! A real `redis-server`, and the few words of its protocol that tests need.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;

use tempfile::TempDir;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::process::Process;
use crate::{Context, Error, PairFiles, Result, Signal, ports, wait};

/// A `redis-server` process on a loopback port, without persistence.
pub struct Redis {
    address: SocketAddr,
    options: RedisOptions,
    folder: TempDir,
    process: Option<Process>,
}

/// How a `redis-server` differs from the plainest.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    arguments: Vec<String>,
    tls_port: Option<u16>,
}

impl RedisOptions {
    /// Adds arguments as the command line takes them: `--maxmemory 1mb`.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Adds a user (ACL) that may do everything; the default user stays as it is.
    #[must_use]
    pub fn user(self, name: &str, password: &str) -> Self {
        self.with(&["--user", name, "on", &format!(">{password}"), "~*", "&*", "+@all"])
    }

    /// Listens on a further port, with TLS. Whether clients must have a certificate of the
    /// authority, `clients` says.
    pub fn tls(mut self, pair: &PairFiles, authority: &Path, clients: bool) -> Result<Self> {
        let port = ports::free()?;
        self.tls_port = Some(port);
        Ok(self
            .with(&["--tls-port", &port.to_string()])
            .with(&["--tls-cert-file", &pair.cert.display().to_string()])
            .with(&["--tls-key-file", &pair.key.display().to_string()])
            .with(&["--tls-ca-cert-file", &authority.display().to_string()])
            .with(&["--tls-auth-clients", if clients { "yes" } else { "no" }]))
    }

    pub(crate) const fn has_tls(&self) -> bool {
        self.tls_port.is_some()
    }

    /// A replica of another server.
    #[must_use]
    pub fn replica_of(self, primary: &Redis) -> Self {
        let port = primary.address.port().to_string();
        self.with(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"])
    }
}

impl Redis {
    /// Starts a server on a free port.
    pub async fn start() -> Result<Self> {
        Self::start_with(RedisOptions::default()).await
    }

    /// Starts a server on a port.
    pub async fn start_on(port: u16) -> Result<Self> {
        Self::launch(port, RedisOptions::default()).await
    }

    /// Starts a server with these options, on a free port.
    pub async fn start_with(options: RedisOptions) -> Result<Self> {
        Self::launch(ports::free()?, options).await
    }

    async fn launch(port: u16, options: RedisOptions) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let process = Some(spawn(address, folder.path(), &options.arguments).await?);
        Ok(Self { address, options, folder, process })
    }

    /// The port with TLS.
    pub fn tls_port(&self) -> Result<u16> {
        self.options.tls_port.context("this Redis has no port with TLS")
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `redis://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Kills it; what it held is lost, connections to it are refused.
    pub async fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again, empty, on the same port.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.process =
            Some(spawn(self.address, self.folder.path(), &self.options.arguments).await?);
        Ok(())
    }

    /// Stops it without closing anything: connections stay and get no answer.
    pub fn freeze(&self) -> Result<()> {
        self.running()?.signal(Signal::STOP)
    }

    /// Lets it go on after [`Redis::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// Sends a command and returns the answer.
    pub async fn query(&self, words: &[&str]) -> Result<Reply> {
        ask(self.address, words).await
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().context("this Redis was killed")
    }
}

/// An answer of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A simple or bulk string.
    Text(String),
    /// A number.
    Number(i64),
    /// Nothing.
    Nil,
    /// A list.
    List(Vec<Reply>),
}

impl Reply {
    /// The number, where it is one.
    #[must_use]
    pub const fn number(&self) -> Option<i64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The texts of a list, or the one text.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text.clone()],
            Self::List(items) => items.iter().flat_map(Self::texts).collect(),
            Self::Number(_) | Self::Nil => Vec::new(),
        }
    }
}

async fn spawn(address: SocketAddr, folder: &Path, arguments: &[String]) -> Result<Process> {
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .args(arguments);
    let mut process = Process::spawn("redis-server", command, &folder.join("redis.log"))
        .context("redis-server is needed and cannot be started; `make setup` installs it")?;
    process
        .ready(async || {
            matches!(query(address, &["PING"]).await, Ok(Reply::Text(pong)) if pong == "PONG")
        })
        .await?;
    Ok(process)
}

/// Sends a command to a server or a Sentinel and returns the answer.
pub(crate) async fn ask(address: SocketAddr, words: &[&str]) -> Result<Reply> {
    wait::within("an answer of Redis", query(address, words)).await?
}

async fn query(address: SocketAddr, words: &[&str]) -> Result<Reply> {
    let mut stream = TcpStream::connect(address).await?;
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(command, "${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(command.as_bytes()).await?;
    read_reply(&mut BufReader::new(stream)).await
}

/// Reads one answer (RESP2). Boxed, because lists hold answers.
fn read_reply<R: AsyncBufRead + Unpin + Send>(
    reader: &mut R,
) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
    Box::pin(async move {
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).context("Redis hung up")?;
        let number = || rest.parse::<i64>().context("a number from Redis");
        match kind {
            "+" => Ok(Reply::Text(rest.to_owned())),
            ":" => Ok(Reply::Number(number()?)),
            "$" => match usize::try_from(number()?) {
                Ok(length) => {
                    let mut text = vec![0; length + 2];
                    reader.read_exact(&mut text).await?;
                    text.truncate(length);
                    Ok(Reply::Text(String::from_utf8_lossy(&text).into_owned()))
                }
                Err(_) => Ok(Reply::Nil),
            },
            "*" => match usize::try_from(number()?) {
                Ok(length) => {
                    let mut items = Vec::with_capacity(length);
                    for _ in 0..length {
                        items.push(read_reply(reader).await?);
                    }
                    Ok(Reply::List(items))
                }
                Err(_) => Ok(Reply::Nil),
            },
            _ => Err(Error::new(format!("Redis refused: {line}"))),
        }
    })
}
