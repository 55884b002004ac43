//! Requests about work that goes on after their answers.

use http::Request;

use super::{BudgetLayer, Settle, service::charged};
use crate::{
    Error, Exchange, Ingested, Payload,
    auth::Caller,
    body::OnEnd,
    ledger::{Amounts, Measure, Scope},
};

/// Whether a request begins such work or asks for it.
pub(crate) fn is_job(payload: &Payload) -> bool {
    payload.head().batch.as_ref().is_some_and(|batch| batch.is_job())
}

/// What has to be known of such a request while the ledger is waited for.
pub(super) struct JobRequest {
    scopes: Vec<Scope>,
    /// The name under which the job is held, if it was begun before.
    name: Option<Box<str>>,
    exchange: Exchange,
}

impl JobRequest {
    pub(super) fn of<B: Ingested>(req: &Request<B>) -> Result<Self, Error> {
        let payload = req.body().payload();
        let name = payload.head().batch.as_ref().and_then(|batch| batch.hold()).map(Into::into);
        let scopes = charged(Caller::of(req)?, payload).into_owned();
        Ok(Self { scopes, name, exchange: payload.exchange().clone() })
    }
}

impl BudgetLayer {
    /// Lets the request in, which counts like any other, and holds what the job may cost beside it.
    pub(super) async fn watch_job(
        &self,
        JobRequest { scopes, name, exchange }: JobRequest,
        worst: Amounts,
    ) -> Result<OnEnd<Settle>, Error> {
        let asked = self.ledger.reserve(&scopes, Amounts::default()).await;
        let mut watch = self.watch(self.judge(asked, &exchange)?, exchange.clone());
        let held = match &name {
            Some(name) => self.ledger.resume(name).await,
            None => self.ledger.reserve(&lasting(scopes), worst).await.map(Some),
        };
        let ticket = match held {
            Ok(ticket) => ticket,
            Err(error) => self.judge(Err(error), &exchange)?,
        };
        if let (Some(ticket), Some(settle)) = (ticket, watch.get_mut()) {
            settle.hold(ticket, name);
        }
        Ok(watch)
    }
}

/// The accounts on which a job is held for as long as it goes on. There may be none: somebody has to report
/// what it has cost all the same, and only one.
pub(crate) fn lasting(mut scopes: Vec<Scope>) -> Vec<Scope> {
    let of_requests = [Measure::Requests, Measure::Concurrent];
    scopes.retain(|scope| scope.quota.is_none_or(|quota| !of_requests.contains(&quota.measure)));
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Period, Quota};

    #[test]
    fn a_job_is_no_request_under_way() {
        let scope = |quota| Scope { quota, ..Scope::counted("a") };
        let quota = |measure| Some(Quota::new(measure, 1, Period::Day));
        let all = [None, quota(Measure::Usd), quota(Measure::Tokens), quota(Measure::Requests)];
        let scopes = all.into_iter().chain([Some(Quota::concurrent(1))]).map(scope).collect();

        let left: Vec<_> = lasting(scopes).iter().map(|scope| scope.quota).collect();

        assert_eq!(left, all[..3]);
    }
}
