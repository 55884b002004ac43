//! The routes of a configuration's models.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use super::{Config, Model, RetryOn, Target as Listed, Tasks, retry_budgets::RetryBudgets, stack::Stack};
use crate::{
    BoxError,
    access::Pattern,
    audit::Trail,
    choose::{self, Embed, HashedNgrams, Life, ProviderEmbeddings},
    dispatch::{Cause, Conversations, Mirror, Mirrors, Retry, Route},
    expression::Expression,
};

/// The conversations of models.
pub(super) type Kept = HashMap<(String, Duration), Conversations>;

/// Whether it was told that models are served by their successors.
pub(super) type Ends = HashMap<(String, SystemTime), Arc<AtomicBool>>;

/// The routes of the models, some of which lead to others.
pub(super) struct Routes<'a> {
    pub(super) config: &'a Config,
    pub(super) providers: &'a BTreeMap<String, Stack>,
    pub(super) mirrors: &'a Mirrors,
    pub(super) trail: &'a Option<Trail>,
    pub(super) budgets: &'a RetryBudgets,
    pub(super) made: BTreeMap<&'a str, Route>,
    pub(super) kept: &'a mut Kept,
    pub(super) ends: &'a mut Ends,
}

/// How many models may lead to each other, one after the other.
const DEEPEST: usize = 16;

impl<'a> Routes<'a> {
    /// The route of a model, which others have led to.
    pub(super) fn of(&mut self, name: &str, depth: usize) -> Result<Route, BoxError> {
        if let Some(route) = self.made.get(name) {
            return Ok(route.clone());
        }
        let found = self.config.models.get_key_value(name).filter(|_| depth < DEEPEST);
        let (name, model) =
            found.ok_or_else(|| format!("models.{name}: is not there, or leads to itself"))?;
        let mut made = match &model.alias {
            Some(other) => held(self.of(other, depth + 1)?.named(name), model),
            None => self.route(name, model)?,
        };
        if let Some(lasts) = &model.keep_conversations {
            made = made.conversations(self.conversations(name, **lasts));
        }
        for (index, rule) in model.rules.iter().enumerate() {
            let wrong = |what: &str| BoxError::from(format!("models.{name}.rules[{index}]: {what}"));
            let when = Expression::new(&rule.when).map_err(|mistake| wrong(&mistake.to_string()))?;
            let then = match &rule.model {
                Some(other) => self.of(other, depth + 1)?,
                None => self.route(name, &rule.instead(model))?,
            };
            let zone = self.config.timezone.as_ref().map(|zone| **zone);
            made = made.rule(choose::Rule::new(&rule.called(index), when.zone(zone), then));
        }
        if let Some(tasks) = &model.tasks {
            made = made.classify(self.tasks(name, tasks, depth)?);
        }
        if let Some(life) = self.life(name, model, depth)? {
            made = made.ending(life);
        }
        self.made.insert(name, made.clone());
        Ok(made)
    }
}

impl Routes<'_> {
    /// What a model says of itself alone, with whom its requests are copied to.
    fn route(&self, name: &str, model: &Model) -> Result<Route, BoxError> {
        let route = route(name, model, self.config, self.providers, self.budgets)?;
        Ok(match mirror(name, model, self.config, self.providers, self.mirrors)? {
            Some(mirror) => route.mirror(mirror),
            None => route,
        })
    }

    fn tasks(&mut self, name: &str, tasks: &Tasks, depth: usize) -> Result<choose::Tasks, BoxError> {
        let wrong = |what: &str| BoxError::from(format!("models.{name}.tasks: {what}"));
        let embedder: Arc<dyn Embed> = match tasks.embeddings.as_ref().map(|name| name.split_once('/')) {
            None => Arc::new(HashedNgrams),
            Some(parts) => {
                let (provider, model) = parts.ok_or_else(|| wrong("embeddings: expected provider/model"))?;
                let stack =
                    self.providers.get(provider).ok_or_else(|| wrong("embeddings: no such provider"))?;
                let usual = Model::default();
                Arc::new(ProviderEmbeddings::new(stack.candidate(model, None, &usual, self.config)?))
            }
        };
        let mut routes = Vec::new();
        for task in &tasks.kinds {
            routes.push((task.name.as_str().into(), self.of(&task.model, depth + 1)?));
        }
        Ok(choose::Tasks::new(tasks.classifier(embedder).map_err(|why| wrong(&why))?, routes))
    }

    fn life(&mut self, name: &str, model: &Model, depth: usize) -> Result<Option<Life>, BoxError> {
        if model.deprecated.is_none() && model.sunset.is_none() {
            return Ok(None);
        }
        let mut life = self.trail.iter().fold(Life::default(), |life, trail| life.audit(trail.clone()));
        if let Some(since) = &model.deprecated {
            life = life.deprecated(**since);
        }
        if let Some(at) = &model.sunset {
            life = life.sunset(**at).told(self.ends.entry((name.to_owned(), **at)).or_default().clone());
        }
        if let Some(other) = &model.successor {
            life = life.successor(self.of(other, depth + 1)?);
        }
        Ok(Some(match &model.link {
            Some(link) => life.link(link),
            None => life,
        }))
    }

    fn conversations(&mut self, name: &str, lasts: Duration) -> Conversations {
        let kept = self.kept.entry((name.to_owned(), lasts));
        kept.or_insert_with(|| Conversations::new(lasts)).clone()
    }
}

