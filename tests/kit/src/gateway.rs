//! The gateway: the real binary, in a process of its own, with a configuration of the test's.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::{Exit, Process};
use crate::{Context, Error, Request, Response, Result, Signal, metrics, ports, send, wait};

/// How a gateway is to be started.
#[derive(Clone)]
pub struct Setup {
    binary: PathBuf,
    config: String,
    listener: String,
    beside: String,
    server: String,
    admin: String,
    access_log: Option<String>,
    environment: Vec<(String, String)>,
    descriptors: Option<u32>,
}

impl Setup {
    /// A gateway with this binary and this configuration.
    ///
    /// `config` is YAML without `server`, `listeners`, `admin` and `accessLog`: the kit writes
    /// those, with ports and files of its own.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, config: impl Into<String>) -> Self {
        Self {
            binary: binary.into(),
            config: config.into(),
            listener: String::new(),
            beside: String::new(),
            server: String::new(),
            admin: String::new(),
            access_log: None,
            environment: Vec::new(),
            descriptors: None,
        }
    }

    /// Adds a line to the listener: `maxHeaders: 20`.
    #[must_use]
    pub fn listener(mut self, line: &str) -> Self {
        let _ = writeln!(self.listener, "    {line}");
        self
    }

    /// Adds a further listener, an item of YAML: `{name: secure, address: "127.0.0.1:1"}`.
    #[must_use]
    pub fn beside(mut self, item: &str) -> Self {
        let _ = writeln!(self.beside, "  - {item}");
        self
    }

    /// Another configuration for the same setup.
    #[must_use]
    pub fn config(mut self, config: impl Into<String>) -> Self {
        self.config = config.into();
        self
    }

    /// Adds a line to `server`; `gracePeriod` replaces the kit's.
    #[must_use]
    pub fn server(mut self, line: &str) -> Self {
        let _ = writeln!(self.server, "  {line}");
        self
    }

    /// Adds a line to `admin`: `token: ...`.
    #[must_use]
    pub fn admin(mut self, line: &str) -> Self {
        let _ = writeln!(self.admin, "  {line}");
        self
    }

    /// Replaces what the kit writes into `accessLog`: `path: /tmp/pipe, bufferLines: 32`.
    #[must_use]
    pub fn access_log(mut self, settings: &str) -> Self {
        self.access_log = Some(settings.to_owned());
        self
    }

    /// Sets an environment variable of the process.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the process have so many file descriptors and no more.
    #[must_use]
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Result<Gateway> {
        let place = Place {
            folder: tempfile::tempdir()?,
            address: (Ipv4Addr::LOCALHOST, ports::free()?).into(),
            admin: (Ipv4Addr::LOCALHOST, ports::free()?).into(),
        };
        Gateway::start(self, Arc::new(place), "gateway.yaml", &[]).await
    }
}

impl Setup {
    /// The binary, within its bounds.
    fn command(&self) -> Command {
        let Some(most) = self.descriptors else { return Command::new(&self.binary) };
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {most} && exec \"$0\" \"$@\""));
        command.arg(&self.binary);
        command
    }
}

/// What a gateway and its successor share: the folder and the addresses.
struct Place {
    folder: TempDir,
    address: SocketAddr,
    admin: SocketAddr,
}

/// A running gateway; dropping it kills the process.
pub struct Gateway {
    setup: Setup,
    place: Arc<Place>,
    file: PathBuf,
    process: Process,
}

impl Gateway {
    async fn start(
        setup: Setup,
        place: Arc<Place>,
        file: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let file = place.folder.path().join(file);
        write(&file, &render(&setup, &place, &setup.config))?;
        let mut command = setup.command();
        command.arg("run").arg(&file).args(arguments).current_dir(place.folder.path());
        command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::spawn("gateway", command, &file.with_extension("log"))?;
        let mut gateway = Self { setup, place, file, process };
        let admin = gateway.admin();
        // A successor shares the address with its predecessor, so its readiness shows otherwise.
        if arguments.is_empty() {
            gateway.process.ready(async || is_ready(admin).await).await?;
        }
        Ok(gateway)
    }

    /// Starts a second process that takes the place of this one. It runs `config` from a file of
    /// its own.
    pub async fn successor(&self, config: &str) -> Result<Self> {
        self.succeeded_by(self.setup.clone().config(config)).await
    }

    /// The same, with other settings than configuration too.
    pub async fn succeeded_by(&self, setup: Setup) -> Result<Self> {
        // Each has a file and a log of its own, however many there are.
        let file = format!("successor-{}.yaml", ports::free()?);
        Self::start(setup, Arc::clone(&self.place), &file, &["--upgrade"]).await
    }

    /// Runs `tidegate upgrade` for this gateway with another binary; what came of it.
    pub async fn upgrade(&self, binary: &Path, more: &[&str]) -> Result<std::process::Output> {
        let mut command = Command::new(&self.setup.binary);
        command.arg("upgrade").arg(&self.file).arg("--binary").arg(binary).args(more);
        command.current_dir(self.place.folder.path()).kill_on_drop(true);
        Ok(wait::within("an upgrade", command.output()).await??)
    }

