//! What becomes of accepted connections.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use crate::proxy::Gateway;

/// The data plane as the application of a service.
///
/// Pingora's own wrapper, at the end of listening, drops every connection whose next request has
/// not been read yet, those too that were accepted a moment ago with the request on its way. Here
/// they are served; idle ones end with the process, which leaves as soon as nothing is in flight.
pub(super) struct Connections(Arc<HttpProxy<Gateway>>);

impl Connections {
    pub(super) fn new(proxy: HttpProxy<Gateway>) -> Self {
        Self(Arc::new(proxy))
    }
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(
        self: &Arc<Self>,
        connection: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        self.0.process_new(connection, shutdown).await
    }
}
