//! Ids of what a provider keeps for a client, as the client gets them: [`OwnIdsLayer`].
//!
//! A video is made by one provider and asked for later: the id has to lead there, and nobody but the key
//! that had it made may follow it. So a client gets an id in which the route, the target and the
//! provider's id are sealed with the client's own key: nothing has to be remembered, every replica that
//! knows the key reads the id, and for another key it is not an id at all. The provider's id is not to be
//! seen in it, so that nobody learns one by which a new id could be made. A key that is exchanged for
//! another one leaves its ids behind.
//!
//! The id of a batch, and of a file of requests, tells more: what the requests may use, which is what a
//! budget has to bear. Clients know their keys, so that alone could be made up; with it comes a proof, made
//! with a [secret](OwnIdsLayer::secret) that they don't know, and an id without it leads nowhere.
//!
//! Opening ids is the business of the [dialect](crate::dialect::Dialect) whose paths have them; the
//! layer writes them into answers. It stands around the target's
//! [`FirstEventLayer`](crate::first_event::FirstEventLayer), which has the answer as a whole.

mod ids;
mod layer;
mod place;
mod seal;
mod service;

pub(crate) use self::place::Place;
pub use self::{
    layer::OwnIdsLayer,
    seal::Seal,
    service::{OwnIds, ResponseFuture},
};
