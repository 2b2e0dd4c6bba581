//! What the demo starts, and how it ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tidegate_kit::{
    Context, Error, Exit, Issuer, Origin, Process, Redis, Request, Result, Signal, metrics, ports,
    send, wait,
};
use tokio::process::Command;

/// The configuration that the demo runs, from the repository's root.
const CONFIG: &str = "conf/demo.yaml";
/// Where the demo keeps what it writes.
const FOLDER: &str = "target/demo";

/// The ports of `conf/demo.yaml`, in the order of [`Ports`].
const WELL_KNOWN: [u16; 7] = [8080, 9901, 9902, 9903, 9911, 9912, 9913];

/// Ports in use: those of `conf/demo.yaml`, or free ones where those are taken.
#[derive(Clone, Copy)]
struct Ports([u16; 7]);

impl Ports {
    fn choose() -> Result<Self> {
        let mut ports = WELL_KNOWN;
        for port in &mut ports {
            if !ports::is_free(*port) {
                *port = ports::free()?;
            }
        }
        Ok(Self(ports))
    }

    /// `conf/demo.yaml` with these ports in the place of the well-known ones.
    fn fill_in(self, config: &str) -> String {
        let pairs = WELL_KNOWN.iter().zip(self.0);
        pairs.fold(config.to_owned(), |text, (known, port)| {
            text.replace(&format!("127.0.0.1:{known}"), &format!("127.0.0.1:{port}"))
        })
    }
}

/// Everything that runs.
pub(crate) struct Parts {
    pub(crate) issuer: Issuer,
    /// The file that the gateway runs.
    pub(crate) config: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) binary: PathBuf,
    gateway: Process,
    // Held for as long as they are to run.
    _origins: Vec<Origin>,
    _redis: Redis,
}

impl Parts {
    /// Starts everything and waits until the gateway is ready.
    pub(crate) async fn start(binary: &Path) -> Result<Self> {
        let template = std::fs::read_to_string(CONFIG)
            .context("conf/demo.yaml; run the demo in the repository's root folder")?;
        std::fs::create_dir_all(FOLDER).context(FOLDER)?;
        let ports = Ports::choose()?;
        let [public, admin, issuer, redis, stable, canary, catalog] = ports.0;

        let origins = vec![
            Origin::start_on("orders-stable", stable).await?,
            Origin::start_on("orders-canary", canary).await?,
            Origin::start_on("catalog", catalog).await?,
        ];
        let issuer = Issuer::start_on(issuer).await?;
        let redis = Redis::start_on(redis).await?;

        let config = Path::new(FOLDER).join("demo.yaml");
        std::fs::write(&config, ports.fill_in(&template)).context("write the configuration")?;
        let mut command = Command::new(binary);
        command.arg("run").arg(&config);
        let log = Path::new(FOLDER).join("gateway.log");
        let mut gateway = Process::spawn("the gateway", command, &log)?;
        let admin = loopback(admin);
        let readyz = Request::get("/readyz");
        gateway
            .ready(async || send(admin, &readyz).await.is_ok_and(|answer| answer.status == 200))
            .await?;
        wait::until("the gateway to fetch the keys", async || {
            let scrape = send(admin, &Request::get("/metrics")).await.ok()?;
            let samples = metrics::parse(&scrape.text());
            let fetched = [("outcome", "changed")];
            metrics::sum(&samples, "tidegate_keyring_fetches_total", &fetched).filter(|n| *n > 0.5)
        })
        .await?;
        Ok(Self {
            issuer,
            config,
            address: loopback(public),
            admin,
            binary: binary.to_owned(),
            gateway,
            _origins: origins,
            _redis: redis,
        })
    }

    /// Waits for the gateway to end by itself, which it should not.
    pub(crate) async fn gateway_ended(&mut self) -> Error {
        loop {
            // The wait for an exit has a deadline; a demo has none.
            if let Ok(exit) = self.gateway.exit().await {
                let words = self.gateway.log_tail();
                return Error::new(format!("the gateway ended with {exit:?}:\n{words}"));
            }
        }
    }

    /// Stops the gateway as an operator would; the rest ends when this value is dropped.
    pub(crate) async fn stop(mut self) -> Result<Exit> {
        if let Some(exit) = self.gateway.ended()? {
            return Ok(exit);
        }
        self.gateway.signal(Signal::TERM)?;
        self.gateway.exit().await
    }
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}
