//! Several `redis-server` processes that belong together: a primary that a Sentinel watches over,
//! and a cluster.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use tempfile::TempDir;
use tokio::process::Command;

use crate::process::Process;
use crate::redis::{RedisOptions, ask};
use crate::{Context, Redis, Reply, Result, ports, wait};

/// By which name a Sentinel knows its primary.
pub const MASTER: &str = "limits";

/// A primary, a replica of it, and a Sentinel that promotes the replica within a few seconds.
pub struct RedisSentinel {
    /// Servers, the first primary first.
    pub servers: [Redis; 2],
    address: SocketAddr,
    _folder: TempDir,
    _process: Process,
}

impl RedisSentinel {
    /// Starts them and waits until the Sentinel knows the replica.
    pub async fn start() -> Result<Self> {
        Self::start_with(&RedisOptions::default(), "").await
    }

    /// The same with these options for both servers and these lines for the Sentinel.
    pub async fn start_with(options: &RedisOptions, lines: &str) -> Result<Self> {
        let primary = Redis::start_with(options.clone()).await?;
        let replica = Redis::start_with(options.clone().replica_of(&primary)).await?;
        // A Sentinel waits for its file to be on disk; on a busy one that takes seconds, after
        // which it trusts its own clock no more.
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
        let address = (Ipv4Addr::LOCALHOST, ports::free()?).into();
        let process = sentinel(address, folder.path(), primary.address(), lines).await?;
        let fleet =
            Self { servers: [primary, replica], address, _folder: folder, _process: process };
        fleet.is_complete().await?;
        Ok(fleet)
    }

    /// Where the Sentinel listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `redis` of a configuration, without its braces.
    #[must_use]
    pub fn place(&self) -> String {
        format!("sentinel: {{addresses: [\"{}\"], master: {MASTER}}}", self.address)
    }

    /// Kills the first primary. From then on, and not before, the Sentinel finds half a second
    /// without an answer too long: on a busy machine it would promote the replica at any time.
    pub async fn kill_primary(&mut self) -> Result<()> {
        self.servers[0].kill().await?;
        let words = ["SENTINEL", "SET", MASTER, "down-after-milliseconds", "500"];
        ask(self.address, &words).await.map(drop)
    }

    /// Tells the Sentinel to make the second server the primary.
    pub async fn move_primary(&self) -> Result<()> {
        ask(self.address, &["SENTINEL", "FAILOVER", MASTER]).await.map(drop)
    }

    /// Waits until the Sentinel names the second server, and that is a primary.
    pub async fn failed_over(&self) -> Result<()> {
        let successor = self.servers[1].address();
        wait::until("a failover", async || {
            let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
            let named = ask(self.address, &words).await.ok()?.texts();
            let role = self.servers[1].query(&["ROLE"]).await.ok()?.texts();
            let is_named = named.get(1) == Some(&successor.port().to_string());
            (is_named && role.first().is_some_and(|role| role == "master")).then_some(())
        })
        .await
    }

    async fn is_complete(&self) -> Result<()> {
        wait::until("the Sentinel to know the replica", async || {
            let info = self.servers[1].query(&["INFO", "replication"]).await.ok()?.texts();
            let known = ask(self.address, &["INFO", "sentinel"]).await.ok()?.texts();
            let holds = |texts: &[String], word| texts.iter().any(|text| text.contains(word));
            (holds(&info, "master_link_status:up") && holds(&known, "slaves=1")).then_some(())
        })
        .await
    }
}

