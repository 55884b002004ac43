use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use super::{
    Candidate, Conversations, Hedge, Mirror, OnBreak, Retry, RetryBudget, Sticky, Strategy,
    needs::Differences,
};
use crate::{
    Error, Kind,
    access::Pattern,
    budget::Ceiling,
    choose::{Life, Rule, Tasks},
    payload::Head,
    price::{ASSUMED_OUTPUT, NanoUsd},
};

/// Which route serves a model's name.
#[derive(Clone, Debug, Default)]
pub struct Table {
    routes: HashMap<Box<str>, Arc<Route>>,
    resolve: Option<Arc<dyn Resolve>>,
}

/// Finds routes for names that no table can list, such as every model of a provider.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The route for a model's name, if there is one. Asked on every request for a name that is not in
    /// the table, so it should remember its answers – a bounded number of them.
    fn resolve(&self, model: &str) -> Option<Arc<Route>>;

    /// The names that are worth listing.
    fn models(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
}

/// The targets that serve a name, and how they are asked.
#[derive(Clone, Debug)]
pub struct Route {
    pub(super) name: Arc<str>,
    pub(super) candidates: Box<[Candidate]>,
    pub(super) differences: Differences,
    pub(super) strategy: Strategy,
    pub(super) sticky: Option<Sticky>,
    pub(super) go_on_after: Box<[Kind]>,
    pub(super) retry: Retry,
    pub(super) retry_budget: RetryBudget,
    pub(super) total: Option<Duration>,
    pub(super) drain: bool,
    pub(super) assume_output: u64,
    pub(super) caps_output: bool,
    pub(super) ceiling: Option<Arc<Ceiling>>,
    pub(super) hedge: Option<Hedge>,
    pub(super) on_break: OnBreak,
    pub(super) mirror: Option<Mirror>,
    pub(super) rules: Box<[Rule]>,
    pub(super) life: Option<Life>,
    pub(super) tasks: Option<Arc<Tasks>>,
    pub(super) reads_spend: bool,
    pub(super) waits: bool,
    /// Where alone it is answered.
    pub(super) regions: Option<Arc<[Pattern]>>,
    /// Where alone those are answered who were led here.
    pub(super) also_in: Arc<[Arc<[Pattern]>]>,
    pub(super) max_cost: Option<NanoUsd>,
    /// Whether targets have a pace to keep.
    pub(super) has_pace: bool,
    pub(super) kept: Option<Conversations>,
    /// Whether somebody has said which targets come behind others.
    pub(super) is_ranked: bool,
}

impl Table {
    /// Adds a route under its name.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.insert(Box::from(&*route.name), Arc::new(route));
        self
    }

    /// Sets who is asked for names that are not in the table.
    #[must_use]
    pub fn resolve(self, resolve: impl Resolve) -> Self {
        Self { resolve: Some(Arc::new(resolve)), ..self }
    }

    /// The route for a model's name.
    pub(super) fn find(&self, model: &str) -> Option<Arc<Route>> {
        self.routes.get(model).cloned().or_else(|| self.resolve.as_ref()?.resolve(model))
    }

    /// The names that clients may ask for, sorted.
    pub(super) fn models(&self) -> Vec<Arc<str>> {
        let mut models: Vec<_> = self.routes.values().map(|route| route.name.clone()).collect();
        models.extend(self.resolve.iter().flat_map(|resolve| resolve.models()));
        models.sort();
        models.dedup();
        models
    }
}

