use std::{sync::Arc, time::Duration};

use http::Request;
use tower::Layer;

use super::{Fault, Faulty, tell::Asked};
use crate::{Payload, Target, patience::Patience};

/// Lets a share of the requests to a target fail; see the [module](super).
#[derive(Clone, Debug)]
pub struct FaultLayer {
    target: Arc<Target>,
    rules: Option<Arc<Rules>>,
    first_byte: Patience,
}

/// What strikes one target.
#[derive(Clone, Debug, Default)]
struct Rules {
    /// Faults, and the share of the requests that each of them strikes, from 0 to 1.
    faults: Vec<(Fault, f64)>,
    is_asked: bool,
}

impl FaultLayer {
    /// Does nothing at all, until it is told to.
    pub fn new(target: Arc<Target>) -> Self {
        Self { target, rules: None, first_byte: Patience::default() }
    }

    /// Lets `share` of the requests, from 0 to 1, fail by `fault`. Of several rules the first one that strikes
    /// counts.
    #[must_use]
    pub fn rule(self, fault: Fault, share: f64) -> Self {
        self.with(|rules| rules.faults.push((fault, share)))
    }

    /// Lets those requests fail too that ask for it by a [`TellFaultsLayer`](super::TellFaultsLayer).
    #[must_use]
    pub fn when_asked(self) -> Self {
        self.with(|rules| rules.is_asked = true)
    }

    /// Sets how long the provider is waited for that doesn't answer. If it isn't set: ten minutes, and half of what is
    /// left of the request's [time](crate::exchange::Deadline) where another target
    /// [could be asked](crate::Payload::has_others).
    #[must_use]
    pub fn first_byte(self, time: Duration) -> Self {
        Self { first_byte: Patience::always(time), ..self }
    }

    fn with(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(Arc::make_mut(self.rules.get_or_insert_default()));
        self
    }

    /// How `req` is to fail.
    pub(super) fn strikes<B>(&self, req: &Request<B>) -> Option<Fault> {
        let rules = self.rules.as_ref()?;
        let asked = req.extensions().get::<Asked>().filter(|_| rules.is_asked);
        let asked = asked.filter(|asked| asked.is_of(self.target.name())).map(|asked| asked.fault);
        asked.or_else(|| rules.faults.iter().find(|(_, share)| is_struck(*share)).map(|(fault, _)| *fault))
    }

    pub(super) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// How long the answer to `req` is waited for.
    pub(super) fn patience(&self, req: &Request<Payload>) -> Duration {
        self.first_byte.with(req)
    }
}

fn is_struck(share: f64) -> bool {
    share >= 1.0 || getrandom::u32().is_ok_and(|drawn| f64::from(drawn) < share * f64::from(u32::MAX))
}

impl<S> Layer<S> for FaultLayer {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty::new(inner, self.clone())
    }
}
