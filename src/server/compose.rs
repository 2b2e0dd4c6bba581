//! The composition root: one place where every part meets.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pingora::listeners::{ListenerConfig, TcpSocketOptions};
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;
use pingora::services::listening::Service;

use super::background::Upkeep;
use super::connections::Connections;
use super::drain::ExitWhenIdle;
use super::listeners;
use super::pid_file::PidFile;
use super::signals::Signals;
use crate::admin::Admin;
use crate::live::Live;
use crate::model::{self, Config};
use crate::proxy::Gateway;

/// How a process starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It binds its addresses.
    Fresh,
    /// It takes the listening sockets over from the running process.
    Upgrade,
}

/// Read buffer of a connection: smaller than Pingora's 64 KiB, which an idle connection would
/// hold for nothing; measured without cost for ordinary requests.
const READ_BUFFER: usize = 4096;

/// Write buffer of a connection: an answer whose header and body fit goes out in one system
/// call. With Pingora's 1460 bytes an ordinary answer of 1 KiB with quota headers takes two.
const WRITE_BUFFER: usize = 4096;

/// Tries that Pingora allows a request at all; routes set their own, lower number. Never 0: that
/// closes connections without an answer.
const MAX_TRIES: usize = 6;

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// When an address is taken, or the pid file cannot be written.
pub fn run(live: &Arc<Live>, config: &Config, start: Start) -> std::io::Result<()> {
    let settings = &config.server;
    if let Err(error) = make_folder(&settings.upgrade_socket) {
        let socket = settings.upgrade_socket.as_str();
        tracing::warn!(socket, %error, "the folder of the upgrade socket cannot be made");
    }
    let signals = Signals::new(Arc::clone(live), settings.upgrade_socket.clone());
    if start == Start::Fresh {
        listeners::check_free(config)?;
    }
    look_up_endpoints(live)?;
    if start == Start::Upgrade {
        super::signals::ask_to_hand_over(settings);
    }
    let options = Opt { upgrade: start == Start::Upgrade, ..Opt::default() };
    let mut server = Server::new_with_opt_and_conf(Some(options), conf(settings));
    server.bootstrap();
    let pid_file = settings.pid_file.as_deref().map(Path::new).map(PidFile::write).transpose()?;
    server.add_service(data_plane(&server, live, config));
    server.add_service(admin(live, config));
    let upkeep = Upkeep::new(Arc::clone(live), config.clone());
    server.add_service(background_service("upkeep", upkeep));
    let grace = settings.grace_period.get();
    ExitWhenIdle::watch(Arc::clone(live), server.watch_execution_phase(), grace, pid_file)?;
    tracing::info!(
        listeners = ?config.listeners.iter().map(|l| l.address.as_str()).collect::<Vec<_>>(),
        admin = config.admin.address,
        config_version = live.snapshot().version,
        "tidegate runs"
    );
    server.run(RunArgs { shutdown_signal: Box::new(signals) });
    live.access_log.close();
    Ok(())
}

/// Looks every source of endpoints up once, before the first request can come. Takes as long as
/// the slowest of them, at most its time limit; what is not found by then is found later.
fn look_up_endpoints(live: &Live) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let upstreams = &live.upstreams;
    runtime.block_on(upstreams.directory.look_up_first(&upstreams.health, &live.metrics));
    // A look-up that hangs in the operating system is left behind, not waited for.
    runtime.shutdown_background();
    Ok(())
}

fn conf(settings: &model::Server) -> ServerConf {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let grace = settings.grace_period.get();
    ServerConf {
        threads: if settings.threads == 0 { processors } else { settings.threads },
        upgrade_sock: settings.upgrade_socket.clone(),
        upstream_keepalive_pool_size: settings.upstream_keepalive,
        max_retries: MAX_TRIES,
        grace_period_seconds: Some(grace.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

fn data_plane(server: &Server, live: &Arc<Live>, config: &Config) -> Service<Connections> {
    let gateway = Gateway::new(Arc::clone(live));
    let proxy = pingora_proxy::http_proxy(&server.configuration, gateway);
    let connections = Connections::new(Arc::clone(live), proxy, config);
    let mut service = Service::new("gateway".to_owned(), connections);
    for listener in &config.listeners {
        service.add_listener(listen_on(&listener.address));
    }
    service
}

fn admin(live: &Arc<Live>, config: &Config) -> Service<Admin> {
    let mut service = Service::new("admin".to_owned(), Admin::new(Arc::clone(live)));
    service.threads = Some(1);
    service.add_listener(listen_on(&config.admin.address));
    service
}

fn listen_on(address: &str) -> ListenerConfig {
    let mut options = TcpSocketOptions::default();
    options.tcp_keepalive = Some(pingora::protocols::TcpKeepalive {
        idle: Duration::from_mins(1),
        interval: Duration::from_secs(10),
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::ZERO,
    });
    ListenerConfig::tcp(address)
        .tcp_socket_options(options)
        .l4_buffer(L4BufferSettings::default().read(READ_BUFFER).write(WRITE_BUFFER))
}

/// The folder of the upgrade socket, closed to others: whoever can connect to the socket can
/// take the listening sockets.
fn make_folder(socket: &str) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = PathBuf::from(socket).parent().map(Path::to_owned).unwrap_or_default();
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
