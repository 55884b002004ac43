//! The form that every dialect for embeddings is translated through.

use super::canonical::{Extra, Text};
use crate::{BoxError, Error, Kind, Target};

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// The texts, one vector for each.
    pub inputs: Vec<Text<'a>>,
    /// What the vectors are for.
    pub task: Option<Task>,
    /// What the texts are called together; helps with documents.
    pub title: Option<Text<'a>>,
    /// How many numbers a vector is to have.
    pub dimensions: Option<u64>,
    /// How the client wants the numbers.
    pub form: Form,
    /// Who the end user is, opaquely.
    pub user: Option<Text<'a>>,
    /// Fields that only the client's dialect knows, with their values.
    pub extras: Vec<Extra<'a>>,
}

/// How the numbers of a vector are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As a JSON array.
    #[default]
    Float,
    /// As the base64 of their bytes, four for each and the lowest first.
    Base64,
}

/// What vectors are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// To search with.
    Query,
    /// To be found.
    Document,
    /// To tell how much texts have in common.
    Similarity,
    /// To put texts into classes.
    Classification,
    /// To find groups of texts.
    Clustering,
    /// To find what answers a question.
    QuestionAnswering,
    /// To find what proves or refutes a statement.
    FactVerification,
    /// To search in code with words.
    CodeQuery,
}

/// The vectors.
#[derive(Clone, Debug, Default)]
pub struct Answer<'a> {
    /// The model that made them; empty if the provider doesn't say.
    pub model: Text<'a>,
    /// One for each text, in the order of the request.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens of the texts; `None` if the provider doesn't say.
    pub tokens: Option<u64>,
}

/// Refuses more texts than `most`, which is what the model takes at once.
pub(crate) fn at_most(request: &Request<'_>, most: usize, to: &Target) -> Result<(), Error> {
    if request.inputs.len() <= most {
        return Ok(());
    }
    let message = format!("input: {to} takes at most {most} texts at once");
    Err(Error::new(Kind::InvalidRequest, message).with_param("input"))
}

/// The error for an answer without vectors.
pub(crate) fn unreadable(error: impl Into<BoxError>) -> Error {
    Error::new(Kind::Upstream, "the provider's answer has no embeddings").with_source(error)
}
