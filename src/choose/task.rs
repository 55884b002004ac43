use std::{fmt, sync::Arc};

use super::Facts;
use crate::{BoxFuture, dispatch::Route};

/// Finds out what kind of task a request is.
pub trait Classify: fmt::Debug + Send + Sync + 'static {
    /// The name of the task; `None` if it is none of those that are known. What fails is none too.
    fn classify<'a>(&'a self, facts: &'a Facts<'_>) -> BoxFuture<'a, Option<Arc<str>>>;

    /// Why somebody isn't asked for a request who would know more; said where a request is
    /// [explained](crate::dispatch::Explanation).
    fn undecided(&self, _facts: &Facts<'_>) -> Option<String> {
        None
    }

    /// Whether it may cost something: the ledger is asked first then, so that [`Facts::may_be_read_by`] knows whether
    /// the caller can pay.
    fn is_paid(&self) -> bool {
        false
    }
}

/// A classifier, and the routes of the tasks it knows.
#[derive(Debug)]
pub struct Tasks {
    classifier: Box<dyn Classify>,
    routes: Vec<(Arc<str>, Arc<Route>)>,
}

impl Tasks {
    /// Requests go by the route of the task that `classifier` names.
    pub fn new(classifier: impl Classify, routes: impl IntoIterator<Item = (Arc<str>, Route)>) -> Self {
        let routes = routes.into_iter().map(|(name, route)| (name, Arc::new(route))).collect();
        Self { classifier: Box::new(classifier), routes }
    }

    /// Whether the classifier or one of the routes wants to know what of budgets is used.
    pub(crate) fn reads_spend(&self) -> bool {
        self.classifier.is_paid() || self.routes.iter().any(|(_, route)| route.reads_spend())
    }

    /// Why nobody could tell the task, if somebody could but wasn't asked.
    pub(super) fn undecided(&self, facts: &Facts<'_>) -> Option<String> {
        self.classifier.undecided(facts)
    }

    pub(super) async fn route_for(&self, facts: &Facts<'_>) -> Option<(Arc<str>, Arc<Route>)> {
        let task = self.classifier.classify(facts).await?;
        self.routes.iter().find(|(name, _)| *name == task).cloned()
    }
}