impl Route {
    /// A route that asks `candidates` in this order, with the default [`Retry`]. One that is known not to take what
    /// a request needs (tools, images, an answer by a schema, more input) is passed over while another can take it, and
    /// one of which that isn't known comes after those that are known to take it.
    pub fn new(name: &str, candidates: impl IntoIterator<Item = Candidate>) -> Self {
        let candidates: Box<[Candidate]> = candidates.into_iter().collect();
        Self {
            name: name.into(),
            differences: Differences::between(&candidates),
            candidates,
            strategy: Strategy::default(),
            sticky: None,
            go_on_after: Box::default(),
            retry: Retry::default(),
            retry_budget: RetryBudget::default(),
            total: None,
            drain: false,
            assume_output: ASSUMED_OUTPUT,
            caps_output: false,
            ceiling: None,
            hedge: None,
            on_break: OnBreak::default(),
            mirror: None,
            rules: Box::default(),
            life: None,
            tasks: None,
            waits: false,
            reads_spend: false,
            regions: None,
            also_in: Arc::default(),
            max_cost: None,
            has_pace: false,
            kept: None,
            is_ranked: false,
        }
    }

    /// Adds a rule; the first one that holds is the one by which a request goes.
    #[must_use]
    pub fn rule(self, rule: Rule) -> Self {
        let reads_spend = self.reads_spend || rule.reads_spend();
        let waits = self.waits || reads_spend || rule.then().waits();
        let rules = self.rules.into_iter().chain([rule]).collect();
        Self { rules, reads_spend, waits, ..self }
    }

    /// Sets who finds out by which route requests go for which no rule holds, and where these lead.
    #[must_use]
    pub fn classify(self, tasks: Tasks) -> Self {
        let reads_spend = self.reads_spend || tasks.reads_spend();
        Self { tasks: Some(Arc::new(tasks)), reads_spend, waits: true, ..self }
    }

    /// Sets how long its name is served, and by whom after that.
    #[must_use]
    pub fn ending(self, life: Life) -> Self {
        let (waits, reads_spend) = life.successor_waits();
        let (waits, reads_spend) = (self.waits || waits, self.reads_spend || reads_spend);
        Self { life: Some(life), waits, reads_spend, ..self }
    }

    /// How long its name is served.
    pub(crate) fn life(&self) -> Option<&Life> {
        self.life.as_ref()
    }

    /// How long all attempts and the answer together may take.
    pub(crate) fn known_total(&self) -> Option<Duration> {
        self.total
    }

    /// Who finds out where requests go.
    pub(crate) fn tasks(&self) -> Option<&Arc<Tasks>> {
        self.tasks.as_ref()
    }

    /// Whether a request may go by another route.
    pub(crate) fn decides(&self) -> bool {
        !self.rules.is_empty() || self.life.is_some() || self.tasks.is_some()
    }

    /// Whether something has to be waited for until it is known by which route a request goes.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// The same route under another name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets the time in which 19 of 20 answers of a target have to begin: one that takes longer is asked after all
    /// others, until it was forgiven.
    #[must_use]
    pub fn objective(self, time: Duration) -> Self {
        let candidates = self.candidates.into_iter().map(|candidate| candidate.pace(time)).collect();
        Self { candidates, has_pace: true, ..self }
    }

    /// The same for one request, where less is not set already.
    pub(crate) fn objective_at_most(self, time: Duration) -> Self {
        let candidates = self.candidates.into_iter().map(|candidate| candidate.pace_at_most(time)).collect();
        Self { candidates, has_pace: true, ..self }
    }

    /// The same without its mirror, unless that may get to see the request.
    pub(crate) fn mirrored_if(self, may_see: impl Fn(&Candidate) -> bool) -> Self {
        Self { mirror: self.mirror.filter(|mirror| may_see(mirror.candidate())), ..self }
    }

    /// Asks the target first that has answered a conversation before, where what is in a provider's cache is cheaper.
    /// A conversation is a session, or what begins with the same words.
    #[must_use]
    pub fn conversations(self, known: Conversations) -> Self {
        Self { kept: Some(known), ..self }
    }

    /// The same route with other targets.
    pub(crate) fn with_candidates(self, candidates: impl IntoIterator<Item = Candidate>) -> Self {
        let candidates: Box<[Candidate]> = candidates.into_iter().collect();
        let is_ranked = candidates.iter().any(|candidate| candidate.rank() > 0);
        Self { differences: Differences::between(&candidates), candidates, is_ranked, ..self }
    }

