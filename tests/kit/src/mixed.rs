//! Clients of every kind that must not notice when a process takes the place of another.

use std::net::SocketAddr;

use crate::{
    Context as _, Error, Http2Client, Message, RawConnection, Request, Result, TlsClient,
    WebSocket, send,
};

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixedKind {
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

impl MixedKind {
    /// All there are.
    pub const ALL: [Self; 6] =
        [Self::Opening, Self::Keeping, Self::Secure, Self::Http2, Self::Streaming, Self::WebSocket];
}

impl MixedKind {
    /// Whether it keeps its connection from one request to the next.
    #[must_use]
    pub const fn keeps(self) -> bool {
        matches!(self, Self::Keeping | Self::Http2)
    }
}

/// Where clients connect: to a gateway with an [`Origin`](crate::Origin) behind it, and a
/// [`WebSocketOrigin`](crate::WebSocketOrigin) below `/talk`.
#[derive(Clone)]
pub struct MixedPlace {
    /// A listener without TLS.
    pub plain: SocketAddr,
    /// One with a certificate for `a.example`.
    pub secure: SocketAddr,
    /// What trusts the certificate.
    pub tls: TlsClient,
}

/// A client of one kind.
pub struct MixedClient {
    kind: MixedKind,
    place: MixedPlace,
    kept: Option<RawConnection>,
    http2: Option<Http2Client>,
    reopened: u64,
}

impl MixedClient {
    /// A client that has no connection yet.
    #[must_use]
    pub const fn new(kind: MixedKind, place: MixedPlace) -> Self {
        Self { kind, place, kept: None, http2: None, reopened: 0 }
    }

    /// Connections that ended between two requests, so that another was opened. Whoever keeps a
    /// connection must expect that (RFC 9112, 9.3.1; RFC 9113, 6.8); it is no failed request. One
    /// that ends when something of an answer has come is.
    #[must_use]
    pub const fn reopened(&self) -> u64 {
        self.reopened
    }

    /// Closes what is kept open.
    pub fn rest(&mut self) {
        (self.kept, self.http2) = (None, None);
    }

    /// Does it once; an error where it was not served, or not wholly.
    pub async fn once(&mut self) -> Result<()> {
        let request = Request::get("/");
        match self.kind {
            MixedKind::Opening => send(self.place.plain, &request).await?.expect(200).map(|_| ()),
            MixedKind::Keeping => self.keeping(&request).await,
            MixedKind::Secure => {
                let MixedPlace { secure, tls, .. } = &self.place;
                let (mut connection, _) = RawConnection::tls(tls, *secure, "a.example").await?;
                connection.request(&request).await?.expect(200).map(|_| ())
            }
            MixedKind::Http2 => self.http2().await,
            MixedKind::Streaming => {
                let answer = send(self.place.plain, &Request::get("/chunks/64")).await?;
                let whole = answer.expect(200)?.body.len() == 64 * 1024;
                whole.then_some(()).ok_or_else(|| Error::new("an answer is not whole"))
            }
            MixedKind::WebSocket => talk(self.place.plain).await,
        }
    }

    async fn keeping(&mut self, request: &Request) -> Result<()> {
        let had = self.kept.is_some();
        let answered = match self.kept.take() {
            Some(mut kept) => kept.request_again(request).await?.map(|answer| (kept, answer)),
            None => None,
        };
        let (connection, answer) = if let Some(answered) = answered {
            answered
        } else {
            self.reopened += u64::from(had);
            let mut fresh = RawConnection::connect(self.place.plain).await?;
            let answer = fresh.request(request).await?;
            (fresh, answer)
        };
        let answer = answer.expect(200)?;
        if answer.header("connection") != Some("close") {
            self.kept = Some(connection);
        }
        Ok(())
    }

    async fn http2(&mut self) -> Result<()> {
        if let Some(kept) = self.http2.take() {
            if let Some(answer) = kept.try_get("/", &[]).await? {
                answer.expect(200)?;
                self.http2 = Some(kept);
                return Ok(());
            }
            self.reopened += 1;
        }
        let MixedPlace { secure, tls, .. } = &self.place;
        let (fresh, _) = Http2Client::tls(tls, *secure, "a.example").await?;
        fresh.get("/", &[]).await?.expect(200)?;
        self.http2 = Some(fresh);
        Ok(())
    }
}

async fn talk(plain: SocketAddr) -> Result<()> {
    let mut socket = WebSocket::connect(plain, "/talk/echo").await?.context("101")?;
    for _ in 0..3 {
        socket.send(Message::text("hello")).await?;
        let same = socket.message().await? == Message::text("hello");
        same.then_some(()).context("another message")?;
    }
    socket.close().await
}
