//! An authoritative DNS server for one zone, whose records and manners change while it runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::rdata::{A, AAAA, SOA, SRV};
use hickory_server::proto::rr::{LowerName, Name, RData, Record};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneType};
use parking_lot::Mutex;
use tokio::net::{TcpListener, UdpSocket};

use crate::{Context, Result, ports};

/// What asking the server is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsMood {
    /// It works.
    #[default]
    Well,
    /// It answers SERVFAIL.
    ServFail,
    /// It takes questions and never answers.
    Hang,
    /// It answers after this time.
    Slow(Duration),
}

/// A DNS server with authority for `test.`, over UDP and TCP on a loopback port.
pub struct NameServer {
    address: SocketAddr,
    state: Arc<State>,
    server: tokio::sync::Mutex<Option<Server<Answering>>>,
}

struct State {
    /// Records by lower-case name.
    zone: Mutex<BTreeMap<String, Vec<Record>>>,
    /// The zone as it is served.
    catalog: Mutex<Arc<Catalog>>,
    mood: Mutex<DnsMood>,
    queries: AtomicU64,
    tcp_queries: AtomicU64,
}

/// The zone that the server has authority for.
const ZONE: &str = "test.";

impl NameServer {
    /// Starts with an empty zone.
    pub async fn start() -> Result<Self> {
        let state = Arc::new(State {
            zone: Mutex::default(),
            catalog: Mutex::default(),
            mood: Mutex::default(),
            queries: AtomicU64::new(0),
            tcp_queries: AtomicU64::new(0),
        });
        let address = (Ipv4Addr::LOCALHOST, ports::free()?).into();
        let server = Self { address, state, server: tokio::sync::Mutex::default() };
        server.publish()?;
        server.restart().await?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives a name, as `orders.test`, exactly these addresses.
    pub fn set_addresses(&self, name: &str, addresses: &[IpAddr], ttl: u32) -> Result<()> {
        let owner = absolute(name)?;
        let record = |ip: &IpAddr| {
            let data = match ip {
                IpAddr::V4(ip) => RData::A(A(*ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(*ip)),
            };
            Record::from_rdata(owner.clone(), ttl, data)
        };
        self.set(name, addresses.iter().map(record).collect())
    }

    /// Gives a name exactly these services: priority, weight, port and target.
    pub fn set_services(
        &self,
        name: &str,
        services: &[(u16, u16, u16, &str)],
        ttl: u32,
    ) -> Result<()> {
        let owner = absolute(name)?;
        let mut records = Vec::new();
        for (priority, weight, port, target) in services {
            let data = SRV::new(*priority, *weight, *port, absolute(target)?);
            records.push(Record::from_rdata(owner.clone(), ttl, RData::SRV(data)));
        }
        self.set(name, records)
    }

    /// Removes a name: it does not exist any more.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.state.zone.lock().remove(&name.to_ascii_lowercase());
        self.publish()
    }

    /// Changes what asking is like.
    pub fn set_mood(&self, mood: DnsMood) {
        *self.state.mood.lock() = mood;
    }

    /// Stops answering: its ports are closed until [`NameServer::restart`].
    pub async fn stop(&self) {
        let server = self.server.lock().await.take();
        if let Some(mut server) = server {
            let _ = server.shutdown_gracefully().await;
        }
    }

    /// Listens again, on the same port.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await;
        let udp = UdpSocket::bind(self.address).await.context("name server, UDP")?;
        let tcp = TcpListener::bind(self.address).await.context("name server, TCP")?;
        let mut server = Server::new(Answering(Arc::clone(&self.state)));
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 64);
        *self.server.lock().await = Some(server);
        Ok(())
    }

    /// Questions so far.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.state.queries.load(Ordering::SeqCst)
    }

    /// Questions so far that came over TCP.
    #[must_use]
    pub fn tcp_queries(&self) -> u64 {
        self.state.tcp_queries.load(Ordering::SeqCst)
    }

    fn set(&self, name: &str, records: Vec<Record>) -> Result<()> {
        self.state.zone.lock().insert(name.to_ascii_lowercase(), records);
        self.publish()
    }

    /// Serves the zone as it is now.
    fn publish(&self) -> Result<()> {
        let origin = absolute(ZONE)?;
        let mut zone = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
            origin.clone(),
            ZoneType::Primary,
            AxfrPolicy::Deny,
        );
        let soa = SOA::new(origin.clone(), origin.clone(), 1, 3600, 600, 86400, 1);
        zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
        for record in self.state.zone.lock().values().flatten() {
            zone.upsert_mut(record.clone(), 1);
        }
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::from(origin), vec![Arc::new(zone)]);
        *self.state.catalog.lock() = Arc::new(catalog);
        Ok(())
    }
}

fn absolute(name: &str) -> Result<Name> {
    let mut name = Name::from_str(name).context(name)?;
    name.set_fqdn(true);
    Ok(name)
}

/// Answers questions in the mood of the moment.
struct Answering(Arc<State>);

#[async_trait::async_trait]
impl RequestHandler for Answering {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let state = &self.0;
        state.queries.fetch_add(1, Ordering::SeqCst);
        if request.protocol() == Protocol::Tcp {
            state.tcp_queries.fetch_add(1, Ordering::SeqCst);
        }
        let mood = *state.mood.lock();
        match mood {
            DnsMood::Well => {}
            DnsMood::Slow(time) => tokio::time::sleep(time).await,
            DnsMood::Hang => return std::future::pending().await,
            DnsMood::ServFail => {
                let answer = MessageResponseBuilder::from_message_request(request)
                    .error_msg(&request.metadata, ResponseCode::ServFail);
                if let Ok(info) = response_handle.send_response(answer).await {
                    return info;
                }
            }
        }
        let catalog = Arc::clone(&state.catalog.lock());
        catalog.handle_request::<R, T>(request, response_handle).await
    }
}
