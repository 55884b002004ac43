use std::sync::Arc;

use super::Used;
use crate::{
    Payload,
    auth::Caller,
    ledger::{Balance, Ledger, Measure, Scope, Standings},
};

/// What `caller` has used of its budgets and limits. What can't be found out counts as nothing.
pub(super) async fn used(ledger: &Arc<dyn Ledger>, caller: &Caller, payload: &Payload) -> Used {
    let scopes = caller.scopes_for(payload.model());
    let refusing = |scope: &&Scope| scope.quota.is_some_and(|quota| !quota.shadow);
    let scopes: Vec<Scope> = scopes.iter().filter(refusing).cloned().collect();
    let mut used = payload.exchange().learn(|learnt| standing(&learnt.standings));
    if scopes.is_empty() {
        return used;
    }
    match ledger.balances(&scopes).await {
        Ok(balances) => scopes.iter().zip(&balances).for_each(|(scope, balance)| used.note(scope, balance)),
        Err(error) => tracing::warn!(?error, "the ledger can't be asked; conditions see nothing used"),
    }
    used
}

/// What limits of requests have said that were asked before.
fn standing(standings: &Standings) -> Used {
    let share = |measure| {
        let standing = standings.of(measure).filter(|standing| standing.limit > 0);
        standing.map_or(0.0, |standing| 1.0 - standing.left as f64 / standing.limit as f64)
    };
    Used {
        requests: share(Measure::Requests),
        tokens: share(Measure::Tokens),
        input: share(Measure::Input),
        output: share(Measure::Output),
        ..Used::default()
    }
}

impl Used {
    /// Whether nothing is left that a request has to be paid from.
    pub(super) fn is_up(&self) -> bool {
        [self.budget, self.tokens, self.input, self.output].into_iter().any(|share| share >= 1.0)
    }

    fn note(&mut self, scope: &Scope, balance: &Balance) {
        let Some(quota) = scope.quota else { return };
        let share = balance.posted.saturating_add(balance.held) as f64 / quota.limit.max(1) as f64;
        let known = match quota.measure {
            Measure::Usd => &mut self.budget,
            Measure::Requests => &mut self.requests,
            Measure::Concurrent => &mut self.concurrent,
            Measure::Input => &mut self.input,
            Measure::Output => &mut self.output,
            Measure::Tokens => &mut self.tokens,
        };
        *known = known.max(share);
    }
}
