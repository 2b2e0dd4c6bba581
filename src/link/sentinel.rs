//! Which server is the primary, as Sentinels say.
//!
//! All Sentinels are asked at once, each within a time limit, and the server that most of them
//! name is tried first: one Sentinel that was cut off from the others may still name the old
//! primary. A server counts only if it says itself that it is a primary (`ROLE`).
//! <https://redis.io/docs/latest/develop/reference/sentinel-clients/>

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, Value};
use tokio::task::JoinSet;

use super::address::{Address, host_and_port};

/// Time limit of one Sentinel's answer, its connection included.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Time limit of connecting to one server that was named.
const SERVER_TIMEOUT: Duration = Duration::from_secs(1);

/// A host and a port, as Sentinels name servers.
pub(super) type Server = (String, u16);

/// The Sentinels of a primary.
pub(super) struct Sentinels {
    clients: Vec<Client>,
    master: String,
    /// How servers are reached.
    address: Address,
}

impl std::fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sentinels").field("master", &self.master).finish_non_exhaustive()
    }
}

/// What Sentinels said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    /// Each server that was named and by how many, the most first.
    servers: Vec<(Server, usize)>,
    /// Sentinels that know no primary of this name.
    without: usize,
    /// Why one of the others gave no answer.
    problem: Option<String>,
}

impl Sentinels {
    /// Those at `addresses` (`host:port`), none if one of these is not an address.
    pub(super) fn new(
        address: &Address,
        addresses: &[String],
        master: &str,
        user: (Option<&str>, Option<&str>),
    ) -> Option<Self> {
        let client = |at: &String| {
            let (host, port) = host_and_port(at)?;
            address.client_of_sentinel(host, port, user).ok()
        };
        let clients: Vec<_> = addresses.iter().map(client).collect::<Option<_>>()?;
        let address = address.clone();
        (!clients.is_empty()).then(|| Self { clients, master: master.to_owned(), address })
    }

    /// A connection to the primary, and where that is.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(super) async fn connect(&self) -> Result<(MultiplexedConnection, Server), Arc<str>> {
        let named = self.ask().await;
        let mut problem = named.why_none(&self.master);
        for (server, _) in named.servers {
            match self.try_server(&server).await {
                Ok(connection) => return Ok((connection, server)),
                Err(why) => problem = why,
            }
        }
        Err(problem.into())
    }

    /// A client of the primary.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(super) async fn client(&self) -> Result<Client, Arc<str>> {
        let (_, (host, port)) = self.connect().await?;
        self.address.client_of(&host, port).map_err(|error| error.to_string().into())
    }

    /// Whether most of the Sentinels that answer name another server than this one.
    pub(super) async fn name_another(&self, than: &Server) -> bool {
        let named = self.ask().await;
        let answers: usize = named.servers.iter().map(|(_, votes)| votes).sum();
        named.servers.first().is_some_and(|(first, votes)| first != than && votes * 2 > answers)
    }

    /// Asks until most of them have named the same server, or all have answered.
    async fn ask(&self) -> Named {
        let mut asked = JoinSet::new();
        for client in &self.clients {
            asked.spawn(ask_one(client.clone(), self.master.clone()));
        }
        let mut named = Named::default();
        while let Some(answer) = asked.join_next().await {
            named.add(answer.unwrap_or_else(|_| Err("it was not asked".to_owned())));
            if named.servers.first().is_some_and(|(_, votes)| votes * 2 > self.clients.len()) {
                break;
            }
        }
        named
    }

    async fn try_server(&self, (host, port): &Server) -> Result<MultiplexedConnection, String> {
        let client = self.address.client_of(host, *port).map_err(|error| error.to_string())?;
        let attempt = async {
            let mut connection = connect(&client, SERVER_TIMEOUT).await?;
            let role = is_primary(&mut connection).await?;
            Ok::<_, RedisError>((connection, role))
        };
        match tokio::time::timeout(SERVER_TIMEOUT, attempt).await {
            Ok(Ok((connection, true))) => Ok(connection),
            Ok(Ok((_, false))) => Err(format!("{host}:{port} is named as primary but is none")),
            Ok(Err(error)) => Err(format!("primary {host}:{port}: {error}")),
            Err(_) => Err(format!("primary {host}:{port}: no answer in time")),
        }
    }
}

impl Named {
    fn add(&mut self, answer: Result<Option<Server>, String>) {
        match answer {
            Ok(Some(server)) => {
                match self.servers.iter_mut().find(|(known, _)| *known == server) {
                    Some((_, votes)) => *votes += 1,
                    None => self.servers.push((server, 1)),
                }
                // Stable: of as many votes the first to be named stays first.
                self.servers.sort_by_key(|(_, votes)| Reverse(*votes));
            }
            Ok(None) => self.without += 1,
            Err(why) => self.problem = Some(why),
        }
    }

    fn why_none(&self, master: &str) -> String {
        match &self.problem {
            _ if self.without > 0 => format!("the Sentinels know no primary `{master}`"),
            Some(why) => format!("no Sentinel answers: {why}"),
            None => "no Sentinel answers".to_owned(),
        }
    }
}

async fn ask_one(client: Client, master: String) -> Result<Option<Server>, String> {
    let ask = async {
        let mut sentinel = connect(&client, ANSWER_TIMEOUT).await?;
        redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(master)
            .query_async::<Option<Server>>(&mut sentinel)
            .await
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, ask).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Whether the server says that it is a primary. One that may not be asked counts as such: a
/// replica shows itself with the first write.
async fn is_primary(connection: &mut MultiplexedConnection) -> Result<bool, RedisError> {
    match redis::cmd("ROLE").query_async::<Vec<Value>>(connection).await {
        Ok(answer) => Ok(match answer.first() {
            Some(Value::BulkString(role)) => role == b"master",
            Some(Value::SimpleString(role)) => role == "master",
            _ => false,
        }),
        Err(error) if matches!(error.kind(), ErrorKind::Server(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Connects to one server. Calls have a time limit of their own around everything; a second one
/// would only cost.
pub(super) async fn connect(
    client: &Client,
    timeout: Duration,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(answers: &[Result<Option<&str>, &str>]) -> Named {
        let mut named = Named::default();
        for answer in answers {
            named.add(match answer {
                Ok(host) => Ok(host.map(|host| (host.to_owned(), 6379))),
                Err(why) => Err((*why).to_owned()),
            });
        }
        named
    }

    #[test]
    fn the_server_that_most_name_comes_first() {
        let named = named(&[Ok(Some("old")), Ok(Some("new")), Err("away"), Ok(Some("new"))]);
        let hosts: Vec<_> =
            named.servers.iter().map(|((host, _), votes)| (&**host, *votes)).collect();
        assert_eq!(hosts, [("new", 2), ("old", 1)]);
    }

    #[test]
    fn what_is_said_without_a_primary_tells_why() {
        let why = |answers: &[_]| named(answers).why_none("limits");
        assert_eq!(why(&[Err("refused")]), "no Sentinel answers: refused");
        assert_eq!(why(&[Err("refused"), Ok(None)]), "the Sentinels know no primary `limits`");
    }
}
