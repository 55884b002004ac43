use std::sync::Arc;

use tower::Layer;

use super::Translate;
use crate::{Dialect, Target};

/// Translates for one target; see the [module](super).
#[derive(Clone, Debug)]
pub struct TranslateLayer {
    pub(super) target: Arc<Target>,
    pub(super) natives: Arc<[&'static dyn Dialect]>,
    pub(super) strict: bool,
}

impl TranslateLayer {
    /// `target` speaks `natives`. A request in one of them goes on as it is; one in another dialect, or in one
    /// of which the target's model is [known](Dialect::takes) not to take it, is translated to the first that
    /// can be translated to.
    pub fn new(target: Arc<Target>, natives: impl IntoIterator<Item = &'static dyn Dialect>) -> Self {
        Self { target, natives: natives.into_iter().collect(), strict: false }
    }

    /// Refuses requests that would lose something.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }
}

impl<S> Layer<S> for TranslateLayer {
    type Service = Translate<S>;

    fn layer(&self, inner: S) -> Translate<S> {
        Translate::new(inner, self.clone())
    }
}
