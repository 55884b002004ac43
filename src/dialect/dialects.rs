//! [`Dialects`]: which dialect a request is in.

use std::sync::Arc;

use http::request::Parts;

use super::{
    ANTHROPIC, ANTHROPIC_COUNT, Dialect, GEMINI, GEMINI_BATCH_EMBED, GEMINI_COUNT, GEMINI_EMBED,
    OPENAI_BATCHES, OPENAI_CHAT, OPENAI_COMPLETIONS, OPENAI_COUNT, OPENAI_EMBEDDINGS, OPENAI_FILES,
    OPENAI_RESPONSES, gemini, openai_endpoints,
    prefix::{self, Vendor},
};
use crate::{Error, Kind};

/// The dialects that a gateway's clients may speak.
#[derive(Clone, Debug)]
pub struct Dialects(Arc<[&'static dyn Dialect]>);

impl Default for Dialects {
    /// All that the crate knows.
    fn default() -> Self {
        let conversing: [&'static dyn Dialect; 11] = [
            &OPENAI_CHAT,
            &OPENAI_RESPONSES,
            &ANTHROPIC,
            &GEMINI,
            &OPENAI_EMBEDDINGS,
            &OPENAI_COMPLETIONS,
            &OPENAI_COUNT,
            &ANTHROPIC_COUNT,
            &GEMINI_COUNT,
            &GEMINI_EMBED,
            &GEMINI_BATCH_EMBED,
        ];
        let batches: [&'static dyn Dialect; 2] = [&OPENAI_FILES, &OPENAI_BATCHES];
        Self::new(conversing.into_iter().chain(endpoints()).chain(batches))
    }
}

impl Dialects {
    /// These dialects; the first one is used for errors where none can be told.
    pub fn new(dialects: impl IntoIterator<Item = &'static dyn Dialect>) -> Self {
        Self(dialects.into_iter().collect())
    }

    /// The dialect that a request speaks, by its path and method.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] for a path that none of them has, [`Kind::MethodNotAllowed`] for a method that is none
    /// of [those](Dialect::methods) of the dialect.
    pub fn detect(&self, parts: &Parts) -> Result<&'static dyn Dialect, Error> {
        let Some(dialect) = self.speaks(parts.uri.path()) else {
            let message =
                if is_below_messages(parts.uri.path()) { NO_BATCHES } else { "there is no such endpoint" };
            return Err(Error::new(Kind::NotFound, message).with_param(parts.uri.path()));
        };
        let methods = dialect.methods(parts.uri.path());
        if !methods.contains(&parts.method) {
            return Err(Error::other_method(methods));
        }
        Ok(dialect)
    }

    /// The dialect of this [id](Dialect::id).
    pub(crate) fn of_id(&self, id: &str) -> Option<&'static dyn Dialect> {
        self.0.iter().find(|dialect| dialect.id() == id).copied()
    }

    /// The dialect in which the sender of a request expects an error, whatever is wrong with it.
    pub fn of_errors(&self, parts: &Parts) -> &'static dyn Dialect {
        let by_header =
            || parts.headers.contains_key("anthropic-version").then_some(&ANTHROPIC as &dyn Dialect);
        let by_path = || -> Option<&'static dyn Dialect> {
            match parts.uri.path() {
                path if gemini::path::is_ours(path) => Some(&GEMINI),
                path if is_below_messages(path) => Some(&ANTHROPIC),
                _ => None,
            }
        };
        let by_prefix = || -> Option<&'static dyn Dialect> {
            match prefix::split(parts.uri.path()).0? {
                Vendor::OpenAi => Some(&OPENAI_CHAT as &dyn Dialect),
                Vendor::Anthropic => Some(&ANTHROPIC),
                Vendor::Google => Some(&GEMINI),
            }
        };
        self.speaks(parts.uri.path())
            .or_else(by_prefix)
            .or_else(by_header)
            .or_else(by_path)
            .unwrap_or(self.0.first().copied().unwrap_or(&OPENAI_CHAT))
    }

    fn speaks(&self, path: &str) -> Option<&'static dyn Dialect> {
        let (_, path) = prefix::split(path);
        self.0.iter().copied().find(|dialect| dialect.speaks(path))
    }
}

/// What Anthropic's clients may look for in vain.
const NO_BATCHES: &str = "there is no such endpoint: served are /v1/messages and /v1/messages/count_tokens, and \
                          batches as OpenAI has them, at /v1/files and /v1/batches";

/// Whether a path is one of Anthropic's API that nobody speaks, or may be.
fn is_below_messages(path: &str) -> bool {
    let (_, path) = prefix::split(path);
    path.strip_prefix("/v1").unwrap_or(path).starts_with("/messages/")
}

/// The endpoints of OpenAI's API that are passed through and not translated.
pub fn endpoints() -> impl Iterator<Item = &'static dyn Dialect> {
    openai_endpoints::ALL.iter().map(|endpoint| *endpoint as &'static dyn Dialect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_for_batches_of_anthropics_is_told_what_there_is() {
        for path in ["/v1/messages/batches", "/anthropic/v1/messages/batches/msgbatch_1/results"] {
            let (parts, ()) = http::Request::post(path).body(()).unwrap().into_parts();

            let error = Dialects::default().detect(&parts).unwrap_err();

            assert_eq!((error.kind(), error.param()), (Kind::NotFound, Some(path)));
            assert!(
                error.message().contains("/v1/messages/count_tokens")
                    && error.message().contains("/v1/batches")
            );
            assert_eq!(Dialects::default().of_errors(&parts).id(), ANTHROPIC.id());
        }
    }
}
