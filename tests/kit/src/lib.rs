//! What the tests and the demo run the gateway against: real servers on loopback.
//!
//! Nothing here pretends. [`Origin`] and [`Issuer`] are HTTP servers, [`Redis`] is a
//! `redis-server` process, [`Postgres`] a PostgreSQL server, [`NameServer`] an authoritative DNS
//! server, [`Consul`] speaks the part of Consul's HTTP API that gateways use, [`Gateway`] is the
//! binary in a process of its own, and [`RawConnection`] puts bytes on a socket. What a test needs
//! and the machine lacks is an error that says how to get it; nothing is skipped.
//!
//! Everything has a deadline and nothing sleeps for a fixed time: [`wait::until`] polls, origins
//! hold an answer back until [`Origin::release`].

mod client;
mod consul;
mod dns;
mod error;
mod evidence;
mod gateway;
mod geo;
pub mod grpc;
mod grpc_health;
pub mod http2;
mod http_server;
mod issuer;
mod manual;
pub mod metrics;
mod mixed;
mod murmur3;
mod origin;
pub mod ports;
mod postgres;
mod process;
mod redis;
mod redis_fleet;
mod signer;
mod tls;
pub mod wait;
mod websocket;

pub use client::{Http2Client, RawConnection, Request, Response, send};
pub use consul::{Consul, ConsulMood, Registration};
pub use dns::{DnsMood, NameServer};
pub use error::{Context, Error, Failure, Outcome, Result};
pub use gateway::{Gateway, Setup};
pub use geo::GeoDatabase;
pub use grpc_health::GrpcHealth;
pub use issuer::{
    Algorithm, IntrospectionMood, Issuer, Mood, RSA_PUBLIC_PEM, Signature, TlsFront, TokenBuilder,
};
pub use manual::{Exchange, ManualOrigin};
pub use mixed::{MixedClient, MixedKind, MixedPlace};
pub use murmur3::murmur3_32;
pub use origin::{Habit, Origin, RawOrigin, Seen, Speaks, Step, Taken, WireOrigin};
pub use postgres::Postgres;
pub use process::{Exit, Process, Stray};
pub use redis::{Redis, RedisOptions, Reply};
pub use redis_fleet::{MASTER, RedisCluster, RedisSentinel};
pub use rustix::process::Signal;
pub use signer::{RequestSigner, ToSign};
pub use tls::{
    Agreed, Authority, Leaf, Pair, PairFiles, TLS12, TLS13, TlsClient, TlsConnection, TlsServer,
};
pub use websocket::{Message, WebSocket, WebSocketError, WebSocketOrigin};
