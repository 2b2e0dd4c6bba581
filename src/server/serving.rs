//! Services that listen on sockets which are there already, from the moment they are told to.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service as Services;
use pingora::services::listening::Service;
use tokio::sync::watch;

/// Pingora's listening service behind a gate.
pub(super) struct Serving<A> {
    inner: Service<A>,
    fds: ListenFds,
    gate: watch::Receiver<bool>,
    /// Told once connections are accepted; dropped without a word where that failed.
    accepts: Option<mpsc::Sender<()>>,
    /// When to stop, where that is not when the process is told to.
    until: Option<ShutdownWatch>,
}

/// What the services of a process wait for, and tell.
pub(super) struct Gate {
    open: watch::Sender<bool>,
    accepts: (Option<mpsc::Sender<()>>, mpsc::Receiver<()>),
    services: usize,
}

impl Gate {
    /// A closed gate.
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { open: watch::Sender::new(false), accepts: (Some(sender), receiver), services: 0 }
    }

    /// Puts a service behind the gate.
    pub(super) fn guard<A>(
        &mut self,
        inner: Service<A>,
        fds: ListenFds,
        until: Option<ShutdownWatch>,
    ) -> Serving<A> {
        self.services += 1;
        Serving { inner, fds, gate: self.open.subscribe(), accepts: self.accepts.0.clone(), until }
    }

    /// Lets the services begin, and waits until all of them accept connections. False when one of
    /// them cannot, which is a defect.
    pub(super) fn open(&mut self) -> bool {
        self.accepts.0 = None;
        self.open.send_replace(true);
        (0..self.services).all(|_| self.accepts.1.recv().is_ok())
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> Services for Serving<A> {
    /// Pingora's own table of sockets stays empty: it would keep them open.
    async fn start_service(
        &mut self,
        _: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        let accepts = self.accepts.take();
        let stopped = async {
            // Ends with the process at the latest.
            let _ = shutdown.wait_for(|stops| *stops).await;
        };
        tokio::select! {
            opened = self.gate.wait_for(|open| *open) => if opened.is_err() { return },
            () = stopped => return,
        }
        let fds = Some(std::sync::Arc::clone(&self.fds));
        let until = self.until.take().unwrap_or(shutdown);
        let mut serving = pin!(self.inner.start_service(fds, until, listeners_per_fd));
        // Sockets that are there need no waiting: once it waits, it is for connections.
        let begun = poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx))).await;
        if begun.is_pending() {
            if let Some(accepts) = accepts {
                // Nobody listens any more when the process is on its way out.
                let _ = accepts.send(());
            }
            serving.await;
        }
    }

    fn name(&self) -> &str {
        Services::name(&self.inner)
    }

    fn threads(&self) -> Option<usize> {
        Services::threads(&self.inner)
    }
}
