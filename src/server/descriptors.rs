//! File descriptors: how many this process may have, and how many connections that allows.
//!
//! Every client connection is a descriptor, and a request on it may need another one to a
//! service. When there are none left, nothing works any more: no connection to a service, none
//! to Redis, no file can be read. So the connections of clients are bounded in such a way that
//! some are always left (R012).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::model;

/// Raises the limit of this process as far as it may by itself, and returns it.
pub(super) fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (Some(current), most) = (current, maximum.unwrap_or(UNLIMITED)) else { return UNLIMITED };
    if current >= most {
        return current;
    }
    let wanted = Rlimit { current: Some(most), maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => most,
        Err(error) => {
            tracing::warn!(current, most, %error, "the limit of descriptors cannot be raised");
            current
        }
    }
}

/// How the descriptors of a process are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// All of them.
    pub(super) limit: u64,
    /// Connections of clients.
    pub(super) clients: usize,
    /// Connections to services that are kept open without a request, for each thread.
    pub(super) idle: usize,
}

impl Shares {
    /// Shares `limit` descriptors out among `threads` threads.
    ///
    /// A part is kept for listeners, Redis, the database, the admin listener and files; a part
    /// for idle connections to services; of the rest each client may have two, its own and that
    /// to its service. Requests of one HTTP/2 connection may need more: that is what the part
    /// for idle ones gives way for, and `server.maxConnections` can be set lower.
    pub(super) fn of(limit: u64, settings: &model::Server, threads: usize) -> Self {
        let limit_size = usize::try_from(limit).unwrap_or(usize::MAX);
        let kept = (limit_size / 8).clamp(KEPT_MIN, KEPT_MAX);
        let threads = threads.max(1);
        let idle = settings.upstream_keepalive.min((limit_size / 4 / threads).max(1));
        let rest = limit_size.saturating_sub(kept).saturating_sub(idle.saturating_mul(threads));
        let clients = settings.max_connections.unwrap_or((rest / 2).max(1));
        Self { limit, clients, idle }
    }

    /// Says in the log how many connections there may be, and whether that is too many.
    pub(super) fn tell(&self, settings: &model::Server, threads: usize) {
        let Self { limit, clients, .. } = *self;
        tracing::info!(connections = clients, descriptors = limit, "ceilings of this node");
        let unset = model::Server { max_connections: None, ..settings.clone() };
        let allowed = Self::of(limit, &unset, threads).clients;
        if clients > allowed {
            tracing::warn!(
                connections = clients,
                allowed,
                descriptors = limit,
                "`server.maxConnections` is more than the limit of descriptors allows: raise it \
                 (`LimitNOFILE`), or services and Redis may be out of reach when it is needed most"
            );
        }
    }
}

/// What stands for no limit: more than there will ever be connections.
const UNLIMITED: u64 = 1 << 24;

/// Descriptors kept for everything that is no connection of a client or for one, at least and
/// at most. Accepted connections that are about to be closed are among them: a busy thread
/// accepts [`AT_ONCE`] before it looks at any.
const KEPT_MIN: usize = 48 + AT_ONCE;
const KEPT_MAX: usize = 512;

/// Connections that an accept loop takes in one turn, at most: what tokio lets a task do before
/// others have theirs.
const AT_ONCE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(limit: u64, threads: usize) -> Shares {
        Shares::of(limit, &model::Server::default(), threads)
    }

    #[test]
    fn everybody_has_a_share_and_together_they_fit() {
        for limit in [64, 128, 256, 1024, 4096, 65_536, 1 << 20, UNLIMITED] {
            for threads in [1, 2, 16, 128] {
                let Shares { clients, idle, .. } = shares(limit, threads);
                assert!(clients >= 1 && idle >= 1, "{limit} {threads}");
                if limit >= 1024 {
                    let all = 2 * clients + idle * threads + KEPT_MIN;
                    assert!(u64::try_from(all).unwrap() <= limit, "{limit} {threads}: {all}");
                }
            }
        }
    }

    #[test]
    fn what_usual_limits_allow() {
        assert_eq!(shares(1024, 2).clients, (1024 - 176 - 256) / 2);
        assert_eq!(shares(65_536, 2).clients, (65_536 - 512 - 512) / 2);
        assert_eq!(shares(65_536, 2).idle, 256);
        assert_eq!(shares(256, 2).idle, 32);
    }

    #[test]
    fn what_is_configured_counts() {
        let settings = model::Server { max_connections: Some(7), ..model::Server::default() };
        assert_eq!(Shares::of(1024, &settings, 1).clients, 7);
    }

    #[test]
    fn the_limit_can_be_raised() {
        let limit = raise();
        assert_eq!(limit, raise(), "it is as high as it can be");
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED), limit);
    }
}
