//! The meters of one listener, resolved once.

use prometheus::{IntCounter, IntGauge};

use super::Metrics;

/// Why a connection was refused, or cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The listener has as many as it takes.
    Limit,
    /// All listeners together have as many as this node takes.
    NodeLimit,
    /// The client has as many as it may.
    ClientLimit,
    /// Its PROXY protocol header is missing, malformed, or from a peer that is not trusted.
    ProxyProtocol,
    /// Its TLS handshake failed.
    Tls,
    /// It speaks a protocol that the listener does not.
    Protocol,
    /// A request header, or what comes before the first, took too long.
    HeaderTimeout,
    /// It paused for too long inside a body.
    ReadTimeout,
    /// It sent a body, or took an answer, too slowly.
    Rate,
    /// It asked for too much work with HTTP/2 frames that carry nothing.
    Http2Flood,
}

impl Refused {
    /// Every reason with its label.
    const ALL: [(Self, &'static str); 10] = [
        (Self::Limit, "limit"),
        (Self::NodeLimit, "node_limit"),
        (Self::ClientLimit, "client_limit"),
        (Self::ProxyProtocol, "proxy_protocol"),
        (Self::Tls, "tls"),
        (Self::Protocol, "protocol"),
        (Self::HeaderTimeout, "header_timeout"),
        (Self::ReadTimeout, "read_timeout"),
        (Self::Rate, "rate"),
        (Self::Http2Flood, "http2_flood"),
    ];
}

/// The meters of one listener.
#[derive(Debug)]
pub struct ListenerMeters {
    open: IntGauge,
    accepted: IntCounter,
    /// In the order of [`Refused::ALL`], which is that of the variants.
    refused: [IntCounter; Refused::ALL.len()],
}

impl ListenerMeters {
    /// Meters for a listener.
    #[must_use]
    pub fn new(metrics: &Metrics, listener: &str) -> Self {
        let refused = &metrics.connections_refused;
        Self {
            open: metrics.connections_open.with_label_values(&[listener]),
            accepted: metrics.connections_accepted.with_label_values(&[listener]),
            refused: Refused::ALL.map(|(_, word)| refused.with_label_values(&[listener, word])),
        }
    }

    /// A connection was accepted.
    pub fn accepted(&self) {
        self.accepted.inc();
    }

    /// One more connection is open.
    pub fn opened(&self) {
        self.open.inc();
    }

    /// One connection less is open.
    pub fn closed(&self) {
        self.open.dec();
    }

    /// A connection was refused or cut short.
    pub fn refused(&self, why: Refused) {
        if let Some(counter) = self.refused.get(why as usize) {
            counter.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_the_counter_of_its_label() {
        let metrics = Metrics::new().unwrap();
        let meters = ListenerMeters::new(&metrics, "main");
        for (why, word) in Refused::ALL {
            meters.refused(why);
            let counter = metrics.connections_refused.with_label_values(&["main", word]);
            assert_eq!(counter.get(), 1, "{word}");
        }
    }
}
