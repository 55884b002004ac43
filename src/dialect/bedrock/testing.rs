//! What the tests of this dialect have in common.

use serde_json::Value;

use super::encode;
pub(super) use crate::dialect::testing::*;
use crate::{
    Error, Target,
    dialect::{
        Encoded,
        canonical::{Request, Turn},
    },
    price::PriceBook,
};

/// A model that thinks by budget, and has everything else.
pub(super) const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

/// A model of Bedrock's as it is listed.
pub(super) fn model(name: &str) -> Target {
    let facts = PriceBook::builtin().lookup("bedrock", name).map(|listing| listing.facts);
    Target::new("bedrock", name).facts(facts.unwrap_or_default())
}

pub(super) fn try_encode(request: &Request<'_>, to: &str) -> Result<Encoded, Error> {
    encode::request(request, &model(to))
}

/// The body for a model, and what was lost.
pub(super) fn encoded(request: &Request<'_>, to: &str) -> (Value, Vec<String>) {
    let encoded = try_encode(request, to).unwrap();
    let lost = encoded.lost.iter().map(ToString::to_string).collect();
    (serde_json::from_slice(&encoded.body).unwrap(), lost)
}

/// The messages for a model that has everything.
pub(super) fn messages(turns: Vec<Turn<'_>>) -> Value {
    encoded(&asking(turns), CLAUDE).0["messages"].take()
}
