//! Batches: many requests in one file, which a provider answers in its own time: [`Batch`].
//!
//! A batch costs money after the request that began it has been answered, so what it may cost is held from
//! then until somebody asks how it has come along and learns that it is over:
//!
//! 1. A file is stored. Its lines are looked into like requests of their own, and what they may use
//!    ([`Requests`]) is sealed into the file's id, which nobody can make but the gateway.
//! 2. A batch of the file is begun. The worst case is reserved before the provider is asked, and kept in the
//!    ledger under the name of the batch at its provider.
//! 3. The batch is asked for. Whoever gets the hold back settles it if the provider says that the batch is
//!    over, with the tokens that the provider has counted; otherwise it is kept again. Of two who ask at
//!    once, one gets it.
//!
//! What nobody asks for stays held: that is the safe side. What has ended without a word on its tokens is
//! charged its share of the worst case, as an estimate. Where no [`BudgetLayer`](crate::budget::BudgetLayer)
//! stands, nobody can tell who asks first, and nothing is charged.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{
    Tokens, Units, Work,
    payload::Head,
    price::{Input, Price, worst_case},
    target::ModelFacts,
};

/// What a request has to do with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What the provider is asked in it.
    pub requests: Requests,
    /// How far it is.
    pub stage: Stage,
    /// By which id the requests are known; `None` while they have none.
    pub proof: Option<Proof>,
}

/// How far a batch is, from the point of view of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its file is stored, or asked for.
    Stored,
    /// It is begun by this request.
    Begun {
        /// Where the client's id of the file stands in the bytes.
        file_at: Range<usize>,
        /// The provider's, which goes there.
        file: Box<str>,
    },
    /// It is asked for.
    Followed {
        /// The name under which its cost is held.
        hold: Box<str>,
    },
}

/// Something that shows that it was the gateway that wrote down what an id tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The provider's id.
    pub id: Box<str>,
    /// What only the gateway can have made of it.
    pub seal: Box<str>,
}

impl Batch {
    /// The work of the provider that goes on after its answer, if that is what this is about.
    pub fn is_job(&self) -> bool {
        self.stage != Stage::Stored
    }

    /// The name under which its cost is held, if it was begun before.
    pub(crate) fn hold(&self) -> Option<&str> {
        match &self.stage {
            Stage::Followed { hold } => Some(hold),
            _ => None,
        }
    }
}

/// What the requests of one batch use, all together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Requests {
    /// The path at which all of them are asked, such as `/v1/chat/completions`.
    pub url: Box<str>,
    /// How many there are.
    pub lines: u64,
    /// The tokens of their inputs.
    pub input: u64,
    /// About the tokens of the longest input.
    pub longest: u64,
    /// The tokens of the outputs that have a cap.
    pub output: u64,
    /// How many outputs have none: each may be as long as the model can make it.
    pub open: u64,
    /// The most searches of the web.
    #[serde(default, skip_serializing_if = "is_none")]
    pub searches: u64,
    /// The most containers to run code in.
    #[serde(default, skip_serializing_if = "is_none")]
    pub code_sessions: u64,
    /// The tokens of the inputs that may be sound.
    #[serde(default, skip_serializing_if = "is_none")]
    pub media: u64,
}

fn is_none(number: &u64) -> bool {
    *number == 0
}

impl Requests {
    /// Adds a request.
    pub fn add(&mut self, head: &Head, body: &[u8]) {
        let reads = Input::of(body);
        let most = worst_case(head, &reads, &ModelFacts::default(), 0);
        let Tokens { input, output, .. } = most.tokens;
        let Units { web_searches, code_sessions, media_input, .. } = most.units;
        self.searches = self.searches.saturating_add(web_searches);
        self.code_sessions = self.code_sessions.saturating_add(code_sessions);
        self.media = self.media.saturating_add(media_input);
        self.lines += 1;
        self.input = self.input.saturating_add(input);
        self.longest = self.longest.max(reads.likely());
        self.output = self.output.saturating_add(output);
        if head.max_output.is_none() {
            self.open = self.open.saturating_add(head.choices.max(1).into());
        }
    }

    /// The most that they use. Nobody caps a line that has no cap of its own, so it writes as much as the model
    /// can; `assume_output` stands for that where it is not known.
    pub fn worst_case(&self, facts: &ModelFacts, assume_output: u64) -> Work {
        let open = self.open.saturating_mul(facts.max_output.unwrap_or(assume_output));
        let tokens =
            Tokens { input: self.input, output: self.output.saturating_add(open), ..Tokens::default() };
        Work { tokens, units: Units { media_input: self.media, ..self.tools() } }
    }

