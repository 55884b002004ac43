//! Whom and what a request is for: the end user, the session, and tags such as the feature.
//!
//! [`LabelsLayer`] reads them from the request, writes them into the exchange for the record, and lets
//! accounts of their own be charged with it: every end user, say, may spend a dollar a day, all that is
//! done for the feature `search` together fifty, and one session two.
//!
//! | label | header | in the body |
//! |---|---|---|
//! | user | `x-bartizan-user` | `safety_identifier` or `user` of OpenAI, `metadata.user_id` of Anthropic |
//! | session | `x-bartizan-session` | `metadata.session_id` |
//! | tags | `x-bartizan-tags: feature=search,env=prod` | the members of `metadata` that are texts |
//!
//! Users and sessions are those of their customer: the same name at another one is somebody else, with an account of
//! its own, `customer:acme/user:alice`. Keys that are of no customer share theirs, such as `user:alice`, whatever their
//! team. Tags are the gateway's: `tag:feature=search` is one account, whoever says it.
//!
//! A header goes before the body. Labels are what the client says: a budget of a user keeps honest
//! applications in order, while the budget of the key holds whatever is said.
//!
//! - reads the extension [`Caller`](crate::auth::Caller) and the [`Payload`](crate::Payload)
//! - adds scopes to the caller; a key may [require](crate::auth::VirtualKey::required_tags) tags
//!
//! ```
//! use bartizan::{
//!     labels::{LabelsLayer, Rules},
//!     ledger::{Period, Quota},
//!     price::NanoUsd,
//! };
//!
//! let a_dollar_a_day = Quota::usd(NanoUsd::from_usd(1), Period::Day);
//! let rules = Rules::default().users([a_dollar_a_day]).tag("feature", [a_dollar_a_day]);
//!
//! let layer = LabelsLayer::new(rules);
//! # let _ = layer;
//! ```

mod layer;
mod read;
mod rules;
mod service;

use std::sync::Arc;

use serde::{Serialize, Serializer};

#[cfg(feature = "config")]
pub(crate) use self::rules::account;
pub use self::{
    layer::LabelsLayer,
    rules::{Rule, Rules},
    service::WithLabels,
};

/// Whom and what a request is for, as its client says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Labels {
    /// The end user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Arc<str>>,
    /// Names and values, each name once, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_object")]
    pub tags: Tags,
}

/// Names and values.
pub type Tags = Vec<(Box<str>, Box<str>)>;

fn as_object<S: Serializer>(tags: &Tags, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(tags.iter().map(|(name, value)| (name, value)))
}

impl Labels {
    /// The value of a tag.
    pub fn tag(&self, name: &str) -> Option<&str> {
        let index = self.tags.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        Some(&self.tags[index].1)
    }
}
