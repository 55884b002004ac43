use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::{Facts, Tasks};
use crate::{
    dispatch::{Candidate, Route},
    headers,
    payload::Head,
};

/// What is too short a wait to be taken off the time of a route.
const NO_WAIT: Duration = Duration::from_millis(10);

/// The route of one request.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) route: Arc<Route>,
    /// What led to its targets: one for each model that is asked for, where there are several. `None` if nothing is to
    /// be said of it.
    led: Option<Arc<[Led]>>,
    /// The request for providers that understand what the client prefers.
    pub(super) preferring: Option<Arc<(Head, Bytes)>>,
}

/// What led to the targets of a model.
#[derive(Debug, Default)]
pub(crate) struct Led {
    /// The model.
    pub(crate) model: Arc<str>,
    /// The rule or the task.
    pub(crate) rule: Option<Arc<str>>,
    /// What the answer says of it.
    pub(crate) says: HeaderMap,
    /// The routes on the way that end, and whether that was so already.
    ending: Vec<(Arc<Route>, bool)>,
    /// Whether it was noted that they were asked for.
    is_noted: AtomicBool,
}

impl Led {
    /// Notes that a target is asked to which names led that end: only then has somebody else served them.
    fn note(&self) {
        if self.ending.is_empty() || self.is_noted.swap(true, Relaxed) {
            return;
        }
        for (route, has_ended) in &self.ending {
            if let Some(life) = route.life() {
                life.asked(route.name(), *has_ended);
            }
        }
    }
}

impl Chosen {
    /// A route that nothing is to be said of.
    pub(crate) fn plainly(route: Arc<Route>) -> Self {
        Self { route, led: None, preferring: None }
    }

    /// The route to which `ways` lead one after the other.
    pub(super) fn joined(route: Route, ways: impl IntoIterator<Item = Way>) -> Self {
        let led = ways.into_iter().map(|way| way.led).collect();
        Self { led: Some(led), ..Self::plainly(Arc::new(route)) }
    }

    /// What led to `candidate`, if anything is to be said of it.
    pub(crate) fn led_to(&self, candidate: &Candidate) -> Option<&Led> {
        self.led.as_ref()?.get(candidate.group())
    }

    /// Notes that `candidate` is asked.
    pub(crate) fn asks(&self, candidate: &Candidate) {
        if let Some(led) = self.led_to(candidate) {
            led.note();
        }
    }

    /// The rule or the task that led to what is asked first.
    pub(super) fn rule(&self) -> Option<&Arc<str>> {
        self.led.as_ref()?.first()?.rule.as_ref()
    }

    /// The request for providers that understand what the client prefers, if that differs.
    pub(crate) fn preferring(&self) -> Option<&(Head, Bytes)> {
        self.preferring.as_deref()
    }

    /// The same where every provider gets the same request.
    pub(crate) fn without_preferring(self) -> Self {
        Self { preferring: None, ..self }
    }
}

impl From<Way> for Chosen {
    fn from(Way { route, led, .. }: Way) -> Self {
        let says_nothing = led.rule.is_none() && led.says.is_empty() && led.ending.is_empty();
        Self { led: (!says_nothing).then(|| Arc::new([led]) as Arc<[Led]>), ..Self::plainly(route) }
    }
}

/// A request on its way from the route of a model to the one by which it goes.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) route: Arc<Route>,
    led: Led,
    /// Whether the classifier of the route was asked.
    is_classified: bool,
}

impl Way {
    /// It begins at `route`.
    pub(super) fn new(route: Arc<Route>) -> Self {
        let led = Led { model: route.name().clone(), ..Led::default() };
        Self { route, led, is_classified: false }
    }

    /// The end of the way, to which rules, successors and classifiers lead.
    pub(super) async fn decided(route: Arc<Route>, facts: &Facts<'_>) -> Self {
        let mut way = Self::new(route);
        let begun = Instant::now();
        // Routes lie inside of each other, so there is an end.
        while let Some(tasks) = way.advance(facts) {
            way.is_classified = true;
            let from = way.route.clone();
            let facts = facts.within(&from);
            match (in_time(&from, &tasks, &facts).await, facts.rehearsal()) {
                (Some((name, route)), _) => way.follow(&name, &route),
                (None, Some(rehearsal)) => {
                    tasks.undecided(&facts).into_iter().for_each(|why| rehearsal.leave_open(why));
                }
                (None, None) => {}
            }
        }
        way.take_off(begun.elapsed());
        way
    }