fn route(
    name: &str,
    model: &Model,
    config: &Config,
    providers: &BTreeMap<String, Stack>,
    budgets: &RetryBudgets,
) -> Result<Route, BoxError> {
    let candidate = |(index, place): (usize, &Listed)| {
        let wrong = |what: &str| BoxError::from(format!("models.{name}.targets[{index}].use: {what}"));
        let (provider, upstream_model) = place.parts().ok_or_else(|| wrong("expected provider/model"))?;
        let stack = providers.get(provider).ok_or_else(|| wrong("there is no such provider"))?;
        stack
            .candidate(upstream_model, place.known_as(), model, config)
            .map(|candidate| candidate.weight(place.weight.unwrap_or(1)))
            .map_err(|error| wrong(&error.to_string()))
    };
    let candidates = model.targets.iter().enumerate().map(candidate).collect::<Result<Vec<_>, _>>()?;
    let route =
        settings(Route::new(name, candidates), model, config, budgets).strategy(model.strategy.into());
    let route = route.go_on_after(model.go_on_after.iter().map(|cause| (*cause).into()));
    let route = route.on_break(model.on_break.into());
    let route = model.hedge.into_iter().fold(route, |route, hedge| route.hedge(hedge.into()));
    let route = bounded(route, model);
    let route = match &model.sticky {
        Some(sticky) => route.sticky((**sticky).clone()),
        None => route,
    };
    Ok(match &model.per_request {
        Some(per_request) => route.ceiling(per_request.ceiling(&format!("model:{name}"))),
        None => route,
    })
}

/// Whom a model's requests are copied to.
fn mirror(
    name: &str,
    model: &Model,
    config: &Config,
    providers: &BTreeMap<String, Stack>,
    mirrors: &Mirrors,
) -> Result<Option<Mirror>, BoxError> {
    let Some(mirror) = &model.mirror else { return Ok(None) };
    let wrong = |what: &str| BoxError::from(format!("models.{name}.mirror.use: {what}"));
    let target = mirror.target();
    let (provider, upstream_model) = target.parts().ok_or_else(|| wrong("expected provider/model"))?;
    let stack = providers.get(provider).ok_or_else(|| wrong("there is no such provider"))?;
    let scopes = mirror.scopes(name, config.zone());
    let candidate = stack.charged(upstream_model, target.known_as(), model, config, scopes);
    let candidate = candidate.map_err(|error| wrong(&error.to_string()))?;
    Ok(Some(Mirror::new(candidate, mirrors).percent(mirror.percent.unwrap_or(100))))
}

/// What a model keeps its requests within.
fn bounded(mut route: Route, model: &Model) -> Route {
    if !model.regions.is_empty() {
        route = route.regions(model.regions.iter().map(|region| Pattern::new(&**region)));
    }
    if let Some(most) = &model.max_cost {
        route = route.max_cost(**most);
    }
    match &model.objective {
        Some(objective) => route.objective(*objective.p95),
        None => route,
    }
}

/// The route that an alias stands for, within what the alias says itself.
fn held(route: Route, alias: &Model) -> Route {
    let route = match &alias.max_cost {
        Some(most) => route.max_cost_at_most(**most),
        None => route,
    };
    if alias.regions.is_empty() {
        return route;
    }
    let own = bounded(Route::new(route.name(), []), alias);
    route.within(&own)
}

/// What a model says of its route, and what the defaults say where it doesn't.
pub(super) fn settings(route: Route, model: &Model, config: &Config, budgets: &RetryBudgets) -> Route {
    let defaults = &config.defaults;
    let retry = model.retry.or(&defaults.retry);
    let cause = |on: RetryOn| match on {
        RetryOn::Status(status) => Cause::Status(status.get()),
        RetryOn::Connect => Cause::Connect,
        RetryOn::Timeout => Cause::Timeout,
    };
    let backoff = retry.backoff();
    let budget = budgets.of(route.name(), retry.budget());
    route
        .retry(Retry {
            on: retry.on().into_iter().map(cause).collect(),
            attempts: retry.attempts(),
            backoff: (backoff.first, backoff.most),
        })
        .retry_budget(budget)
        .total(model.timeouts.or(&defaults.timeouts).total())
        .drain(model.on_disconnect.unwrap_or(defaults.on_disconnect) == super::OnDisconnect::Drain)
        .assume_output(model.assume_output.unwrap_or(defaults.assume_output).get())
        .cap_output(model.assume_output.is_some())
}
