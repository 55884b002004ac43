use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use super::{Config, Model, prices::list_name, retry_budgets::RetryBudgets, routes::settings, stack::Stack};
use crate::{
    dispatch::{Resolve, Route},
    lock,
    price::PriceBook,
};

/// Clients choose the names, so only so many routes are remembered.
const REMEMBERED: usize = 1024;

/// Every model of every provider: `provider/model`, or the bare name of a model that the list of prices
/// knows.
#[derive(Debug)]
pub(super) struct Models {
    providers: BTreeMap<String, Stack>,
    /// How a route is made that no model of the configuration describes.
    usual: Model,
    config: Config,
    budgets: RetryBudgets,
    routes: Mutex<HashMap<Box<str>, Arc<Route>>>,
}

impl Models {
    pub(super) fn new(config: &Config, providers: BTreeMap<String, Stack>, budgets: RetryBudgets) -> Self {
        let (usual, config) = (Model::default(), config.clone());
        Self { providers, usual, config, budgets, routes: Mutex::default() }
    }

    fn make(&self, name: &str) -> Option<Route> {
        let named =
            name.split_once('/').and_then(|(provider, model)| Some((self.providers.get(provider)?, model)));
        let bare = || self.providers.values().find(|stack| stack.lists(name)).map(|stack| (stack, name));
        let (stack, model) = named.filter(|(_, model)| !model.is_empty()).or_else(bare)?;
        let candidate = stack.candidate(model, self.config.known_as(name), &self.usual, &self.config).ok()?;
        Some(settings(Route::new(name, [candidate]), &self.usual, &self.config, &self.budgets))
    }
}

impl Resolve for Models {
    fn resolve(&self, name: &str) -> Option<Arc<Route>> {
        if let Some(route) = lock(&self.routes).get(name) {
            return Some(route.clone());
        }
        let route = Arc::new(self.make(name)?);
        let mut routes = lock(&self.routes);
        if routes.len() >= REMEMBERED {
            routes.clear();
        }
        routes.insert(name.into(), route.clone());
        Some(route)
    }

    fn models(&self) -> Vec<Arc<str>> {
        let listed = |(name, stack): (&String, &Stack)| {
            let models = list_name(stack.kind).map(PriceBook::names).into_iter().flatten();
            let demo = (stack.kind == super::ProviderKind::Demo).then_some("echo");
            models.chain(demo).map(|model| Arc::from(format!("{name}/{model}"))).collect::<Vec<_>>()
        };
        let targets = self.config.targets().map(|target| Arc::from(&*target.name));
        self.providers.iter().flat_map(listed).chain(targets).collect()
    }
}