/// Starts a Sentinel that decides alone.
async fn sentinel(
    address: SocketAddr,
    folder: &Path,
    primary: SocketAddr,
    lines: &str,
) -> Result<Process> {
    let file = folder.join("sentinel.conf");
    let mut text = format!("port {}\nbind 127.0.0.1\n", address.port());
    let _ = writeln!(text, "dir {}", folder.display());
    let _ = writeln!(text, "sentinel monitor {MASTER} 127.0.0.1 {} 1", primary.port());
    let _ = writeln!(text, "sentinel down-after-milliseconds {MASTER} 60000");
    let _ = writeln!(text, "sentinel failover-timeout {MASTER} 3000\n{lines}");
    std::fs::write(&file, text)?;
    let mut command = Command::new("redis-server");
    command.arg(&file).arg("--sentinel");
    let mut process = Process::spawn("sentinel", command, &folder.join("sentinel.log"))
        .context("redis-server is needed and cannot be started; `make setup` installs it")?;
    process.ready(async || ask(address, &["PING"]).await.is_ok()).await?;
    // What it knows of replicas is never too old to promote one, and a machine that stands still
    // for seconds does not make it wait for half a minute. Before Redis 7 there is no such word.
    let words = "SENTINEL DEBUG info-period 1000 tilt-trigger 600000 tilt-period 1000";
    let _ = ask(address, &words.split(' ').collect::<Vec<_>>()).await;
    Ok(process)
}

/// A Redis Cluster of three primaries.
pub struct RedisCluster {
    /// The nodes; each has a third of the slots, in this order.
    pub nodes: Vec<Redis>,
}

/// Nodes of a cluster, which Redis wants at least.
const NODES: u16 = 3;
/// Slots of a cluster.
const SLOTS: u16 = 16384;

impl RedisCluster {
    /// Starts the nodes, joins them, and waits until the cluster works.
    pub async fn start() -> Result<Self> {
        Self::start_with(async || Ok(RedisOptions::default())).await
    }

    /// The same with these options for each node.
    pub async fn start_with(options: impl AsyncFn() -> Result<RedisOptions>) -> Result<Self> {
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            let bus = ports::free()?.to_string();
            let options = options()
                .await?
                .with(&["--cluster-enabled", "yes", "--cluster-port", &bus])
                .with(&["--cluster-node-timeout", "2000"]);
            // Of two ports nodes name the one that they use themselves.
            let words: &[&str] = if options.has_tls() { &["--tls-cluster", "yes"] } else { &[] };
            nodes.push((Redis::start_with(options.with(words)).await?, bus));
        }
        for (index, (node, _)) in (0..NODES).zip(&nodes) {
            let (first, end) = (index * SLOTS / NODES, (index + 1) * SLOTS / NODES);
            let range = [first.to_string(), (end - 1).to_string()];
            node.query(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await?;
            node.query(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]).await?;
        }
        let (first, _) = nodes.first().context("a node")?;
        for (node, bus) in nodes.iter().skip(1) {
            let port = node.tls_port().unwrap_or(node.address().port()).to_string();
            first.query(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]).await?;
        }
        let cluster = Self { nodes: nodes.into_iter().map(|(node, _)| node).collect() };
        cluster.works().await?;
        Ok(cluster)
    }

    /// `redis` of a configuration, without its braces.
    #[must_use]
    pub fn place(&self) -> String {
        let addresses = self.nodes.iter().map(|node| format!("\"{}\"", node.address()));
        format!("cluster: [{}]", addresses.collect::<Vec<_>>().join(", "))
    }

    /// Waits until every node knows all the others and all slots are served.
    pub async fn works(&self) -> Result<()> {
        let known = format!("cluster_known_nodes:{NODES}");
        wait::until("the cluster to work", async || {
            for node in &self.nodes {
                let info = node.query(&["CLUSTER", "INFO"]).await.ok()?.texts().concat();
                let slots = node.query(&["CLUSTER", "SLOTS"]).await.ok()?;
                let Reply::List(slots) = slots else { return None };
                let is_whole = slots.len() == usize::from(NODES);
                if !(info.contains("cluster_state:ok") && info.contains(&known) && is_whole) {
                    return None;
                }
            }
            Some(())
        })
        .await
    }

    /// Sends a command to every node.
    pub async fn everywhere(&self, words: &[&str]) -> Result<Vec<Reply>> {
        let mut replies = Vec::new();
        for node in &self.nodes {
            replies.push(node.query(words).await?);
        }
        Ok(replies)
    }
}
