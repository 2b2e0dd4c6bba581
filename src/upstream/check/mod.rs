//! Asks endpoints whether they are well.
//!
//! The plan is what a service's configuration says; `ask` puts one question to one endpoint;
//! `rounds` keeps asking the endpoints of the configuration in force. Outcomes go to the
//! endpoint's health, which alone decides what they mean.

mod ask;
mod grpc;
mod rounds;

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

pub(super) use rounds::Rounds;

use crate::model::{self, CheckKind};

/// How the endpoints of a service are checked.
#[derive(Debug)]
pub(super) struct CheckPlan {
    question: Question,
    /// The `Host` to send, where it is not the endpoint's own.
    host: Option<HeaderValue>,
    port: Option<u16>,
    pub(super) interval: Duration,
    timeout: Duration,
    unhealthy_after: u32,
    healthy_after: u32,
}

/// What is asked.
#[derive(Debug)]
enum Question {
    /// A connection, behind TLS where the service is.
    Connect,
    /// A GET for this path, answered with one of these statuses; with 200 to 299 where there is
    /// none.
    Get { path: Box<str>, statuses: Box<[u16]> },
    /// The gRPC health checking protocol, with this message.
    Grpc(Bytes),
}

impl CheckPlan {
    /// The plan of these settings, which `settings` has judged.
    pub(super) fn new(model: &model::HealthCheck) -> Self {
        let question = match model.kind {
            CheckKind::Tcp => Question::Connect,
            CheckKind::Http => Question::Get {
                path: model.path.as_str().into(),
                statuses: model.statuses.as_slice().into(),
            },
            CheckKind::Grpc => Question::Grpc(grpc::request(model.grpc_service.as_deref())),
        };
        Self {
            question,
            host: model.host.as_ref().and_then(|host| HeaderValue::from_str(host).ok()),
            port: model.port,
            interval: model.interval.get(),
            timeout: model.timeout.get(),
            unhealthy_after: model.unhealthy_after,
            healthy_after: model.healthy_after,
        }
    }
}
