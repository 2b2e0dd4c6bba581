//! HTTP/2 connections: Pingora's own loop, with the listener's limits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use crate::proxy::Gateway;
use crate::wire::Rules;

/// What an answer that the client does not take may hold, for each request.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that were reset and are still remembered, for frames that were on their way.
const RESETS_REMEMBERED: usize = 64;

/// One HTTP/2 connection's application. The proxy behind it is everybody's, and so is its pool
/// of connections to services.
pub(super) struct Http2 {
    proxy: Arc<HttpProxy<Gateway>>,
    options: HttpServerOptions,
    protocol: H2Options,
}

impl Http2 {
    pub(super) fn new(proxy: Arc<HttpProxy<Gateway>>, rules: &Rules) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(rules.idle);
        let mut protocol = default_h2_options();
        protocol
            .max_concurrent_streams(rules.streams)
            .max_header_list_size(u32::try_from(rules.header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_reset_streams(RESETS_REMEMBERED)
            .max_send_buffer_size(SEND_BUFFER);
        Self { proxy, options, protocol }
    }
}

impl HttpServerApp for Http2 {
    /// Written out, because `async fn` would box the proxy's boxed future once more for every
    /// request.
    fn process_new_http<'this, 'watch, 'run>(
        self: &'this Arc<Self>,
        session: ServerSession,
        shutdown: &'watch ShutdownWatch,
    ) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'run>>
    where
        'this: 'run,
        'watch: 'run,
        Self: 'run,
    {
        self.proxy.process_new_http(session, shutdown)
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(self.protocol.clone())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
