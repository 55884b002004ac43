//! What a dialect is for: [`Codec`], one variant for each task that can be translated.

use bytes::Bytes;

use super::{ChatCodec, Encoded, canonical, embeddings};
use crate::{Error, Target};

/// Translates one dialect: to and from all others of the same task, and no others.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Codec {
    /// A model answers.
    Chat(&'static dyn ChatCodec),
    /// A provider counts the tokens of what a model could be asked.
    Count(&'static dyn CountCodec),
    /// A model makes vectors of texts.
    Embeddings(&'static dyn EmbeddingsCodec),
}

impl Codec {
    /// The codec of a dialect for chats.
    pub fn chat(self) -> Option<&'static dyn ChatCodec> {
        match self {
            Self::Chat(codec) => Some(codec),
            _ => None,
        }
    }

    /// Whether the two are of the same task.
    pub fn fits(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Chat(_), Self::Chat(_))
                | (Self::Count(_), Self::Count(_))
                | (Self::Embeddings(_), Self::Embeddings(_))
        )
    }
}

/// Translates questions for a number of tokens. What is to be counted is a chat without the settings
/// of its answer.
pub trait CountCodec: std::fmt::Debug + Send + Sync + 'static {
    /// Reads a client's request.
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<canonical::Request<'a>, Error>;

    /// Writes a request for a provider's model.
    fn encode_request(&self, request: &canonical::Request<'_>, to: &Target) -> Result<Encoded, Error>;

    /// Reads the tokens in a provider's answer.
    fn decode_answer(&self, body: &[u8]) -> Result<u64, Error>;

    /// Writes an answer for a client.
    fn encode_answer(&self, tokens: u64) -> Bytes;
}

/// Translates requests for vectors through the form of [`embeddings`].
pub trait EmbeddingsCodec: std::fmt::Debug + Send + Sync + 'static {
    /// Reads a client's request.
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<embeddings::Request<'a>, Error>;

    /// Writes a request for a provider's model.
    fn encode_request(&self, request: &embeddings::Request<'_>, to: &Target) -> Result<Encoded, Error>;

    /// Reads a provider's answer.
    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<embeddings::Answer<'a>, Error>;

    /// Writes an answer for a client, with numbers in the form that was asked for.
    fn encode_answer(&self, answer: &embeddings::Answer<'_>, form: embeddings::Form) -> Bytes;
}
