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
    Likely::of(payload, assume_output).cost_at(target)
}

/// What a request probably uses, for whoever asks what it costs at many targets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Likely {
    /// What its dialect has read from it.
    Known(Work),
    /// Its input by its size, and all of the output that it may have.
    Guessed { input: u64, output: u64, choices: u64, tier: Tier },
}

impl Likely {
    pub(crate) fn of(payload: &Payload, assume_output: u64) -> Self {
        let head = payload.head();
        match head.work {
            Some(work) => Self::Known(work),
            None => Self::Guessed {
                input: payload.input().likely(),
                output: head.max_output.unwrap_or(assume_output),
                choices: head.choices.max(1).into(),
                tier: head.tier.unwrap_or_default(),
            },
        }
    }

    /// What it costs at a target; `None` if the price is not known.
    pub(crate) fn cost_at(&self, target: &Target) -> Option<NanoUsd> {
        let price = target.known_price()?;
        match *self {
            Self::Known(work) => price.cost_of(&work),
            Self::Guessed { input, output, choices, tier } => {
                let most = output.min(target.known_facts().max_output.unwrap_or(u64::MAX));
                let tokens = Tokens { input, output: most.saturating_mul(choices), ..Tokens::default() };
                price.cost_of(&Work { tokens, units: Units { tier, ..Units::default() } })
            }
        }
    }
}
