#[cfg(any(feature = "metrics", feature = "otel"))]
use std::borrow::Cow;
use std::{collections::HashSet, sync::Arc};

use arc_swap::ArcSwap;

/// The models and targets that measurements are made of by name; those that clients make up are `other`. Clones are the
/// same.
///
/// Keys and teams need not be listed: only those that the gateway knows are let in.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<ArcSwap<HashSet<Box<str>>>>);

/// What everything is called that has no series of its own.
#[cfg(any(feature = "metrics", feature = "otel"))]
pub(super) const OTHER: &str = "other";

impl Names {
    /// These names, of models that clients ask for and of targets (`provider/model`).
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(names.into_iter().map(Into::into).collect())))
    }

    /// Puts the names of `others` in their place.
    pub fn replace(&self, others: &Self) {
        self.0.store(others.0.load_full());
    }

    /// What a model is called that a client asks for.
    #[cfg(feature = "metrics")]
    pub(crate) fn model<'a>(&self, name: &'a str) -> &'a str {
        if self.0.load().contains(name) { name } else { OTHER }
    }

    /// What a target is called: of one that isn't known only the provider is said, which is of the configuration.
    #[cfg(any(feature = "metrics", feature = "otel"))]
    pub(crate) fn target<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.0.load().contains(name) {
            return name.into();
        }
        let provider = name.split_once('/').map_or(name, |(provider, _)| provider);
        format!("{provider}/{OTHER}").into()
    }
}
