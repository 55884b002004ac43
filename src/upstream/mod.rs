//! The end of a candidate's stack: one HTTP call to a provider: [`Upstream`].
//!
//! Everything that isn't success is an error: the provider's own words, put into their class; a
//! connection that can't be made or breaks; a deadline. Redirects are never followed. Of the provider's
//! headers only those pass that a client of it reads.

mod address;
mod body;
mod client;
mod connect;
mod service;

pub use self::{
    address::Address,
    body::ProviderBody,
    client::{HttpClient, SmallClient},
    service::Upstream,
};
