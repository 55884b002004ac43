use std::sync::Arc;

use crate::{
    Error, Kind,
    ledger::{Amounts, Measure},
    price::NanoUsd,
};

/// The most that one request may use.
///
/// It is held against the worst case of a request, which is known before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceiling {
    account: Arc<str>,
    most: Vec<(Measure, u64)>,
    on_excess: OnExcess,
}

/// What becomes of a request that may use more than one request may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExcess {
    /// It is refused.
    #[default]
    Refuse,
    /// The cap on its output is lowered to what fits; it is refused where not even a token does.
    Lower,
    /// It goes on, and what would have been said is written down.
    Shadow,
}

impl Ceiling {
    /// A ceiling of `account`, such as `key:search`, under which everything fits.
    pub fn new(account: impl Into<Arc<str>>) -> Self {
        Self { account: account.into(), most: Vec::new(), on_excess: OnExcess::default() }
    }

    /// Sets how much one request may cost.
    #[must_use]
    pub fn usd(self, most: NanoUsd) -> Self {
        self.with(Measure::Usd, most.0)
    }

    /// Sets how many tokens a prompt may have.
    #[must_use]
    pub fn input(self, most: u64) -> Self {
        self.with(Measure::Input, most)
    }

    /// Sets how many tokens an answer may have, or all answers together if several are asked for.
    #[must_use]
    pub fn output(self, most: u64) -> Self {
        self.with(Measure::Output, most)
    }

    /// Sets how many tokens prompt and answer may have together.
    #[must_use]
    pub fn tokens(self, most: u64) -> Self {
        self.with(Measure::Tokens, most)
    }

    /// Sets what becomes of a request that may use more.
    #[must_use]
    pub fn on_excess(self, on_excess: OnExcess) -> Self {
        Self { on_excess, ..self }
    }

    fn with(mut self, measure: Measure, most: u64) -> Self {
        self.most.push((measure, most));
        self
    }

    pub(super) fn does(&self, on_excess: OnExcess) -> bool {
        self.on_excess == on_excess
    }

    /// Whether it needs the tokens of a request.
    pub(super) fn counts(&self) -> bool {
        self.most.iter().any(|(measure, _)| *measure != Measure::Usd)
    }

    /// Whether it needs the price of a request.
    pub(super) fn is_budget(&self) -> bool {
        self.on_excess != OnExcess::Shadow && self.most.iter().any(|(measure, _)| *measure == Measure::Usd)
    }

    /// Complains of a request that may use `worst`, if that is too much.
    pub(super) fn check(&self, worst: &Amounts) -> Result<(), Error> {
        let Some((measure, most)) = self.most.iter().find(|(measure, most)| worst.spent(*measure) > *most)
        else {
            return Ok(());
        };
        let (allowed, needed) = (measure.show(*most), measure.show(worst.spent(*measure)));
        let message = format!(
            "a request of {} may use {allowed} at the most, and this one may use {needed}",
            self.account
        );
        Err(Error::new(Kind::TooExpensive, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_measure_has_a_ceiling_of_its_own() {
        let worst = Amounts { cost: NanoUsd(7), input: 10, output: 20 };
        let check = |ceiling: Ceiling| ceiling.check(&worst).is_ok();
        let any = || Ceiling::new("key:a");

        assert!(check(any().usd(NanoUsd(7)).input(10).output(20).tokens(30)));
        for over in [any().usd(NanoUsd(6)), any().input(9), any().output(19), any().tokens(29)] {
            assert!(!check(over.clone()), "{over:?}");
        }
    }

    #[test]
    fn a_refusal_says_whose_ceiling_it_is_and_by_how_much_it_is_exceeded() {
        let worst = Amounts { cost: NanoUsd(730_000_000), ..Amounts::default() };

        let error = Ceiling::new("team:search").usd(NanoUsd(500_000_000)).check(&worst).unwrap_err();

        assert_eq!(error.kind(), Kind::TooExpensive);
        assert_eq!(
            error.message(),
            "a request of team:search may use 0.5 usd at the most, and this one may use 0.73 usd"
        );
    }
}
