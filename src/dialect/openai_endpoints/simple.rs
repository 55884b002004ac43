//! Moderation and ranking: JSON in, JSON out.

use super::{Makes, OpenAiEndpoint, Takes, fields::Fields};
use crate::{Error, Tokens, Units, Work, payload::Head};

pub(super) const MODERATIONS: OpenAiEndpoint = OpenAiEndpoint {
    id: "openai-moderations",
    path: "/moderations",
    model: Some("omni-moderation-latest"),
    takes: Takes::Json,
    makes: Makes::Text,
    keeps: &[],
    ask: moderate,
};

pub(super) const RERANK: OpenAiEndpoint = OpenAiEndpoint {
    id: "rerank",
    path: "/rerank",
    model: None,
    takes: Takes::Json,
    makes: Makes::Text,
    keeps: &[],
    ask: rank,
};

/// As many documents, or pieces of 500 tokens of them, are one search for Cohere.
const DOCUMENTS_OF_A_SEARCH: u64 = 100;
/// No 500 tokens have fewer bytes.
const BYTES_OF_A_PIECE: u64 = 500;

fn moderate(fields: &Fields<'_>, _: &mut Head) -> Result<Work, Error> {
    fields.require("input")?;
    Ok(Tokens { input: tokens(fields.size()), ..Tokens::default() }.into())
}

fn rank(fields: &Fields<'_>, _: &mut Head) -> Result<Work, Error> {
    fields.require("query")?;
    fields.require("documents")?;
    let query = fields.raw("query")?.unwrap_or_default().len();
    let documents = fields.raw("documents")?.unwrap_or_default();
    let count = count(documents);
    // The query is read together with each document.
    let read = query.saturating_mul(count).saturating_add(documents.len());
    let pieces = (count as u64).saturating_add(read as u64 / BYTES_OF_A_PIECE);
    Ok(Work {
        tokens: Tokens { input: tokens(read), ..Tokens::default() },
        units: Units { searches: pieces.div_ceil(DOCUMENTS_OF_A_SEARCH).max(1), ..Units::default() },
    })
}

/// About four bytes make a token.
pub(super) fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

/// How many items an array has; those of other values are none.
fn count(json: &str) -> usize {
    serde_json::from_str::<Vec<serde::de::IgnoredAny>>(json).map_or(0, |items| items.len())
}
