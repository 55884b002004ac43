use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Secret,
    units::{Size, Written},
};
use crate::{auth::KeyDigest, metrics::Access};

/// The listener, and what a request may take. Takes a restart to change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Server {
    /// The address to listen on.
    pub listen: Written<SocketAddr>,
    /// How long open answers may go on after the signal to stop.
    pub drain_timeout: Written<Duration>,
    /// How long requests are still accepted after the signal to stop, while `/readyz` says no.
    pub drain_delay: Written<Duration>,
    /// The largest request body.
    pub max_body: Written<Size>,
    /// The most bytes that the bodies of all requests together may take.
    pub max_in_flight_bytes: Written<Size>,
    /// The most requests that are served at the same time.
    pub max_in_flight: NonZeroUsize,
    /// How long a client may take for the head of its first request.
    pub header_timeout: Written<Duration>,
    /// How long a connection is kept between two requests, the head of the next one included; longer than
    /// load balancers keep theirs, so that they don't find it closed. One of HTTP/2 is kept as long as it answers pings.
    pub idle_timeout: Written<Duration>,
    /// How many proxies there are in front, each of which adds to `x-forwarded-for` whom it was asked by: records say
    /// where clients are by it.
    pub proxies: usize,
    /// The number of worker threads; as many as there are cores if it isn't given.
    pub workers: Option<NonZeroUsize>,
    /// Whether a request is refused when the provider's dialect can't express all of it.
    pub strict: bool,
    /// How long a client that asks for a stream waits without a sign before it is sent a comment (`: keep-alive`), and
    /// then each time again, until the answer begins; for ever if it isn't given. What fails after the first one comes
    /// as an event, with the status 200.
    pub comment_every: Option<Written<Duration>>,
    /// What `/health` tells everybody.
    pub health: HealthTells,
    /// Who may look at `/metrics`. If it isn't given: with `admin.key`, whoever presents it; without, everybody where
    /// `listen` is reached from this machine only, and otherwise nobody.
    pub metrics: Option<MetricsAre>,
    /// What all gateways with this configuration have in common and clients don't know, at least 16
    /// characters: ids of files and batches are proven with it. The credential of a provider if it isn't
    /// given, and where there is none, something that is made for each process.
    pub secret: Option<Secret>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: Written::new((Ipv4Addr::LOCALHOST, 8080).into()),
            drain_timeout: Written::new(Duration::from_secs(30)),
            drain_delay: Written::new(Duration::ZERO),
            max_body: Written::new(Size(10_000_000)),
            max_in_flight_bytes: Written::new(Size(256_000_000)),
            max_in_flight: NonZeroUsize::MIN.saturating_add(9_999),
            header_timeout: Written::new(Duration::from_secs(10)),
            idle_timeout: Written::new(Duration::from_secs(75)),
            proxies: 0,
            workers: None,
            strict: false,
            comment_every: None,
            health: HealthTells::default(),
            metrics: None,
            secret: None,
        }
    }
}

/// What `/health` tells everybody who reaches it: never an address, a key or a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HealthTells {
    /// How each target stands, and why.
    #[default]
    Targets,
    /// Only how many of them answer.
    Counts,
}

/// Who may look at `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum MetricsAre {
    /// Everybody who reaches the address.
    Open,
    /// Whoever presents the key of the administrators.
    Admin,
    /// Nobody.
    Off,
}

impl Config {
    /// Who may look at `/metrics` of a gateway that listens on `address`.
    pub fn metrics_access(&self, address: SocketAddr) -> Access {
        let key = self.admin.key.as_ref().map(|key| Access::Key(KeyDigest::of(key.expose())));
        match (self.server.metrics, key) {
            (Some(MetricsAre::Open), _) => Access::Open,
            (Some(MetricsAre::Admin) | None, Some(key)) => key,
            (None, None) if address.ip().is_loopback() => Access::Open,
            _ => Access::Off,
        }
    }
}
