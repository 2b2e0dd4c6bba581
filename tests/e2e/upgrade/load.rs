//! Clients of every kind, without a pause.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tidegate_kit::{
    Context as _, Error, Http2Client, Message, RawConnection, Request, Result, TlsClient,
    WebSocket, send, wait,
};
use tokio::task::JoinHandle;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A connection for each request.
    Opening,
    /// One connection for as long as it lasts.
    Keeping,
    /// A TLS connection for each request.
    Secure,
    /// One connection of HTTP/2 over TLS for as long as it lasts.
    Http2,
    /// Answers that take a while to come.
    Streaming,
    /// `WebSocket`s with a few messages each.
    WebSocket,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Opening, Self::Keeping, Self::Secure, Self::Http2, Self::Streaming, Self::WebSocket];
}

/// Where clients connect.
#[derive(Clone)]
struct Place {
    plain: SocketAddr,
    secure: SocketAddr,
    tls: TlsClient,
}

/// One client of each kind.
pub(super) struct Load {
    clients: Vec<(Arc<AtomicU64>, JoinHandle<()>)>,
    failures: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub(super) fn start(
        plain: SocketAddr,
        secure: SocketAddr,
        tls: &TlsClient,
        kinds: &[Kind],
    ) -> Self {
        let (failures, stop) = (Arc::<Mutex<Vec<String>>>::default(), Arc::default());
        let place = Place { plain, secure, tls: tls.clone() };
        let clients = kinds.iter().map(|kind| {
            let served = Arc::<AtomicU64>::default();
            let (count, failures) = (Arc::clone(&served), Arc::clone(&failures));
            let (place, stop, kind) = (place.clone(), Arc::<AtomicBool>::clone(&stop), *kind);
            let task = tokio::spawn(async move {
                let mut client = Client { kind, place, kept: None, http2: None };
                while !stop.load(Ordering::SeqCst) {
                    match client.once().await {
                        Ok(()) => {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(error) => failures.lock().push(format!("{kind:?}: {error}")),
                    }
                }
            });
            (served, task)
        });
        let clients = clients.collect();
        Self { clients, failures, stop }
    }

    /// Waits until every client has had this many answers more, or one of them has failed.
    pub(super) async fn all_served(&self, more: u64) -> Result<()> {
        let now = || self.clients.iter().map(|(served, _)| served.load(Ordering::SeqCst));
        let before: Vec<u64> = now().collect();
        wait::until("every client to be served", async || {
            let done = now().zip(&before).all(|(now, before)| now >= before + more);
            (done || !self.failures.lock().is_empty()).then_some(())
        })
        .await
    }

    /// Ends; what has failed.
    pub(super) async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        for (_, client) in self.clients {
            let _ = client.await;
        }
        self.failures.lock().clone()
    }
}

struct Client {
    kind: Kind,
    place: Place,
    kept: Option<RawConnection>,
    http2: Option<Http2Client>,
}

impl Client {
    async fn once(&mut self) -> Result<()> {
        let (plain, secure) = (self.place.plain, self.place.secure);
        let request = Request::get("/");
        match self.kind {
            Kind::Opening => send(plain, &request).await?.expect(200).map(|_| ()),
            Kind::Keeping => self.keeping(&request).await,
            Kind::Secure => {
                let (mut connection, _) =
                    RawConnection::tls(&self.place.tls, secure, "a.example").await?;
                connection.request(&request).await?.expect(200).map(|_| ())
            }
            Kind::Http2 => self.http2().await,
            Kind::Streaming => {
                let answer = send(plain, &Request::get("/chunks/64")).await?.expect(200)?;
                let whole = answer.body.len() == 64 * 1024;
                whole.then_some(()).ok_or_else(|| Error::new("an answer is not whole"))
            }
            Kind::WebSocket => {
                let mut socket = WebSocket::connect(plain, "/talk/echo").await?.context("101")?;
                for _ in 0..3 {
                    socket.send(Message::text("hello")).await?;
                    let same = socket.message().await? == Message::text("hello");
                    same.then_some(()).context("another message")?;
                }
                socket.close().await
            }
        }
    }

    /// Whoever keeps a connection must expect its end between two requests and open another one
    /// (RFC 9112, 9.3.1; RFC 9113, 6.8); that is no failed request.
    async fn keeping(&mut self, request: &Request) -> Result<()> {
        if let Some(mut kept) = self.kept.take()
            && let Ok(answer) = kept.request(request).await
        {
            let answer = answer.expect(200)?;
            self.kept = (answer.header("connection") != Some("close")).then_some(kept);
            return Ok(());
        }
        let mut fresh = RawConnection::connect(self.place.plain).await?;
        let answer = fresh.request(request).await?.expect(200)?;
        self.kept = (answer.header("connection") != Some("close")).then_some(fresh);
        Ok(())
    }

    async fn http2(&mut self) -> Result<()> {
        if let Some(kept) = self.http2.take()
            && let Ok(answer) = kept.get("/", &[]).await
        {
            answer.expect(200)?;
            self.http2 = Some(kept);
            return Ok(());
        }
        let (fresh, _) = Http2Client::tls(&self.place.tls, self.place.secure, "a.example").await?;
        fresh.get("/", &[]).await?.expect(200)?;
        self.http2 = Some(fresh);
        Ok(())
    }
}
