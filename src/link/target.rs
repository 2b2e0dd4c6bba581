//! How connections are made, for each kind of place.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::PubSub;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::{Client, RedisError};

use super::address::{Address, Place, host_and_port, tcp_settings};
use super::sentinel::{Sentinels, Server, connect};
use super::{Connection, Failure};

/// Time limit of making a connection, which no call waits for beyond its own limit.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The same for all connections of a cluster: first the nodes of the configuration are asked
/// where the others are, then these are connected to, and one that hangs must not keep the
/// others out. So it is more than twice the next.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of connecting to one node of a cluster.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for an answer of one node, so that one that hangs holds up the others for a
/// bounded time when the layout of the cluster is asked for.
const NODE_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Attempts to find where a key is, after it has moved; a call has one time limit for all.
const REDIRECTS: u32 = 4;
/// Shortest and longest wait between attempts while the cluster has nobody for a key, in
/// milliseconds.
const REDIRECT_WAIT_MS: (u64, u64) = (2, 20);

/// What connections are made to.
pub(super) enum Target {
    /// One server.
    Server(Client),
    /// A cluster: its client, and one of each node by which it is known.
    Cluster(Box<ClusterClient>, Vec<Client>),
    /// The primary that Sentinels name.
    Sentinel(Sentinels),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Cluster(..) => "Cluster",
            Self::Sentinel(_) => "Sentinel",
        })
    }
}

impl Target {
    /// What an address stands for; none where it is not valid.
    pub(super) fn of(address: &Address) -> Option<Self> {
        // The library encrypts by the process's provider of cryptography. The gateway sets it
        // when it starts; tools and tests may come here first, and the first one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        match &address.place {
            Place::Server(url) => address.client_of_url(url).map(Self::Server),
            Place::Cluster(nodes) => cluster(address, nodes),
            Place::Sentinel { addresses, master, username, password } => {
                let user = (username.as_deref(), password.as_deref());
                Sentinels::new(address, addresses, master, user).map(Self::Sentinel)
            }
        }
    }

    /// Time limit of making a connection.
    pub(super) const fn timeout(&self) -> Duration {
        match self {
            Self::Server(_) | Self::Sentinel(_) => SERVER_TIMEOUT,
            Self::Cluster(..) => CLUSTER_TIMEOUT,
        }
    }

    /// Makes a connection. Where Sentinels named the server, also says which. The caller bounds
    /// the time.
    pub(super) async fn connect(&self) -> Result<(Connection, Option<Server>), Arc<str>> {
        match self {
            Self::Server(client) => {
                let connection = connect(client, SERVER_TIMEOUT).await.map_err(words)?;
                Ok((Connection::Server(connection), None))
            }
            Self::Cluster(client, _) => {
                let connection = client.get_async_connection().await.map_err(words)?;
                Ok((Connection::Cluster(connection), None))
            }
            Self::Sentinel(sentinels) => {
                let (connection, server) = sentinels.connect().await?;
                Ok((Connection::Server(connection), Some(server)))
            }
        }
    }

    /// A connection for listening to channels. A cluster passes messages on to all its nodes, so
    /// any of them will do. The caller bounds the time.
    pub(super) async fn listen(&self) -> Result<PubSub, Failure> {
        match self {
            Self::Server(client) => listen(client).await,
            Self::Sentinel(sentinels) => {
                listen(&sentinels.client().await.map_err(Failure::Connect)?).await
            }
            Self::Cluster(_, nodes) => {
                let first = fastrand::usize(..nodes.len().max(1));
                let mut failure = Failure::Address;
                for node in nodes.iter().cycle().skip(first).take(nodes.len()) {
                    let attempt = tokio::time::timeout(NODE_TIMEOUT, listen(node)).await;
                    match attempt.unwrap_or(Err(Failure::Timeout)) {
                        Ok(connection) => return Ok(connection),
                        Err(why) => failure = why,
                    }
                }
                Err(failure)
            }
        }
    }

    /// Whether most of the Sentinels that answer name another server; no where there are none.
    pub(super) async fn names_another(&self, than: &Server) -> bool {
        match self {
            Self::Sentinel(sentinels) => sentinels.name_another(than).await,
            Self::Server(_) | Self::Cluster(..) => false,
        }
    }
}

async fn listen(client: &Client) -> Result<PubSub, Failure> {
    client.get_async_pubsub().await.map_err(|error| Failure::Connect(words(error)))
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of `map_err`")]
fn words(error: RedisError) -> Arc<str> {
    error.to_string().into()
}

fn cluster(address: &Address, nodes: &[String]) -> Option<Target> {
    let user = (address.username.as_deref(), address.password.as_deref());
    let places = nodes.iter().map(|node| host_and_port(node)).collect::<Option<Vec<_>>>()?;
    let infos = places
        .iter()
        .map(|(host, port)| address.info(host, *port, user).ok())
        .collect::<Option<Vec<_>>>()?;
    let clients = places
        .iter()
        .map(|(host, port)| address.client_of(host, *port).ok())
        .collect::<Option<Vec<_>>>()?;
    let mut builder = ClusterClientBuilder::new(infos)
        .tcp_settings(tcp_settings())
        .connection_timeout(NODE_TIMEOUT)
        .response_timeout(NODE_ANSWER_TIMEOUT)
        // Calls have a time limit of their own around everything.
        .overall_response_timeout(None)
        .retries(REDIRECTS)
        .min_retry_wait(REDIRECT_WAIT_MS.0)
        .max_retry_wait(REDIRECT_WAIT_MS.1);
    if let Some(tls) = &address.tls {
        builder = builder.certs(tls.certificates());
    }
    Some(Target::Cluster(Box::new(builder.build().ok()?), clients))
}