    /// The folder that the process runs in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.place.folder.path()
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.place.address
    }

    /// Where operators connect.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.place.admin
    }

    /// The configuration file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Sends a request on a connection of its own.
    pub async fn send(&self, request: &Request) -> Result<Response> {
        send(self.address(), request).await
    }

    /// Sends a GET on a connection of its own.
    pub async fn get(&self, target: &str) -> Result<Response> {
        self.send(&Request::get(target)).await
    }

    /// Sends a GET to the operator's listener.
    pub async fn admin_get(&self, target: &str) -> Result<Response> {
        send(self.admin(), &Request::get(target)).await
    }

    /// The sum of the series of a metric that carry these labels; 0 where there is none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let scrape = self.admin_get("/metrics").await?.expect(200)?;
        Ok(metrics::sum(&metrics::parse(&scrape.text()), name, labels).unwrap_or(0.0))
    }

    /// Waits until a metric has a value that will do.
    pub async fn metric_until(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        good: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        wait::until(&format!("a change of {name}{labels:?}"), async || {
            self.metric(name, labels).await.ok().filter(|value| good(*value))
        })
        .await
    }

    /// Waits until no request is in flight any more: a request is counted and logged after its
    /// answer was sent, so a client can be faster than the counters.
    pub async fn settled(&self) -> Result<()> {
        let idle = |count: f64| count < 0.5;
        self.metric_until("tidegate_requests_in_flight", &[], idle).await.map(|_| ())
    }

    /// Replaces the configuration file in one step, as editors and deploy tools do; whoever
    /// watches it sees the old file or the new one.
    pub fn write_config(&self, config: &str) -> Result<()> {
        write(&self.file, &render(&self.setup, &self.place, config))
    }

    /// Replaces the configuration file by exactly this text.
    pub fn write_file(&self, text: &str) -> Result<()> {
        write(&self.file, text)
    }

    /// `/admin/config-version`.
    pub async fn config_version(&self) -> Result<Value> {
        self.admin_get("/admin/config-version").await?.expect(200)?.json()
    }

    /// Waits until this version of the configuration is in force.
    pub async fn runs_version(&self, version: u64) -> Result<()> {
        wait::until(&format!("configuration {version} to be in force"), async || {
            let current = self.config_version().await.ok()?;
            (current["configVersion"] == version).then_some(())
        })
        .await
    }

    /// Waits for the access log line of a request, named by its id.
    pub async fn access_line(&self, request_id: &str) -> Result<Value> {
        wait::until(&format!("the access log line of {request_id}"), async || {
            let lines = self.access_lines().ok()?;
            lines.into_iter().find(|line| line["requestId"] == request_id)
        })
        .await
    }

    /// Every access log line so far.
    pub fn access_lines(&self) -> Result<Vec<Value>> {
        let text =
            std::fs::read_to_string(self.place.folder.path().join(ACCESS_LOG)).unwrap_or_default();
        // The last line may still be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).context(line)).collect()
    }

    /// What the process wrote to its own log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until the process log holds a text.
    pub async fn log_says(&self, text: &str) -> Result<()> {
        wait::until(&format!("{text:?} in the log"), async || {
            self.log().contains(text).then_some(())
        })
        .await
    }

    /// The process id; none once it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Signals the process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits for the end of the process.
    pub async fn exit(&mut self) -> Result<Exit> {
        self.process.exit().await
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_none())
    }

    /// Waits until new connections are refused.
    pub async fn refuses_connections(&self) -> Result<()> {
        let address = self.address();
        wait::until("new connections to be refused", async || {
            tokio::net::TcpStream::connect(address).await.is_err().then_some(())
        })
        .await
    }
}

/// Name of the access log in the gateway's folder.
const ACCESS_LOG: &str = "access.log";
/// Name of the upgrade socket in the gateway's folder.
const UPGRADE_SOCKET: &str = "upgrade.sock";

/// Whether a gateway says that it is ready.
pub(crate) async fn is_ready(admin: SocketAddr) -> bool {
    matches!(send(admin, &Request::get("/readyz")).await, Ok(response) if response.status == 200)
}

/// The whole configuration file.
fn render(setup: &Setup, place: &Place, config: &str) -> String {
    let folder = place.folder.path().display();
    let log = format!("path: {folder}/{ACCESS_LOG}");
    let log = setup.access_log.as_ref().unwrap_or(&log);
    let grace = if setup.server.contains("gracePeriod:") { "" } else { "  gracePeriod: 10s\n" };
    format!(
        "server:\n  threads: 2\n  upgradeSocket: {folder}/{UPGRADE_SOCKET}\n{grace}{server}\
         listeners:\n  - name: main\n    address: {address}\n{listener}{beside}\
         admin:\n  address: {admin}\n{operators}\
         accessLog: {{{log}}}\n\
         {config}\n",
        server = setup.server,
        address = place.address,
        listener = setup.listener,
        beside = setup.beside,
        admin = place.admin,
        operators = setup.admin,
    )
}

/// Writes a file beside and renames it into place.
fn write(file: &Path, text: &str) -> Result<()> {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, file).map_err(Error::from)
}
