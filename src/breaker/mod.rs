//! Passes over a target that fails: [`BreakerLayer`].
//!
//! A [`Breaker`] is closed while its target answers. It opens when so many requests in a row have failed, or
//! such a share of those of the last while, as its [`Rules`] say; from then on requests are refused at once
//! instead of waiting for what will fail. After a pause, which doubles each time, a few requests are let
//! through as a probe: one that is answered closes the breaker, one that fails opens it again.
//!
//! What counts as a failure is what the target is to blame for: no connection, no answer in time, a status of
//! 5xx, 429, 401 and 403, an account without money, an answer that can't be understood or breaks off. A request
//! that was wrong, a client that left and a refusal of the gateway itself don't count.
//!
//! A target that answers again isn't given all of its traffic at once: for a while a
//! [`Candidate`](crate::dispatch::Candidate) that knows the breaker is asked first only for a share of the requests,
//! which grows, and after all others for the rest.
//!
//! Gateways that share a [`Board`] know of each other's breakers within a second: one that opens, opens on all of them.
//!
//! The refusal is an error that [`Dispatch`](crate::dispatch::Dispatch) goes on from without a pause, with the
//! time that is left as its `retry-after`. A request with a key of the caller's own
//! ([`ProviderKey`](crate::auth::ProviderKey)) passes by and doesn't count: it is another account's. The layer looks
//! at nothing else, and works for any body.
//!
//! ```
//! use bartizan::{
//!     Error, Kind,
//!     breaker::{Breaker, BreakerLayer, Rules},
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let breaker = Breaker::new("openai/gpt-4o", Rules { in_a_row: 2, ..Rules::default() });
//! let service = ServiceBuilder::new().layer(BreakerLayer::new(breaker.clone())).service(service_fn(
//!     async |_: Request<()>| Err::<Response<Full<Bytes>>, _>(Error::new(Kind::Unreachable, "no connection")),
//! ));
//!
//! for _ in 0..2 {
//!     assert_eq!(service.clone().oneshot(Request::new(())).await.unwrap_err().kind(), Kind::Unreachable);
//! }
//! let refused = service.oneshot(Request::new(())).await.unwrap_err();
//! assert_eq!(refused.kind(), Kind::Overloaded);
//! assert!(refused.message().starts_with("`openai/gpt-4o` is passed over"));
//! assert!(breaker.standing().open_for.is_some());
//! # }
//! ```

mod service;
mod share;
mod state;
mod window;

use std::time::Duration;

use tower::Layer;

pub use self::{
    service::{Guarded, ResponseFuture, Watch},
    share::{Board, Notice, share},
    state::{Breaker, Standing},
};

/// When a breaker opens, and when it closes again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// So many failures in a row open it; 0 is never.
    pub in_a_row: u32,
    /// This share of failures, from 0 to 1, opens it as well; 0 is never.
    pub share: f64,
    /// The share is looked at when there were at least so many requests.
    pub at_least: u32,
    /// The share is that of the requests that ended within this time.
    pub over: Duration,
    /// An answer whose head takes longer counts as a failure in the share.
    pub slow: Option<Duration>,
    /// How long it stays open the first time, and at most. The time doubles whenever it opens again, and a
    /// `retry-after` of the target that is longer goes before it, up to the longest.
    pub pause: (Duration, Duration),
    /// How many requests at once are let through as a probe.
    pub probes: u32,
    /// After it has closed again its target gets a share of the requests that grows over this time, where a route has
    /// others; zero gives it all of them at once.
    pub recovery: Duration,
}

impl Default for Rules {
    /// Five failures in a row, or half of at least twenty requests within half a minute; open for two seconds,
    /// and for a minute at most; half a minute until its target has its whole share again.
    fn default() -> Self {
        Self {
            in_a_row: 5,
            share: 0.5,
            at_least: 20,
            over: Duration::from_secs(30),
            slow: None,
            pause: (Duration::from_secs(2), Duration::from_secs(60)),
            probes: 1,
            recovery: Duration::from_secs(30),
        }
    }
}

/// Puts a [`Breaker`] before a service.
#[derive(Clone, Debug)]
pub struct BreakerLayer {
    breaker: Breaker,
}

impl BreakerLayer {
    /// All services that it makes share `breaker`.
    pub fn new(breaker: Breaker) -> Self {
        Self { breaker }
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, breaker: self.breaker.clone() }
    }
}
