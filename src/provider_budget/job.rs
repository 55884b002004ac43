//! Batches, whose cost is known long after the attempt that began them.

use super::{ProviderBudgetLayer, SettleAttempt};
use crate::{
    Error, Payload,
    body::OnEnd,
    budget::{is_job, lasting},
    exchange::Job,
    ledger::{Amounts, Measure, Scope, Ticket},
};

/// What is held for a batch, beside the attempt that is about it.
#[derive(Debug)]
pub(super) struct JobHold {
    pub(super) ticket: Ticket,
    /// The name under which it was kept before.
    pub(super) name: Option<Box<str>>,
}

/// What has to be known of such an attempt while the ledger is waited for.
pub(super) struct JobAttempt {
    watch: OnEnd<SettleAttempt>,
    /// The name under which its client's hold was kept, if the batch was begun before.
    name: Option<Box<str>>,
}

impl JobAttempt {
    /// Whether the batch was begun before.
    pub(super) fn is_followed(&self) -> bool {
        self.name.is_some()
    }
}

impl ProviderBudgetLayer {
    /// An attempt that begins a batch or asks for one, if this exchange is the one that holds what it costs.
    pub(super) fn job(&self, payload: &Payload) -> Option<JobAttempt> {
        let is_ours = || payload.exchange().learn(|learnt| learnt.job == Job::Held);
        if !is_job(payload) || !is_ours() {
            return None;
        }
        let name = payload.head().batch.as_ref().and_then(|batch| batch.hold());
        Some(JobAttempt { watch: self.watch(None, payload), name: name.map(Into::into) })
    }

    /// Lets the attempt be made, which counts like any other, and holds what the batch may cost beside it.
    pub(super) async fn watch_job(
        &self,
        JobAttempt { mut watch, name }: JobAttempt,
        worst: Amounts,
    ) -> Result<OnEnd<SettleAttempt>, Error> {
        let asked = self.ledger.reserve(&self.of_requests(), Amounts::default()).await;
        let ticket = self.judge(asked)?;
        if let Some(settle) = watch.get_mut() {
            settle.ticket = ticket;
        }
        let held = match &name {
            None => self.judge(self.ledger.reserve(&self.lasting(), worst).await)?,
            Some(name) => self.taken_up(name).await?,
        };
        if let (Some(ticket), Some(settle)) = (held, watch.get_mut()) {
            settle.job = Some(JobHold { ticket, name });
        }
        Ok(watch)
    }

    /// What is held for a batch that was begun before. If nothing is, as of one that was begun before the provider
    /// had a budget, it is charged all the same.
    async fn taken_up(&self, name: &str) -> Result<Option<Ticket>, Error> {
        let resumed = match self.ledger.resume(&kept_as(&self.scopes, name)).await {
            Ok(None) => self.ledger.reserve(&self.lasting(), Amounts::default()).await.map(Some),
            resumed => resumed,
        };
        match resumed {
            Ok(ticket) => Ok(ticket),
            Err(error) => self.judge(Err(error)),
        }
    }

    fn lasting(&self) -> Vec<Scope> {
        lasting(self.scopes.to_vec())
    }

    /// The accounts on which every attempt counts, whatever it costs.
    pub(super) fn of_requests(&self) -> Vec<Scope> {
        let counts = |scope: &&Scope| {
            let measure = scope.quota.map(|quota| quota.measure);
            matches!(measure, Some(Measure::Requests | Measure::Concurrent))
        };
        self.scopes.iter().filter(counts).cloned().collect()
    }
}

/// The name under which the provider's hold is kept: its client's has the other.
pub(super) fn kept_as(scopes: &[Scope], name: &str) -> String {
    let account = scopes.first().map_or("", |scope| &*scope.account);
    format!("{account} {name}")
}