    /// What was waited on the way is taken off the time of the route, of which half stays for its targets.
    fn take_off(&mut self, waited: Duration) {
        if let Some(total) = self.route.known_total().filter(|_| waited > NO_WAIT) {
            let left = total.saturating_sub(waited).max(total / 2);
            self.route = Arc::new((*self.route).clone().total(left));
        }
    }

    /// Goes on until there is a classifier to be asked, or an end.
    pub(super) fn advance(&mut self, facts: &Facts<'_>) -> Option<Arc<Tasks>> {
        loop {
            let route = self.route.clone();
            // What was classified is still where it was.
            if let Some(life) = route.life().filter(|_| !self.is_classified) {
                for (name, value) in life.says() {
                    self.led.says.append(name, value.clone());
                }
                let successor = life.at(facts.now());
                self.led.ending.push((route.clone(), successor.is_some()));
                if let Some(successor) = successor {
                    self.go(successor.clone());
                    continue;
                }
            }
            match route.rules().iter().find(|rule| rule.is_for(facts)) {
                Some(rule) => self.follow(rule.name(), rule.then()),
                None => return route.tasks().filter(|_| !self.is_classified).cloned(),
            }
        }
    }

    fn follow(&mut self, name: &Arc<str>, route: &Arc<Route>) {
        self.led.rule = Some(name.clone());
        if let Ok(name) = HeaderValue::from_str(name) {
            self.led.says.insert(headers::RULE, name);
        }
        self.go(route.clone());
    }

    /// Whoever has to stay in some regions stays there, wherever it is led.
    fn go(&mut self, route: Arc<Route>) {
        let is_bound = self.route.is_bound();
        let route = if is_bound { Arc::new((*route).clone().within(&self.route)) } else { route };
        (self.route, self.is_classified) = (route, false);
    }
}

/// The task and its route, if they are found within half of the time of the route where they are looked for.
async fn in_time(route: &Route, tasks: &Tasks, facts: &Facts<'_>) -> Option<(Arc<str>, Arc<Route>)> {
    let Some(total) = route.known_total() else { return tasks.route_for(facts).await };
    let found = tokio::time::timeout(total / 2, tasks.route_for(facts)).await;
    found.unwrap_or_else(|_| {
        tracing::warn!(model = &**route.name(), "half of its time was too short to find a task");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxFuture, Exchange, Payload, choose::Classify, dialect::OPENAI_CHAT};

    const SECOND: Duration = Duration::from_secs(1);

    /// Finds a task after a time.
    #[derive(Debug)]
    struct After(Duration);

    impl Classify for After {
        fn classify<'a>(&'a self, _: &'a Facts<'_>) -> BoxFuture<'a, Option<Arc<str>>> {
            Box::pin(async move {
                tokio::time::sleep(self.0).await;
                Some("task".into())
            })
        }
    }

    /// Where a request for a model of so much time goes whose task is found `after` a time; what was waited, in
    /// hundredths of a second; and the time that the route has left then, in the same.
    async fn decided(total: Duration, after: Duration, of_task: Duration) -> (String, u128, u128) {
        let headers = HeaderMap::new();
        let payload = Payload::new(&OPENAI_CHAT, Head::default(), Bytes::new(), Exchange::default());
        let task = Route::new("of the task", []).total(of_task);
        let tasks = Tasks::new(After(after), [("task".into(), task)]);
        let route = Arc::new(Route::new("auto", []).total(total).classify(tasks));
        let begun = Instant::now();
        let way = Way::decided(route, &Facts::new(&payload, &headers)).await;
        let waited = begun.elapsed().as_millis() / 10;
        (way.route.name().to_string(), waited, way.route.known_total().unwrap().as_millis().div_ceil(10))
    }

    #[tokio::test(start_paused = true)]
    async fn finding_the_task_takes_half_of_the_time_at_most_and_is_taken_off_the_rest() {
        let led = |name: &str, waited, left| (name.to_owned(), waited, left);

        assert_eq!(decided(SECOND, 60 * SECOND, SECOND).await, led("auto", 50, 50));
        assert_eq!(decided(SECOND, SECOND / 5, SECOND).await, led("of the task", 20, 80));
        assert_eq!(decided(10 * SECOND, 2 * SECOND, SECOND).await, led("of the task", 200, 50));
        assert_eq!(decided(SECOND, Duration::ZERO, SECOND).await, led("of the task", 0, 100));
    }
}
