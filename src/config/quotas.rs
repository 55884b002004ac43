use std::{collections::BTreeMap, fmt, num::NonZeroU32, str::FromStr, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, PerRequest, Problem, Several,
    alerts::{check_thresholds, thresholds},
    units::{Unit, Written},
};
use crate::{
    access::Pattern,
    budget::Ceiling,
    labels::Rule,
    ledger::{Measure, Period, Quota, Scope, Zone},
    price::NanoUsd,
    request_limit::Rate,
};

/// What may be spent in a period: dollars or tokens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Budget {
    /// The most that may be spent in one period, in dollars.
    #[serde(default)]
    pub usd: Option<Written<NanoUsd>>,
    /// The most tokens that may be used in one period, input and output together.
    #[serde(default)]
    pub tokens: Option<Written<Count>>,
    /// When it begins anew, by the calendar in the time zone of the configuration or of its own, such as
    /// `month in Europe/Berlin`; or a time that looks back, such as 30d.
    pub per: Written<Period>,
    /// Whether it only counts and reports, and refuses nothing.
    #[serde(default)]
    pub shadow: bool,
    /// The parts that are told when they are used, in percent; those of `alerts.at` if it isn't given.
    #[serde(default)]
    pub alert_at: Option<Vec<u16>>,
}

/// How often, and how much at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// How many requests may be made.
    pub requests: Several<Written<Allowance>>,
    /// How many tokens may be used, input and output together.
    pub tokens: Several<Written<Allowance>>,
    /// How many tokens prompts may have.
    pub input_tokens: Several<Written<Allowance>>,
    /// How many tokens answers may have.
    pub output_tokens: Several<Written<Allowance>>,
    /// How many requests may be under way at the same time.
    pub concurrent: Option<Written<Count>>,
    /// The same for some models, by the names that clients ask for, with `*` for any run of characters: a
    /// route of `models` is matched by its own name, and not by those of its targets.
    pub models: BTreeMap<String, Limits>,
    /// Whether they only count and report, and refuse nothing.
    pub shadow: bool,
    /// The parts of those by the day and longer that are told when they are used, in percent; those of
    /// `alerts.at` if it isn't given.
    pub alert_at: Option<Vec<u16>>,
}

/// A number, written `600`, `100k` or `2M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

/// So much in a period, written `600/minute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// How much.
    pub amount: Count,
    /// In what time.
    pub period: Period,
}

impl FromStr for Count {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (digits, factor) = match text.as_bytes().last() {
            Some(b'k') => (&text[..text.len() - 1], 1_000),
            Some(b'M') => (&text[..text.len() - 1], 1_000_000),
            _ => (text, 1),
        };
        let number: u64 = digits.parse().map_err(|_| ())?;
        number.checked_mul(factor).map(Self).ok_or(())
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            n if n.is_multiple_of(1_000_000) => write!(f, "{}M", n / 1_000_000),
            n if n.is_multiple_of(1_000) => write!(f, "{}k", n / 1_000),
            n => n.fmt(f),
        }
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.amount, self.period)
    }
}

impl Unit for Count {
    const NAME: &'static str = "Count";
    const FORM: &'static str = "a number such as 600, 100k or 2M";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn json_types() -> &'static [&'static str] {
        &["integer", "string"]
    }
}

impl Unit for Allowance {
    const NAME: &'static str = "Allowance";
    const FORM: &'static str = "an amount in a time, such as 600/minute or 2M/day; times are second, minute, hour, day, \
         week, month, quarter, year, total, or one that looks back such as 24h";

