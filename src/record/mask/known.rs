use std::{collections::HashSet, fmt, ops::Range, sync::Arc};

use aho_corasick::{AhoCorasick, MatchKind};
use arc_swap::ArcSwapOption;

use crate::secret::Secret;

/// Shorter texts are no secrets: some servers want a key and take any, such as `none`.
const LEAST: usize = 8;
/// So much of the beginning of one says nothing yet.
const LEAST_BEGINNING: usize = 4;
/// The most secrets that are known although others have taken their place.
const MOST_FORMER: usize = 1_000;

/// Secrets that are known word for word, such as the keys of the gateway itself. Clones are the same.
#[derive(Clone, Default)]
pub struct KnownSecrets(Arc<ArcSwapOption<Known>>);

struct Known {
    searcher: AhoCorasick,
    /// Those that are in use, and behind them those that were.
    secrets: Vec<Secret>,
}

impl KnownSecrets {
    /// These secrets.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let known = Self::default();
        known.replace(secrets);
        known
    }

    /// Puts others in their place. What has less than eight characters is left out. The former ones stay known, because
    /// who has them may still say them: the last thousand of them.
    pub fn replace(&self, secrets: impl IntoIterator<Item = Secret>) {
        let mut secrets: Vec<_> =
            secrets.into_iter().filter(|secret| secret.expose().len() >= LEAST).collect();
        if let Some(known) = &*self.0.load() {
            add_former(&mut secrets, &known.secrets);
        }
        let mut searcher = AhoCorasick::builder();
        searcher.match_kind(MatchKind::LeftmostLongest);
        let searcher = searcher.build(secrets.iter().map(Secret::expose));
        match searcher {
            Ok(searcher) => {
                self.0.store((!secrets.is_empty()).then(|| Arc::new(Known { searcher, secrets })));
            }
            // There is no such memory.
            Err(error) => tracing::error!(%error, "the secrets are too many to be looked for"),
        }
    }

    pub(super) fn find(&self, text: &str, secrets: &mut Vec<Range<usize>>) {
        if let Some(known) = &*self.0.load() {
            secrets.extend(known.searcher.find_iter(text).map(|found| found.range()));
        }
    }

    /// Where the beginning of a secret is with which a text ends; `None` if there is none.
    pub(super) fn find_beginning(&self, text: &str) -> Option<usize> {
        let known = self.0.load();
        let beginnings = known.as_ref()?.secrets.iter().filter_map(|secret| {
            let secret = secret.expose().as_bytes();
            (LEAST_BEGINNING..secret.len()).rev().find(|end| text.as_bytes().ends_with(&secret[..*end]))
        });
        beginnings.max().map(|length| text.len() - length)
    }
}

/// Adds those that are no longer among the secrets, the last ones first.
fn add_former(secrets: &mut Vec<Secret>, known: &[Secret]) {
    let current: HashSet<&str> = secrets.iter().map(Secret::expose).collect();
    let former: Vec<_> = known.iter().filter(|secret| !current.contains(secret.expose())).collect();
    if let Some(forgotten) = former.len().checked_sub(MOST_FORMER).filter(|forgotten| *forgotten > 0) {
        tracing::warn!(forgotten, "secrets that were replaced long ago are no longer masked");
    }
    let former: Vec<_> = former.into_iter().take(MOST_FORMER).cloned().collect();
    secrets.extend(former);
}

impl fmt::Debug for KnownSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KnownSecrets")
            .field(&self.0.load().as_ref().map_or(0, |known| known.secrets.len()))
            .finish()
    }
}
