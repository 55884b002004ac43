use super::NanoUsd;
use crate::{dialect::json::Member, preset::Object};

/// Where a provider says itself what an answer has cost.
///
/// ```
/// use bartizan::price::{NanoUsd, ReportedCost};
///
/// let cost = ReportedCost::usd(&["cost", "total_cost"]);
///
/// let said = br#"{"choices":[],"usage":{"prompt_tokens":9,"cost":{"total_cost":0.00613}}}"#;
/// assert_eq!(cost.read(said), Some(NanoUsd(6_130_000)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportedCost {
    /// Inside of `usage`.
    path: &'static [&'static str],
    /// How many decimals the number lacks to be one of dollars.
    decimals: u32,
    /// What is paid to somebody else, if the member is true.
    beside: Option<(&'static str, &'static [&'static str])>,
}

static USAGE: Member = Member::new(|| memchr::memmem::Finder::new(b"\"usage\""));

impl ReportedCost {
    /// A number of dollars at `path` inside of `usage`.
    pub const fn usd(path: &'static [&'static str]) -> Self {
        Self { path, decimals: 0, beside: None }
    }

    /// A number of parts of a dollar, of which there are ten to the power of `decimals`.
    #[must_use]
    pub const fn decimals(self, decimals: u32) -> Self {
        Self { decimals, ..self }
    }

    /// What is paid besides, at another path, when the member `flag` of `usage` is true.
    #[must_use]
    pub const fn beside(self, flag: &'static str, path: &'static [&'static str]) -> Self {
        Self { beside: Some((flag, path)), ..self }
    }

    /// The cost in a whole answer or in an event's data, if it is there; a fraction of a nano-dollar is
    /// rounded up.
    pub fn read(&self, json: &[u8]) -> Option<NanoUsd> {
        if USAGE.value(json) != Some(b'{') {
            return None;
        }
        let answer = Object::read(std::str::from_utf8(json).ok()?.trim_ascii())?;
        let usage = Object::read(answer.get("usage")?)?;
        let cost = self.amount(&usage, self.path)?;
        let beside = self.beside.filter(|(flag, _)| usage.get(flag) == Some("true"));
        let beside = beside.and_then(|(_, path)| self.amount(&usage, path)).unwrap_or_default();
        Some(cost + beside)
    }

    fn amount(&self, usage: &Object<'_>, path: &[&str]) -> Option<NanoUsd> {
        let (last, above) = path.split_last()?;
        let mut object = usage.clone();
        for name in above {
            object = Object::read(object.get(name)?)?;
        }
        NanoUsd::at_least(object.get(last)?, self.decimals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cost: ReportedCost, usage: &str) -> Option<u64> {
        cost.read(format!(r#"{{"usage":{usage}}}"#).as_bytes()).map(|cost| cost.0)
    }

    #[test]
    fn a_cost_is_read_exactly_and_rounded_up_once() {
        let dollars = ReportedCost::usd(&["cost"]);
        let ticks = ReportedCost::usd(&["cost_in_usd_ticks"]).decimals(10);

        assert_eq!(read(dollars, r#"{"cost":0.00014865}"#), Some(148_650));
        assert_eq!(read(dollars, r#"{"cost":1.5e-7}"#), Some(150));
        assert_eq!(read(dollars, r#"{"cost":0.0000000001}"#), Some(1));
        assert_eq!(read(dollars, r#"{"cost":0}"#), Some(0));
        assert_eq!(read(ticks, r#"{"cost_in_usd_ticks":37756000}"#), Some(3_775_600));
        assert_eq!(read(ticks, r#"{"cost_in_usd_ticks":11}"#), Some(2));
    }

    #[test]
    fn what_is_paid_to_another_comes_to_it_if_it_is() {
        let cost =
            ReportedCost::usd(&["cost"]).beside("is_byok", &["cost_details", "upstream_inference_cost"]);

        let own = r#"{"cost":0.01,"is_byok":true,"cost_details":{"upstream_inference_cost":0.2}}"#;
        let theirs = r#"{"cost":0.21,"is_byok":false,"cost_details":{"upstream_inference_cost":0.2}}"#;

        assert_eq!(read(cost, own), Some(210_000_000));
        assert_eq!(read(cost, theirs), Some(210_000_000));
        assert_eq!(read(cost, r#"{"cost":0.01,"is_byok":true}"#), Some(10_000_000));
    }

    #[test]
    fn what_is_no_amount_is_not_taken_for_one() {
        let cost = ReportedCost::usd(&["cost", "total_cost"]);

        for usage in
            [r#"{"cost":1}"#, r#"{"cost":{"total_cost":-1}}"#, r#"{"cost":{"total_cost":"x"}}"#, "{}"]
        {
            assert_eq!(read(cost, usage), None, "{usage}");
        }
        assert_eq!(cost.read(b"{}"), None);
        assert_eq!(cost.read(br#"{"metadata":{"usage":{"cost":{"total_cost":1}}}}"#), None);
    }
}
