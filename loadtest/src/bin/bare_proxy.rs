//! `bare_proxy LISTEN UPSTREAM [THREADS [CERT KEY [h2]]]`: the least that a proxy on Pingora can do.
//!
//! The yardstick of `compare`. It is as bare as the gateway's own set-up allows: same Pingora
//! features, allocator, listener options, keep-alive pool and absence of modules, so that what
//! the gateway costs beyond it is the gateway's own work.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use async_trait::async_trait;
use pingora::Result as Phase;
use pingora::listeners::tls::TlsSettings;
use pingora::listeners::{ListenerConfig, TcpSocketOptions};
use pingora::prelude::HttpPeer;
use pingora::protocols::TcpKeepalive;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use tidegate_loadtest::{Context, Error, Result};

#[global_allocator]
static MEMORY: tidegate_memory::Memory = tidegate_memory::Memory;

const USAGE: &str = "usage: bare_proxy LISTEN UPSTREAM [THREADS=1 [CERT KEY [h2]]]";

/// Connections kept open to the upstream: the gateway's default.
const UPSTREAM_KEEPALIVE: usize = 256;

/// The gateway's read buffer for a connection.
const READ_BUFFER: usize = 4096;

/// Sends every request to one upstream.
struct Bare {
    upstream: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    /// Pingora would add a compression module that is switched off; the gateway adds none.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Phase<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.clone()))
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare_proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (listen, upstream, threads, tls) = match *words.as_slice() {
        [listen, upstream] => (listen, upstream, None, None),
        [listen, upstream, threads] => (listen, upstream, Some(threads), None),
        [listen, upstream, threads, cert, key] => {
            (listen, upstream, Some(threads), Some((cert, key, false)))
        }
        [listen, upstream, threads, cert, key, "h2"] => {
            (listen, upstream, Some(threads), Some((cert, key, true)))
        }
        _ => return Err(Error::new(USAGE)),
    };
    let upstream: SocketAddr = upstream.parse().context(upstream)?;
    let threads = threads.map_or(Ok(1), |text| text.parse::<usize>().context(text))?;
    let conf = ServerConf {
        threads,
        upstream_keepalive_pool_size: UPSTREAM_KEEPALIVE,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut peer = HttpPeer::new(upstream, false, String::new());
    peer.options.idle_timeout = Some(Duration::from_secs(55));
    let mut service = http_proxy_service(&server.configuration, Bare { upstream: peer });
    let mut listener = listen_on(listen);
    if let Some((cert, key, http2)) = tls {
        let mut settings = TlsSettings::intermediate(cert, key).context(cert)?;
        if http2 {
            settings.enable_h2();
        }
        listener = listener.tls(settings);
    }
    service.add_listener(listener);
    server.add_service(service);
    server.run_forever()
}

fn listen_on(address: &str) -> ListenerConfig {
    let mut options = TcpSocketOptions::default();
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: Duration::from_mins(1),
        interval: Duration::from_secs(10),
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::ZERO,
    });
    ListenerConfig::tcp(address)
        .tcp_socket_options(options)
        .l4_buffer(L4BufferSettings::default().read(READ_BUFFER))
}