    /// Whether there is an end to what they may write.
    pub(crate) fn is_bounded(&self, facts: &ModelFacts) -> bool {
        self.open == 0 || facts.max_output.is_some()
    }

    /// What the provider may do for them beside answering. No count of a batch tells what it did.
    pub(crate) fn tools(&self) -> Units {
        Units { web_searches: self.searches, code_sessions: self.code_sessions, ..Units::default() }
    }

    /// What they cost, where `standard` is the price of the model: rates for long inputs are those of a
    /// request, and not of the sum of all of them.
    pub fn price(&self, standard: &Price) -> Price {
        let mut price = standard.batch();
        price.scale.above.retain(|(threshold, _)| self.longest > *threshold);
        price
    }

    /// The part of `whole` that so many answers have used.
    pub(crate) fn share(&self, whole: &Work, answers: u64) -> Work {
        let part = |tokens: u64| {
            let share = u128::from(tokens) * u128::from(answers.min(self.lines));
            u64::try_from(share.div_ceil(u128::from(self.lines.max(1)))).unwrap_or(u64::MAX)
        };
        let Tokens { input, output, .. } = whole.tokens;
        let units = Units {
            web_searches: part(whole.units.web_searches),
            code_sessions: part(whole.units.code_sessions),
            media_input: part(whole.units.media_input),
            ..Units::default()
        };
        Work { tokens: Tokens { input: part(input), output: part(output), ..Tokens::default() }, units }
    }
}

/// The name under which the cost of a batch is held: the provider's id for it and nothing that a client
/// chooses, so that nobody settles one batch with the cost of another.
pub(crate) fn hold(target: &str, id: &str) -> Box<str> {
    format!("batch:{target}:{id}").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::{NanoUsd, Rates};

    fn head(max_output: Option<u64>, choices: u32) -> Head {
        Head { max_output, choices, ..Head::default() }
    }

    #[test]
    fn a_batch_may_use_what_its_requests_may_use_together() {
        let mut requests = Requests::default();
        requests.add(&head(Some(100), 2), &[b'9'; 400]);
        requests.add(&head(None, 3), &[b'9'; 40]);
        let mut facts = ModelFacts::default();

        let tokens = requests.worst_case(&facts, 1_000).tokens;
        assert!(!requests.is_bounded(&facts));
        facts.max_output = Some(5_000);
        let known = requests.worst_case(&facts, 1_000).tokens;

        assert_eq!((requests.lines, requests.longest, tokens.input), (2, 100, 2_440));
        assert_eq!((tokens.output, known.output), (200 + 3_000, 200 + 15_000));
        assert!(requests.is_bounded(&facts));
    }

    #[test]
    fn a_batch_may_search_as_often_as_its_requests_may_together() {
        let mut requests = Requests::default();
        requests.add(&Head { searches: 10, ..head(Some(1), 1) }, b"{}");
        requests.add(&Head { searches: 2, code_sessions: 1, ..head(Some(1), 1) }, b"{}");

        let most = requests.worst_case(&ModelFacts::default(), 1_000);

        assert_eq!((most.units.web_searches, most.units.code_sessions), (12, 1));
        let half = requests.share(&most, 1).units;
        assert_eq!((half.web_searches, half.code_sessions), (6, 1));
    }

    #[test]
    fn a_share_is_rounded_up_and_never_more_than_all() {
        let requests = Requests { lines: 3, ..Requests::default() };
        let whole = Tokens { input: 10, output: 100, ..Tokens::default() }.into();
        let share = |answers| {
            let Tokens { input, output, .. } = requests.share(&whole, answers).tokens;
            (input, output)
        };

        assert_eq!([share(0), share(1), share(3), share(9)], [(0, 0), (4, 34), (10, 100), (10, 100)]);
    }

    #[test]
    fn long_inputs_cost_more_if_a_request_is_long_and_not_if_there_are_many() {
        let usd = |dollars| Rates::flat(NanoUsd::from_usd(dollars), NanoUsd(0));
        let mut price = Price::from(usd(2));
        price.scale.above.push((1_000, usd(8)));
        let cost = |longest| {
            let requests = Requests { longest, ..Requests::default() };
            requests.price(&price).cost(&Tokens { input: 1_000_000, ..Tokens::default() })
        };

        assert_eq!((cost(1_000), cost(1_001)), (NanoUsd::from_usd(1), NanoUsd::from_usd(4)));
    }
}
