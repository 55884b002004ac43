use std::{fmt, sync::Arc};

use super::Facts;
use crate::dispatch::Route;

/// Whether a rule is for a request.
pub trait Condition: fmt::Debug + Send + Sync + 'static {
    /// Whether it holds. Called for each request of a route until one of its rules does, so it has to be quick.
    fn holds(&self, facts: &Facts<'_>) -> bool;

    /// Whether it asks how much of the caller's budgets and limits [is used](Facts::share): the ledger is asked
    /// only if it does.
    fn reads_spend(&self) -> bool {
        false
    }
}

/// A condition, and the route of the requests for which it holds.
#[derive(Clone, Debug)]
pub struct Rule {
    name: Arc<str>,
    condition: Arc<dyn Condition>,
    then: Arc<Route>,
}

impl Rule {
    /// The rule called `name`, by which a request goes by the route `then` if `condition` holds.
    pub fn new(name: &str, condition: impl Condition, then: Route) -> Self {
        Self { name: name.into(), condition: Arc::new(condition), then: Arc::new(then) }
    }

    /// Its name in answers and records.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it leads.
    pub fn then(&self) -> &Arc<Route> {
        &self.then
    }

    /// Whether it holds.
    pub(crate) fn is_for(&self, facts: &Facts<'_>) -> bool {
        self.condition.holds(facts)
    }

    /// Whether it, or one that comes after it, asks for what is used.
    pub(crate) fn reads_spend(&self) -> bool {
        self.condition.reads_spend() || self.then.reads_spend()
    }
}