    fn read(text: &str) -> Option<Self> {
        let (amount, period) = text.split_once('/')?;
        Some(Self { amount: amount.trim().parse().ok()?, period: period.trim().parse().ok()? })
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Budget {
    fn quota(&self) -> Option<Quota> {
        let quota = match (self.usd, self.tokens) {
            (Some(usd), None) => Quota::usd(*usd, *self.per),
            (None, Some(tokens)) => Quota::new(Measure::Tokens, tokens.0, *self.per),
            _ => return None,
        };
        Some(quota.shadow(self.shadow))
    }
}

/// What the requests of one account are held to.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// Where days begin, if nothing else is said.
    zone: Option<Zone>,
    /// Rates that are checked before the body is read.
    pub(super) rates: Vec<(Arc<str>, Rate)>,
    /// What is asked of the ledger.
    pub(super) scopes: Vec<Scope>,
    /// What one request may use.
    pub(super) ceilings: Vec<Ceiling>,
    /// Whether other gateways count on the same accounts.
    is_shared: bool,
}

impl Quotas {
    pub(super) fn of(config: &Config) -> Self {
        Self { is_shared: config.store.is_shared(), ..Self::in_zone(config.zone()) }
    }

    pub(super) fn in_zone(zone: Option<Zone>) -> Self {
        Self { zone, ..Self::default() }
    }

    pub(super) fn add(&mut self, account: &str, budgets: &[Budget], limits: &Limits) {
        let account: Arc<str> = account.into();
        if !budgets.iter().filter_map(Budget::quota).any(|quota| quota.measure == Measure::Usd) {
            self.scopes.push(Scope::counted(account.clone()));
        }
        self.budgets(&account, budgets);
        self.limit(&account, None, limits);
        for (models, limits) in &limits.models {
            let account = format!("{account} {models}").into();
            self.limit(&account, Some(&Pattern::new(models.as_str())), limits);
        }
    }

    pub(super) fn bound(&mut self, account: &str, per_request: Option<&PerRequest>) {
        self.ceilings.extend(per_request.map(|per_request| per_request.ceiling(account)));
    }

    fn budgets(&mut self, account: &Arc<str>, budgets: &[Budget]) {
        for budget in budgets {
            let alert_at = budget.alert_at.as_deref().map(thresholds);
            let scope = budget.quota().map(|quota| scope(account, quota, self.zone));
            self.scopes.extend(scope.map(|scope| Scope { alert_at, ..scope }));
        }
    }

