use std::sync::Arc;

use http::Request;

use crate::{
    Dialect, Payload, Target, Work,
    batch::{self, Requests, Stage},
    exchange::{AssumeOutput, AttemptHandle, Job},
    price::ASSUMED_OUTPUT,
};

/// Reads how far a batch is. Its cost is reported once: by the exchange for which it is held, when the
/// provider says that the batch is over.
#[derive(Debug)]
pub(super) struct ReadJob {
    requests: Requests,
    /// The target with the price of a batch.
    target: Arc<Target>,
    /// The most that the batch may use.
    most: Work,
    is_begun_here: bool,
}

impl ReadJob {
    /// The work that a request begins or asks for, if that is what it is about.
    pub(super) fn of(req: &Request<Payload>, target: &Arc<Target>) -> Option<Self> {
        let batch = req.body().head().batch.as_ref().filter(|batch| batch.is_job())?;
        let assumed = req.extensions().get::<AssumeOutput>().map_or(ASSUMED_OUTPUT, |assumed| assumed.tokens);
        let price = target.known_price().map(|price| batch.requests.price(price));
        Some(Self {
            requests: batch.requests.clone(),
            most: batch.requests.worst_case(target.known_facts(), assumed),
            target: Arc::new((**target).clone().price(price)),
            is_begun_here: matches!(batch.stage, Stage::Begun { .. }),
        })
    }

    pub(super) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Reads a whole answer; false if it is none.
    pub(super) fn read(&self, whole: &[u8], dialect: &dyn Dialect, attempt: &AttemptHandle) -> bool {
        let Some(progress) = dialect.progress(whole) else { return false };
        let next = match progress.is_over {
            true => Job::Over,
            false => Job::Running(batch::hold(self.target.name(), &progress.id)),
        };
        let is_ours = attempt.exchange().advance_job(next);
        if !progress.is_over || !is_ours {
            return true;
        }
        let mut work = Work::default();
        if dialect.read_work(whole, &mut work) {
            let tools = self.requests.tools();
            match tools.is_zero() {
                true => attempt.report(work),
                // Only the tokens are counted.
                false => attempt.estimate(Work { units: tools, ..work }),
            }
        } else if progress.answered != Some(0) {
            let answered = progress.answered.unwrap_or(u64::MAX);
            attempt.estimate(self.requests.share(&self.most, answered));
        }
        true
    }

    /// Nobody has heard what became of it. What may have been begun is paid for; what is only asked for can
    /// be asked for again.
    pub(super) fn estimate(&self, attempt: &AttemptHandle) {
        if self.is_begun_here {
            attempt.estimate(self.most);
        }
    }
}
