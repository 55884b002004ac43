use super::{NanoUsd, Tier, likely_tokens, worst_case};
use crate::{Payload, Target, Tokens, Units, Work, batch::Batch};

/// The most that one attempt at a target may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptCost {
    pub(crate) answered: NanoUsd,
    /// If its answer never comes.
    pub(crate) lost: NanoUsd,
    /// Whether it can't cost more, because something ends what is written.
    pub(crate) is_bounded: bool,
}

impl AttemptCost {
    /// Of what is not paid for.
    pub(crate) const FREE: Self = Self { answered: NanoUsd(0), lost: NanoUsd(0), is_bounded: true };

    /// `None` if the price is not known.
    pub(crate) fn of(target: &Target, payload: &Payload, assume_output: u64) -> Option<Self> {
        let (price, head, input) = (target.known_price()?, payload.head(), payload.input());
        if let Some(Batch { requests, .. }) = head.batch.as_deref() {
            let is_bounded = requests.is_bounded(target.known_facts());
            let work = requests.worst_case(target.known_facts(), assume_output);
            let most = requests.price(price).worst_case(&work, Some(Tier::Standard), false)?;
            return Some(Self { answered: most, lost: most, is_bounded });
        }
        let work = worst_case(head, &input, target.known_facts(), assume_output);
        let most = |work| price.worst_case(&work, head.tier, input.keeps_long());
        Some(Self { answered: most(work)?, lost: most(work.unanswered())?, is_bounded: true })
    }

    /// The tokens that limits on tokens are held to for it.
    pub(crate) fn tokens(target: &Target, payload: &Payload, assume_output: u64) -> Tokens {
        let facts = target.known_facts();
        match payload.head().batch.as_deref() {
            Some(Batch { requests, .. }) => requests.worst_case(facts, assume_output).tokens,
            None => likely_tokens(payload, assume_output, facts),
        }
    }
}

/// What one attempt at a target probably costs; `None` if the price is not known.
pub(crate) fn likely_cost(target: &Target, payload: &Payload, assume_output: u64) -> Option<NanoUsd> {
    let (price, head) = (target.known_price()?, payload.head());
    let usual = || {
        let tokens = likely_tokens(payload, assume_output, target.known_facts());
        Work { tokens, units: Units { tier: head.tier.unwrap_or_default(), ..Units::default() } }
    };
    price.cost_of(&head.work.unwrap_or_else(usual))
}