    /// Its targets, as they are listed.
    pub(crate) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Its name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Which target is asked first.
    pub(crate) fn known_strategy(&self) -> Strategy {
        self.strategy
    }

    /// Its rules, in order.
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a rule asks what of budgets and limits is used.
    pub(crate) fn reads_spend(&self) -> bool {
        self.reads_spend
    }

    /// Those that may be asked, in order.
    pub(crate) fn candidates_for(&self, head: &Head) -> impl Iterator<Item = &Candidate> {
        let only = head.resource.as_ref().map(|resource| resource.target.as_deref());
        let most = if only == Some(None) { 1 } else { usize::MAX };
        let has_it = move |candidate: &&Candidate| match only {
            Some(Some(target)) => *target == **candidate.target().name(),
            _ => true,
        };
        self.candidates.iter().filter(has_it).take(most)
    }

    /// Whether the next target is asked after `error`, if asking again does no harm.
    pub(super) fn goes_on_after(&self, error: &Error) -> bool {
        error.is_failover() || self.go_on_after.contains(&error.kind())
    }

    /// Sets which target is asked first.
    #[must_use]
    pub fn strategy(self, strategy: Strategy) -> Self {
        Self { strategy, ..self }
    }

    /// Sets what keeps its target where targets are chosen by their weights.
    #[must_use]
    pub fn sticky(self, sticky: Sticky) -> Self {
        Self { sticky: Some(sticky), ..self }
    }

    /// Sets after which failures the next target is asked that are otherwise final, such as
    /// [`ContentFiltered`](Kind::ContentFiltered). After [`ContextTooLong`](Kind::ContextTooLong) only targets
    /// are asked that are known to take more input.
    #[must_use]
    pub fn go_on_after(self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self { go_on_after: kinds.into_iter().collect(), ..self }
    }

    /// Sets when a target is asked again.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Sets how many attempts may be made again at the same target by all requests of the route together.
    #[must_use]
    pub fn retry_budget(self, budget: RetryBudget) -> Self {
        Self { retry_budget: budget, ..self }
    }

    /// Sets how long all attempts and the answer together may take.
    #[must_use]
    pub fn total(self, time: Duration) -> Self {
        Self { total: Some(time), ..self }
    }

    /// Reads an answer to its end although the client has left, to learn its exact cost. Needs a
    /// [`DrainLayer`](crate::drain::DrainLayer) around the stack.
    #[must_use]
    pub fn drain(self, drain: bool) -> Self {
        Self { drain, ..self }
    }

    /// Sets the most that one request may use.
    #[must_use]
    pub fn ceiling(self, ceiling: Ceiling) -> Self {
        Self { ceiling: Some(Arc::new(ceiling)), ..self }
    }

    /// Asks a second target where the first one takes long.
    #[must_use]
    pub fn hedge(self, hedge: Hedge) -> Self {
        Self { hedge: Some(hedge), ..self }
    }

    /// Sets what becomes of a stream that breaks in the middle.
    #[must_use]
    pub fn on_break(self, on_break: OnBreak) -> Self {
        Self { on_break, ..self }
    }

    /// Copies a share of the requests to another target.
    #[must_use]
    pub fn mirror(self, mirror: Mirror) -> Self {
        Self { mirror: Some(mirror), ..self }
    }

    /// Sets how many tokens of output a request is expected to use that doesn't say.
    #[must_use]
    pub fn assume_output(self, tokens: u64) -> Self {
        Self { assume_output: tokens, ..self }
    }

    /// Tells that number to every provider as the cap of such a request, so that none writes more than was
    /// reserved; otherwise only Claude is told it, which has to be told one.
    #[must_use]
    pub fn cap_output(self, cap: bool) -> Self {
        Self { caps_output: cap, ..self }
    }
}