    fn limit(&mut self, account: &Arc<str>, models: Option<&Pattern>, limits: &Limits) {
        let alert_at = limits.alert_at.as_deref().map(thresholds);
        let zone = self.zone;
        let scope = |quota: Quota| Scope {
            models: models.cloned(),
            alert_at: alert_at.clone(),
            ..scope(account, quota, zone)
        };
        for requests in limits.requests.iter() {
            let rate = rate(requests).filter(|_| models.is_none() && !limits.shadow);
            // Where the ledger is shared it judges for all gateways; what the process counts by itself spares
            // it what is surely too much, and holds while it is away.
            if rate.is_none() || self.is_shared {
                self.scopes.push(scope(quota(Measure::Requests, requests, limits)));
            }
            self.rates.extend(rate.map(|rate| (account.clone(), rate)));
        }
        let measures = [
            (Measure::Tokens, &limits.tokens),
            (Measure::Input, &limits.input_tokens),
            (Measure::Output, &limits.output_tokens),
        ];
        for (measure, allowances) in measures {
            self.scopes.extend(allowances.iter().map(|allowance| scope(quota(measure, allowance, limits))));
        }
        let concurrent = limits.concurrent.map(|most| Quota::concurrent(most.0).shadow(limits.shadow));
        self.scopes.extend(concurrent.map(scope));
    }
}

/// A quota in a time zone.
fn scope(account: &Arc<str>, quota: Quota, zone: Option<Zone>) -> Scope {
    let period = in_zone(quota.period, zone);
    Scope::new(account.clone(), Quota { period, ..quota })
}

fn in_zone(period: Period, zone: Option<Zone>) -> Period {
    zone.map_or(period, |zone| period.in_zone(zone))
}

/// The same where nothing is checked before the body is read; none, if nothing is said.
pub(super) fn scopes(account: &str, budgets: &[Budget], limits: &Limits, zone: Option<Zone>) -> Vec<Scope> {
    if budgets.is_empty() && *limits == Limits::default() {
        return Vec::new();
    }
    let mut quotas = Quotas::in_zone(zone);
    quotas.add(account, budgets, limits);
    let Quotas { rates, mut scopes, .. } = quotas;
    scopes.extend(rates.into_iter().map(|(account, rate)| Scope::new(account, rate.quota())));
    scopes
}

/// The same for accounts whose names are only known when a request is there.
pub(super) fn rules(budgets: &[Budget], limits: &Limits, zone: Option<Zone>) -> Vec<Rule> {
    let mut quotas = Quotas::in_zone(zone);
    let account = Arc::from("");
    quotas.budgets(&account, budgets);
    quotas.limit(&account, None, limits);
    for (models, limits) in &limits.models {
        quotas.limit(&account, Some(&Pattern::new(models.as_str())), limits);
    }
    let rates = quotas.rates.iter().map(|(_, rate)| Rule::from(rate.quota()));
    rates.chain(quotas.scopes.into_iter().filter_map(Rule::of)).collect()
}

fn quota(measure: Measure, allowance: &Allowance, limits: &Limits) -> Quota {
    Quota::new(measure, allowance.amount.0, allowance.period).shadow(limits.shadow)
}

/// As a rate that is kept in the process and given back evenly; `None` if it has to outlive it.
fn rate(allowance: &Allowance) -> Option<Rate> {
    let per = match allowance.period {
        Period::Second => 1,
        Period::Minute => 60,
        Period::Hour => 3_600,
        _ => return None,
    };
    let requests = NonZeroU32::new(u32::try_from(allowance.amount.0).ok()?)?;
    Some(Rate { requests, per: Duration::from_secs(per) })
}

/// Complains of what can't be meant, where days begin in `zone` if nothing else is said.
pub(super) fn check(
    path: &str,
    budgets: &[Budget],
    limits: &Limits,
    zone: Option<Zone>,
    problems: &mut Vec<Problem>,
) {
    for (index, budget) in budgets.iter().enumerate() {
        let at =
            if budgets.len() == 1 { format!("{path}.budget") } else { format!("{path}.budget[{index}]") };
        check_thresholds(&format!("{at}.alert_at"), budget.alert_at.as_deref().unwrap_or_default(), problems);
        match (budget.usd, budget.tokens) {
            (None, None) => problems.push(Problem::at(at, "has neither `usd` nor `tokens`")),
            (Some(_), Some(_)) => {
                problems.push(Problem::at(at, "has both `usd` and `tokens`; write two budgets"));
            }
            _ => {}
        }
    }
    let twice = |budget: &Budget, other: &Budget| {
        in_zone(*budget.per, zone) == in_zone(*other.per, zone) && budget.usd.is_some() == other.usd.is_some()
    };
    let is_double =
        |(index, budget): (usize, &Budget)| budgets[..index].iter().any(|other| twice(budget, other));
    if budgets.iter().enumerate().any(is_double) {
        problems.push(Problem::at(format!("{path}.budget"), "has two budgets of one kind and one period"));
    }
    let path = format!("{path}.limits");
    check_doubles(&path, limits, budgets, zone, problems);
    let mut check_at = |path: &str, limits: &Limits| {
        let at = limits.alert_at.as_deref().unwrap_or_default();
        check_thresholds(&format!("{path}.alert_at"), at, problems);
    };
    check_at(&path, limits);
    limits.models.iter().for_each(|(name, limits)| check_at(&format!("{path}.models.\"{name}\""), limits));
    for (name, _) in limits.models.iter().filter(|(_, limits)| !limits.models.is_empty()) {
        problems.push(Problem::at(format!("{path}.models.\"{name}\".models"), "is one level too many"));
    }
}

/// Two quotas of one kind and one period would be one account, on which everything counts twice.
fn check_doubles(
    path: &str,
    limits: &Limits,
    budgets: &[Budget],
    zone: Option<Zone>,
    problems: &mut Vec<Problem>,
) {
    let measures = [
        ("requests", &limits.requests),
        ("tokens", &limits.tokens),
        ("input_tokens", &limits.input_tokens),
        ("output_tokens", &limits.output_tokens),
    ];
    for (name, allowances) in measures {
        let periods: Vec<_> = allowances.iter().map(|allowance| in_zone(allowance.period, zone)).collect();
        if (1..periods.len()).any(|index| periods[..index].contains(&periods[index])) {
            problems.push(Problem::at(format!("{path}.{name}"), "has two limits of one period"));
        }
        let is_double =
            |budget: &Budget| budget.tokens.is_some() && periods.contains(&in_zone(*budget.per, zone));
        if name == "tokens" && budgets.iter().any(is_double) {
            let message = "has a limit of the period that a budget of tokens has; the smaller one is enough";
            problems.push(Problem::at(format!("{path}.{name}"), message));
        }
    }
    for (models, limits) in &limits.models {
        check_doubles(&format!("{path}.models.\"{models}\""), limits, &[], zone, problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn quotas_that_would_count_twice_are_refused() {
        let problem = |of_key: &str| {
            let text =
                format!("timezone: Europe/Berlin\nkeys: [ {{ name: a, key: 0123456789abcdef, {of_key} }} ]");
            Config::read(&text, "f", &|_| None).err().map(|error| error.to_string())
        };

        for (of_key, wrong) in [
            ("limits: { requests: [ 5/minute, 6/minute ] }", "limits.requests: has two limits of one period"),
            ("limits: { models: { m: { tokens: [ 5/24h, 6/1d ] } } }", "has two limits of one period"),
            (
                "limits: { tokens: 5/day }, budget: { tokens: 4, per: day }",
                "limits.tokens: has a limit of the period",
            ),
            (
                "budget: [ { usd: 9, per: month }, { usd: 8, per: month in Europe/Berlin } ]",
                "budget: has two budgets of one kind and one period",
            ),
            (
                "limits: { tokens: [ 1M/day, 500k/day in Europe/Berlin ] }",
                "limits.tokens: has two limits of one period",
            ),
            (
                "limits: { tokens: 5/day in Europe/Berlin }, budget: { tokens: 4, per: day }",
                "limits.tokens: has a limit of the period",
            ),
            (
                "limits: { models: { m: { tokens: 5/day, alert_at: [ 5000 ] } } }",
                "limits.models.\"m\".alert_at: expected percentages",
            ),
        ] {
            assert!(problem(of_key).is_some_and(|problem| problem.contains(wrong)), "{of_key}");
        }
        for of_key in [
            "limits: { requests: [ 5/minute, 6/hour ] }",
            "budget: [ { usd: 9, per: month }, { usd: 8, per: month in Europe/Lisbon } ]",
            "limits: { tokens: 5/day, models: { m: { tokens: 5/day } } }, budget: { tokens: 4, per: 24h }",
            "limits: { input_tokens: 5/day, output_tokens: 5/day }, budget: { tokens: 4, per: day }",
        ] {
            assert_eq!(problem(of_key), None, "{of_key}");
        }
    }

    #[test]
    fn amounts_are_read_as_they_are_written() {
        for (text, amount, period) in [
            ("600/minute", 600, Period::Minute),
            ("100k/day", 100_000, Period::Day),
            ("2M / 24h", 2_000_000, Period::Rolling(86_400)),
            ("0/total", 0, Period::Total),
        ] {
            let allowance = Allowance::read(text).unwrap();

            assert_eq!(allowance, Allowance { amount: Count(amount), period });
            assert_eq!(Allowance::read(&allowance.write()), Some(allowance));
        }
        for wrong in
            ["", "600", "/minute", "1.5/minute", "-1/day", "1kk/day", "1/fortnight", "99999999999999M/day"]
        {
            assert_eq!(Allowance::read(wrong), None, "{wrong}");
        }
    }
}
