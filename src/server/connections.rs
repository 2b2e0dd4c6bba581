//! What becomes of accepted connections: who may come in, who is it, what is spoken, and then
//! one request after the other.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, ServerApp};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as Socket;
use pingora::protocols::{ALPN, IO, Ssl, Stream};
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::time::timeout;

use super::arrivals::{Arrival, Arrivals};
use super::http2::Http2;
use crate::edge::Connection;
use crate::live::Live;
use crate::model::Config;
use crate::proxy::Gateway;
use crate::telemetry::{ListenerMeters, Refused};
use crate::wire::{self, Ceiling, Door, Guard, Place, Rules, Speaks, proxy_protocol};

/// The data plane as the application of a service.
///
/// Pingora's own wrapper, at the end of listening, drops every connection whose next request has
/// not been read yet, those too that were accepted a moment ago with the request on its way. Here
/// they are served; idle ones end with the process, which leaves as soon as nothing is in flight.
pub(super) struct Connections {
    live: Arc<Live>,
    proxy: Arc<HttpProxy<Gateway>>,
    doors: Box<[(SocketAddr, Arc<Door>)]>,
    arrivals: Arc<Arrivals>,
}

impl Connections {
    /// The listeners are those that the process was started with: their addresses stay. All of
    /// them together take `most` connections.
    pub(super) fn new(
        live: Arc<Live>,
        proxy: HttpProxy<Gateway>,
        config: &Config,
        most: usize,
        arrivals: Arc<Arrivals>,
    ) -> Self {
        let ceiling = Arc::new(Ceiling::new(most, &live.metrics.connections_ceiling));
        let listeners = config.listeners.iter();
        let doors = listeners
            .filter_map(|listener| {
                let meters = ListenerMeters::new(&live.metrics, &listener.name);
                let door = Door::new(meters, Arc::clone(&ceiling));
                Some((listener.address.parse().ok()?, Arc::new(door)))
            })
            .collect();
        Self { live, proxy: Arc::new(proxy), doors, arrivals }
    }

    /// The door of the listener that accepted a connection.
    fn door(&self, local: SocketAddr) -> Option<&Arc<Door>> {
        let is_here = |address: &SocketAddr| {
            address.port() == local.port()
                && (address.ip().is_unspecified() || address.ip() == local.ip())
        };
        self.doors.iter().find(|(address, _)| is_here(address)).map(|(_, door)| door)
    }

    /// Everything before the first request: is there a place, who is it, what is spoken.
    /// Nothing when the connection is refused, which has been counted then.
    async fn receive(&self, mut stream: Stream) -> Option<(Guard, Speaks)> {
        let mut connection = describe(&*stream);
        let listener = {
            let snapshot = self.live.snapshot();
            Arc::clone(snapshot.listeners.accepting(Some(connection.local)))
        };
        let rules = &listener.rules;
        let mut place = self.door(connection.local)?.enter(listener.connections).ok()?;
        if let Some(trusted) = &listener.proxy_protocol {
            if !trusted.contains(connection.peer.ip()) {
                place.refused(Refused::ProxyProtocol);
                return None;
            }
            if let Some(client) = told_client(&mut stream, &place, rules).await? {
                connection.peer = client;
            }
        }
        if let Some(most) = listener.connections_per_client {
            place.claim(connection.peer.ip(), most).ok()?;
        }
        let mut http2 = rules.speaks == Speaks::Http2;
        if let Some(config) = &listener.tls {
            let acceptor = Acceptor::from_server_config(Arc::clone(config));
            stream = end_tls(stream, &acceptor, &mut connection, &place, rules).await?;
            http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        }
        let tls = connection.tls;
        let farewell = Arc::clone(&self.arrivals.farewell);
        let mut guard = Guard::new(stream, connection, Arc::clone(rules), place, farewell);
        if !tls && rules.speaks == Speaks::Both {
            http2 = guard.detect_http2().await.ok()?;
        }
        if http2 {
            guard.speak_http2();
            return Some((guard, Speaks::Http2));
        }
        if !rules.speaks.http1() {
            guard.refuse_protocol();
            return None;
        }
        Some((guard, Speaks::Http1))
    }

