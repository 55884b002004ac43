use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex},
};

use tokio::sync::mpsc;

use super::{
    Alert, Settings, Tell, What,
    touched::Touched,
    velocity::Velocities,
    watch::{Watch, tells_of},
};
use crate::{
    ledger::{Ledger, Measure, Refused, Scope},
    lock,
    price::NanoUsd,
};

/// The most that waits to be told of; what finds no room is told at once, by each node.
const MOST: usize = 1_000;

/// Where alerts are noted, and told. Clones are the same.
#[derive(Clone)]
pub struct Alerts {
    shared: Arc<Shared>,
    wake: mpsc::Sender<()>,
}

/// What the layer and the task both know.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) at: Arc<[u16]>,
    pub(super) touched: Mutex<Touched>,
    /// What is to be told of if no other node has.
    pub(super) waiting: Mutex<Vec<What>>,
    velocities: Option<Mutex<Velocities>>,
    tell: Vec<Arc<dyn Tell>>,
}

impl Alerts {
    /// Where alerts of `ledger` are noted, and the task that tells them: spawn it, and await it at shutdown,
    /// when all clones are gone.
    pub fn new(ledger: Arc<dyn Ledger>, settings: Settings) -> (Self, impl Future<Output = ()> + Send) {
        let Settings { at, velocity, tell } = settings;
        let velocities = velocity.map(|unusual| Mutex::new(Velocities::new(unusual)));
        let (touched, waiting) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { at, touched, waiting, velocities, tell });
        let (wake, woken) = mpsc::channel(1);
        let watch = Watch::new(shared.clone(), ledger);
        (Self { shared, wake }, watch.run(woken))
    }

    /// Tells of something soon, if no other node of the ledger has. Doesn't wait.
    pub fn tell(&self, what: What) {
        let mut waiting = lock(&self.shared.waiting);
        if waiting.len() >= MOST {
            drop(waiting);
            return self.shared.tell(what);
        }
        waiting.push(what);
        drop(waiting);
        let _ = self.wake.try_send(());
    }

    /// Notes that a request on these accounts has ended and what it has cost, or who has refused it.
    pub(super) fn note(&self, scopes: &[Scope], cost: NanoUsd, refused: Option<&Refused>) {
        self.touch(scopes, refused);
        if let Some(velocities) = &self.shared.velocities
            && cost > NanoUsd(0)
        {
            let unusual = lock(velocities).spend(accounts(scopes), cost);
            unusual.into_iter().for_each(|velocity| self.tell(What::Velocity(velocity)));
        }
    }

    /// Notes that these accounts are to be looked at.
    pub(super) fn touch(&self, scopes: &[Scope], refused: Option<&Refused>) {
        let watched = |scope: &&Scope| tells_of(scope, &self.shared.at).is_some();
        if !scopes.iter().any(|scope| watched(&scope)) {
            return;
        }
        let is_new = lock(&self.shared.touched).add(scopes.iter().filter(watched), refused);
        if is_new {
            // If it is full the task is woken anyway.
            let _ = self.wake.try_send(());
        }
    }
}

/// The accounts that money is counted on, each once.
fn accounts(scopes: &[Scope]) -> impl Iterator<Item = &Arc<str>> {
    let counts = |scope: &&Scope| scope.counted_as().0 == Measure::Usd;
    scopes
        .iter()
        .enumerate()
        .filter(move |(index, scope)| {
            let before = &scopes[..*index];
            counts(scope) && !before.iter().any(|other| counts(&other) && other.account == scope.account)
        })
        .map(|(_, scope)| &scope.account)
}

impl Shared {
    pub(super) fn tell(&self, what: What) {
        let alert = Arc::new(Alert::new(what));
        alert.log();
        self.tell.iter().for_each(|tell| tell.tell(&alert));
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts")
            .field("at", &self.shared.at)
            .field("tell", &self.shared.tell)
            .finish_non_exhaustive()
    }
}
