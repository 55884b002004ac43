use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::{Facts, Tasks};
use crate::{dispatch::Route, headers, payload::Head};

/// The route of one request.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) route: Arc<Route>,
    /// What the answer says of the choice.
    pub(crate) says: Option<Box<HeaderMap>>,
    /// The request for providers that understand what the client prefers.
    pub(super) preferring: Option<Arc<(Head, Bytes)>>,
    /// Whether the classifier of the route was asked.
    is_classified: bool,
}

impl Chosen {
    /// A route that nothing is to be said of.
    pub(crate) fn plainly(route: Arc<Route>) -> Self {
        Self { route, says: None, preferring: None, is_classified: false }
    }

    /// The request for providers that understand what the client prefers, if that differs.
    pub(crate) fn preferring(&self) -> Option<&(Head, Bytes)> {
        self.preferring.as_deref()
    }

    /// The same where every provider gets the same request.
    pub(crate) fn without_preferring(self) -> Self {
        Self { preferring: None, ..self }
    }

    /// The route to which rules, successors and classifiers lead.
    pub(super) async fn decided(route: Arc<Route>, facts: &Facts<'_>) -> Self {
        let mut chosen = Self::plainly(route);
        // Routes lie inside of each other, so there is an end.
        while let Some(tasks) = chosen.advance(facts) {
            chosen.is_classified = true;
            if let Some((name, route)) = tasks.route_for(facts).await {
                chosen.follow(&name, &route, facts);
            }
        }
        chosen
    }

    /// Goes on until there is a classifier to be asked, or an end.
    pub(super) fn advance(&mut self, facts: &Facts<'_>) -> Option<Arc<Tasks>> {
        loop {
            let route = self.route.clone();
            if let Some(life) = route.life() {
                let says = self.says.get_or_insert_default();
                for (name, value) in life.says() {
                    says.append(name, value.clone());
                }
                if let Some(successor) = life.at(facts.now(), route.name()) {
                    self.go(successor.clone());
                    continue;
                }
            }
            match route.rules().iter().find(|rule| rule.is_for(facts)) {
                Some(rule) => self.follow(rule.name(), rule.then(), facts),
                None => return route.tasks().filter(|_| !self.is_classified).cloned(),
            }
        }
    }

    fn follow(&mut self, name: &Arc<str>, route: &Arc<Route>, facts: &Facts<'_>) {
        facts.note_rule(name);
        if let Ok(name) = HeaderValue::from_str(name) {
            self.says.get_or_insert_default().insert(headers::RULE, name);
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