    /// One request after the other. The session, and the future of a request, live no longer
    /// than the request: in between there is only the guard.
    async fn serve_http1(
        &self,
        mut guard: Box<Guard>,
        arrival: &mut Arrival,
        shutdown: &ShutdownWatch,
    ) {
        let limit = guard.rules().requests.saturating_sub(1);
        let mut settings: Option<HttpPersistentSettings> = None;
        while guard.next_request().await {
            let mut session = ServerSession::new_http1(guard);
            if let Some(settings) = settings.take() {
                settings.apply_to_session(&mut session);
            } else {
                // For ever, as far as Pingora is concerned: the guard has the deadlines.
                session.set_keepalive(Some(0));
                session.set_keepalive_reuses_remaining(Some(limit));
            }
            let Some(reused) =
                pingora::apps::HttpServerApp::process_new_http(&self.proxy, session, shutdown)
                    .await
            else {
                return;
            };
            let (stream, next) = reused.consume();
            let Ok(same) = stream.into_any().downcast::<Guard>() else { return };
            (guard, settings) = (same, next);
            guard.request_served();
            arrival.settle();
        }
    }
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(
        self: &Arc<Self>,
        connection: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut arrival = self.arrivals.enter();
        // Boxed, so that what only the beginning needs is given back when it is over.
        let (guard, speaks) = Box::pin(self.receive(connection)).await?;
        let guard = Box::new(guard);
        if speaks == Speaks::Http2 {
            // It is told to go and sends what it has begun before it does.
            arrival.share();
            let app = Arc::new(Http2::new(Arc::clone(&self.proxy), guard.rules()));
            return app.process_new(guard, shutdown).await;
        }
        self.serve_http1(guard, &mut arrival, shutdown).await;
        None
    }

    /// Runs when every listener has stopped to accept.
    async fn cleanup(&self) {
        self.arrivals.end();
    }
}

/// The client that a load balancer tells of; nothing inside where it tells of none, nothing at
/// all where the connection is refused.
async fn told_client(
    stream: &mut Stream,
    place: &Place,
    rules: &Rules,
) -> Option<Option<SocketAddr>> {
    let header = timeout(rules.header, proxy_protocol::read(stream)).await;
    let why = match header {
        Ok(Ok(client)) => return Some(client),
        Ok(Err(_)) => Refused::ProxyProtocol,
        Err(_) => Refused::HeaderTimeout,
    };
    place.refused(why);
    None
}

/// Ends TLS, and notes what its handshake tells of the client.
async fn end_tls(
    stream: Stream,
    acceptor: &Acceptor,
    connection: &mut Connection,
    place: &Place,
    rules: &Rules,
) -> Option<Stream> {
    let socket = stream.into_any().downcast::<Socket>().ok()?;
    let why = match timeout(rules.header, acceptor.tls_handshake(*socket)).await {
        Ok(Ok(stream)) => {
            connection.tls = true;
            if let Some(tls) = stream.get_ssl() {
                connection.server_name = tls.server_name().map(Into::into);
                let certificate = tls.peer_certificate_der().and_then(wire::certificate_of);
                connection.certificate = certificate.map(Arc::new);
            }
            return Some(Box::new(stream));
        }
        Ok(Err(error)) => {
            tracing::debug!(peer = %connection.peer, %error, "a TLS handshake failed");
            Refused::Tls
        }
        Err(_) => Refused::HeaderTimeout,
    };
    place.refused(why);
    None
}

/// What the socket says of a connection; this machine where it says nothing.
fn describe(io: &dyn IO) -> Connection {
    let digest = io.get_socket_digest();
    let ends = digest.as_ref().and_then(|digest| {
        let local = digest.local_addr()?.as_inet()?;
        Some(Connection::cleartext(*local, *digest.peer_addr()?.as_inet()?))
    });
    ends.unwrap_or_default()
}
