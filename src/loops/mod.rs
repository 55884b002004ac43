//! Stops programs that have run away: the same request again and again, or a session that spends very much.
//!
//! An agent that asks the same question for ever, or one whose steps grow dearer and dearer, spends a budget
//! in minutes. [`LoopLayer`] counts how often a key was answered the same request, byte for byte, and what each
//! session of a key has spent; what is over is refused with [`Kind::RunawayLoop`], which names the loop, and
//! says when it is worth going on.
//!
//! - reads the extension [`Caller`](crate::auth::Caller), the [`Payload`](crate::Payload), and the session among
//!   the [`Labels`](crate::labels::Labels) that the exchange has
//! - a key may have [rules of its own](crate::auth::VirtualKey::loops)
//!
//! Only what was answered counts: clients that try again after an error, or after a refusal of this layer, make
//! no loop of it. So of many equal requests at the same time all are let in. What is asked for without
//! making anything new, such as the state of a batch or a count of tokens, is not looked at.
//!
//! It is kept in each process, for the 10,000 requests and sessions that were used last. Requests are told apart
//! by a keyed hash of 64 bits, with a key that is new in every process; where `same_request` is set, that is what it
//! costs.
//!
//! Several gateways count together where they [share a ledger](LoopLayer::shared): what was answered is told to it
//! afterwards, under a digest, and nobody waits for that. So each of them may let one more through than all of
//! them may. A request that is answered once is told to nobody, so that there is no account for every different
//! one; nor is what is looked at for less than a minute. What sessions may spend holds to the nano-dollar where it
//! is a [quota of theirs](crate::labels::Rules::sessions).
//!
//! ```
//! use std::time::Duration;
//!
//! use bartizan::{loops::{LoopLayer, Loops}, price::NanoUsd};
//!
//! let minute = Duration::from_secs(60);
//! let layer = LoopLayer::new(Loops::default().same_request(20, minute).session(NanoUsd::from_usd(5), minute));
//! # let _ = layer;
//! ```

mod counts;
mod layer;
mod service;
mod shared;

use std::time::Duration;

pub use self::{
    layer::LoopLayer,
    service::{Counted, WithoutLoops},
};
#[cfg(doc)]
use crate::Kind;
use crate::price::NanoUsd;

/// What is a loop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loops {
    pub(crate) same_request: Option<SameRequest>,
    pub(crate) session: Option<SessionSpend>,
    pub(crate) shadow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SameRequest {
    pub(crate) more_than: u32,
    pub(crate) per: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionSpend {
    pub(crate) more_than: NanoUsd,
    pub(crate) per: Duration,
}

impl Loops {
    /// Refuses a request that a key was answered as often as `more_than` in the time `per`.
    #[must_use]
    pub fn same_request(self, more_than: u32, per: Duration) -> Self {
        Self { same_request: Some(SameRequest { more_than, per }), ..self }
    }

    /// Refuses what a session asks for that has spent `more_than` in the time `per`.
    #[must_use]
    pub fn session(self, more_than: NanoUsd, per: Duration) -> Self {
        Self { session: Some(SessionSpend { more_than, per }), ..self }
    }

    /// Sets whether it only counts and tells, and refuses nothing.
    #[must_use]
    pub fn shadow(self, shadow: bool) -> Self {
        Self { shadow, ..self }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.same_request.is_none() && self.session.is_none()
    }
}
