use std::{num::NonZeroU32, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Problem, Secret, Several, units::Written};
use crate::{
    access::Pattern,
    alerts::{self, Unusual, WebhookOptions},
    loops,
    price::NanoUsd,
};

/// What people are told of, and where; a line in the log is always written. Takes a restart to change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Alerts {
    /// The parts of budgets, and of limits by the day and longer, that are told when they are used, in percent.
    pub at: Vec<u16>,
    /// Where alerts are sent.
    pub webhooks: Several<Webhook>,
    /// What spend is unusual.
    pub velocity: Option<Velocity>,
    /// What else is told: when it is so, and when it isn't any more.
    pub rules: Vec<AlertRule>,
}

/// Something that is told when it is so, and when it isn't any more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AlertRule {
    /// Its name, which no other rule has.
    pub name: String,
    /// When it is so: `error_share > 5%`, `p95 > 10s`, `first_event_p95 > 2s`, `spend > 50` (dollars), `drift > 40%`,
    /// `breaker_open` or `records_lost > 0`.
    pub when: String,
    /// The requests that it looks at: all if it isn't given.
    #[serde(default)]
    pub of: AlertOf,
    /// The time that it looks back: 5m if it isn't given.
    #[serde(default)]
    pub over: Option<Written<Duration>>,
    /// How many requests there have to be in that time: one if it isn't given.
    #[serde(default)]
    pub at_least: Option<u64>,
    /// For how long it has to be so before it is told.
    #[serde(default, rename = "for")]
    pub lasts: Option<Written<Duration>>,
    /// A word that receivers may go by: `warning` if it isn't given.
    #[serde(default)]
    pub severity: Option<String>,
}

/// Which requests a rule looks at: those to which all of it applies, with `*` for any run of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct AlertOf {
    /// The model that was asked for.
    pub model: Option<String>,
    /// Who was asked, `provider/model`; then every attempt counts instead of the request.
    pub target: Option<String>,
    /// The name of the key.
    pub key: Option<String>,
    /// The name of the team.
    pub team: Option<String>,
    /// The name of the customer.
    pub customer: Option<String>,
}

impl AlertRule {
    fn rule(&self) -> Result<alerts::Rule, String> {
        let pattern = |text: &Option<String>| text.as_deref().map(Pattern::new);
        let AlertOf { model, target, key, team, customer } = &self.of;
        let mut rule = alerts::Rule::new(&self.name, self.when.parse()?).of(alerts::Of {
            model: pattern(model),
            target: pattern(target),
            key: pattern(key),
            team: pattern(team),
            customer: pattern(customer),
        });
        if let Some(over) = self.over {
            rule = rule.over(*over);
        }
        if let Some(requests) = self.at_least {
            rule = rule.at_least(requests);
        }
        if let Some(lasts) = self.lasts {
            rule = rule.lasts(*lasts);
        }
        Ok(self.severity.iter().fold(rule, |rule, severity| rule.severity(severity)))
    }

    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let AlertOf { model, target, key, team, customer } = &self.of;
        let is_of_requests = [model, key, team, customer].into_iter().any(Option::is_some);
        let measured = self.when.parse().map(alerts::Condition::measured);
        let counts = !matches!(measured, Ok(alerts::Measured::BreakerOpen | alerts::Measured::RecordsLost));
        if self.at_least.is_some() && !counts {
            let message =
                "is of use where requests are looked at, and not with `breaker_open` and `records_lost`";
            problems.push(Problem::at(format!("{path}.at_least"), message));
        }
        match measured {
            Err(wrong) => problems.push(Problem::at(format!("{path}.when"), wrong)),
            Ok(alerts::Measured::BreakerOpen) if is_of_requests => {
                problems.push(Problem::at(format!("{path}.of"), "breakers are of a `target` only"));
            }
            Ok(alerts::Measured::RecordsLost) if is_of_requests || target.is_some() => {
                problems.push(Problem::at(format!("{path}.of"), "lost records are nobody's"));
            }
            Ok(_) => {}
        }
        if self.over.is_some_and(|over| *over < Duration::from_secs(1)) {
            problems.push(Problem::at(format!("{path}.over"), "is shorter than a second"));
        }
        if self.name.is_empty() {
            problems.push(Problem::at(format!("{path}.name"), "is empty"));
        }
    }
}

impl Default for Alerts {
    fn default() -> Self {
        Self { at: vec![50, 80, 100], webhooks: Several::default(), velocity: None, rules: Vec::new() }
    }
}

/// Where alerts are sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Webhook {
    /// The address, which is kept secret.
    pub url: Secret,
    /// With what messages are signed, as Standard Webhooks has it: `whsec_` and base64, or any text.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// What is sent.
    #[serde(default)]
    pub format: WebhookFormat,
}

/// What is sent to a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WebhookFormat {
    /// A JSON object with all that is known.
    #[default]
    Json,
    /// A sentence, in the form of Slack.
    Slack,
}

/// What spend is unusual: so many times what an account has spent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Velocity {
    /// How many times.
    pub factor: NonZeroU32,
    /// The time that is looked at.
    pub over: Written<Duration>,
    /// The time before, with whose mean it is compared.
    pub against: Written<Duration>,
    /// What is worth telling at all, in dollars.
    pub at_least_usd: Written<NanoUsd>,
}

impl Default for Velocity {
    fn default() -> Self {
        Self {
            factor: NonZeroU32::MIN.saturating_add(4),
            over: Written::new(Duration::from_secs(300)),
            against: Written::new(Duration::from_secs(86_400)),
            at_least_usd: Written::new(NanoUsd::from_usd(1)),
        }
    }
}

/// What is a loop that has run away, and is refused. Takes a restart to change where it stands at the top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Loops {
    /// The same request of the same key, answered more often than that.
    pub same_request: Option<SameRequest>,
    /// A session that spends more than that.
    pub session_usd: Option<SessionUsd>,
    /// Whether it is only told, and nothing refused.
    pub shadow: bool,
}

/// How often the same request may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SameRequest {
    /// How often.
    pub more_than: NonZeroU32,
    /// In what time.
    pub per: Written<Duration>,
}

/// What a session may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SessionUsd {
    /// How much, in dollars.
    pub more_than: Written<NanoUsd>,
    /// In what time.
    pub per: Written<Duration>,
}

impl Alerts {
    /// What is told, without the webhooks.
    pub fn settings(&self) -> alerts::Settings {
        let settings = alerts::Settings::default().at(self.at.iter().copied());
        match self.velocity {
            Some(Velocity { factor, over, against, at_least_usd }) => {
                settings.velocity(Unusual::new(factor.get(), *over, *against).at_least(*at_least_usd))
            }
            None => settings,
        }
    }

    /// What else is told.
    ///
    /// # Errors
    ///
    /// What [`Config::check`] complains of.
    pub fn rules(&self) -> Result<alerts::Rules, String> {
        let rules = self.rules.iter().map(AlertRule::rule).collect::<Result<Vec<_>, _>>()?;
        Ok(alerts::Rules::new(rules))
    }

    /// How the webhooks are called.
    ///
    /// # Errors
    ///
    /// What [`Config::check`] complains of.
    pub fn webhooks(&self) -> Result<Vec<WebhookOptions>, &'static str> {
        self.webhooks.iter().map(Webhook::options).collect()
    }
}

impl Webhook {
    fn options(&self) -> Result<WebhookOptions, &'static str> {
        let options = WebhookOptions::new(&self.url)?.format(match self.format {
            WebhookFormat::Json => alerts::Format::Json,
            WebhookFormat::Slack => alerts::Format::Slack,
        });
        match &self.secret {
            Some(secret) => options.secret(secret),
            None => Ok(options),
        }
    }

    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        if let Err(wrong) = WebhookOptions::new(&self.url) {
            problems.push(Problem::at(format!("{path}.url"), wrong));
        } else if let Err(wrong) = self.options() {
            problems.push(Problem::at(format!("{path}.secret"), wrong));
        }
    }
}

impl Loops {
    pub(super) fn rules(&self) -> loops::Loops {
        let mut rules = loops::Loops::default().shadow(self.shadow);
        if let Some(SameRequest { more_than, per }) = self.same_request {
            rules = rules.same_request(more_than.get(), *per);
        }
        if let Some(SessionUsd { more_than, per }) = self.session_usd {
            rules = rules.session(*more_than, *per);
        }
        rules
    }

    pub(super) fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let times = [
            ("same_request", self.same_request.map(|same| *same.per)),
            ("session_usd", self.session_usd.map(|session| *session.per)),
        ];
        for (name, time) in times {
            if time.is_some_and(|time| time < Duration::from_secs(1)) {
                problems.push(Problem::at(format!("{path}.{name}.per"), "is shorter than a second"));
            }
        }
    }
}

impl Config {
    /// What is a loop, where a key doesn't say.
    pub fn loop_rules(&self) -> loops::Loops {
        self.loops.rules()
    }

    pub(super) fn check_alerts(&self, problems: &mut Vec<Problem>) {
        check_thresholds("alerts.at", &self.alerts.at, problems);
        for (index, webhook) in self.alerts.webhooks.iter().enumerate() {
            webhook.check(&format!("alerts.webhooks[{index}]"), problems);
        }
        for (index, rule) in self.alerts.rules.iter().enumerate() {
            let path = format!("alerts.rules[{index}]");
            rule.check(&path, problems);
            if self.alerts.rules[..index].iter().any(|other| other.name == rule.name) {
                problems.push(Problem::at(format!("{path}.name"), "is the name of another rule"));
            }
        }
        if let Some(Velocity { over, against, .. }) = self.alerts.velocity {
            if *over < Duration::from_secs(1) {
                problems.push(Problem::at("alerts.velocity.over", "is shorter than a second"));
            }
            if *against < *over * 2 {
                let message = "has to be at least twice as long as `over`, which it is compared with";
                problems.push(Problem::at("alerts.velocity.against", message));
            }
        }
        self.loops.check("loops", problems);
    }
}

/// Complains of parts that can't be.
pub(super) fn check_thresholds(path: &str, at: &[u16], problems: &mut Vec<Problem>) {
    if at.iter().any(|percent| !(1..=1_000).contains(percent)) {
        problems.push(Problem::at(path, "expected percentages from 1 to 1000"));
    }
}

/// Thresholds of a quota, in their order.
pub(super) fn thresholds(at: &[u16]) -> Arc<[u16]> {
    alerts::rising(at.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_meant_is_told_by_its_place_and_no_address_is_shown() {
        let text = r#"
            auth: open
            alerts:
              at: [ 0, 80 ]
              webhooks:
                - { url: "hooks.example/secret-1" }
                - { url: "https://hooks.example/secret-2", secret: "whsec_*secret-3*", format: slack }
              velocity: { over: 1h, against: 90m }
              rules:
                - { name: a, when: "errors > 5%" }
                - { name: a, when: "p95 > 10", over: 5ms }
                - { name: b, when: breaker_open, of: { team: t } }
                - { name: c, when: breaker_open, at_least: 5 }
                - { name: d, when: records_lost > 0, at_least: 5 }
                - { name: e, when: p95 > 10s, at_least: 5 }
            loops: { same_request: { more_than: 20, per: 5ms } }
            keys: [ { name: a, key: 0123456789abcdef, loops: { session_usd: { more_than: 5, per: 1ms } },
                      budget: { usd: 1, per: day, alert_at: [ 2000 ] } } ]
        "#;

        let error = Config::read(text, "f", &|_| None).unwrap_err().to_string();

        for place in [
            "alerts.at: expected percentages",
            "alerts.webhooks[0].url: expected an address",
            "alerts.webhooks[1].secret: expected base64",
            "alerts.velocity.against: has to be at least twice",
            "alerts.rules[0].when: expected one of error_share",
            "alerts.rules[1].when: expected a time such as",
            "alerts.rules[1].over: is shorter",
            "alerts.rules[1].name: is the name of another rule",
            "alerts.rules[2].of: breakers are of a `target` only",
            "alerts.rules[3].at_least: is of use where requests are looked at",
            "alerts.rules[4].at_least: is of use where requests are looked at",
            "loops.same_request.per: is shorter",
            "keys[0].loops.session_usd.per: is shorter",
            "keys[0].budget.alert_at: expected percentages",
        ] {
            assert!(error.contains(place), "{place}: {error}");
        }
        assert!(!error.contains("secret-") && !error.contains("alerts.rules[5]"), "{error}");
    }

    #[test]
    fn one_webhook_needs_no_brackets_and_a_key_has_loops_of_its_own_or_its_teams() {
        let text = "
            alerts: { webhooks: { url: 'https://h/x', format: slack }, velocity: {} }
            loops: { same_request: { more_than: 20, per: 1m } }
            teams: { t: { loops: { shadow: true } } }
            keys:
              - { name: a, key: 0123456789abcdef }
              - { name: b, key: 0123456789abcdeg, team: t }
              - { name: c, key: 0123456789abcdeh, team: t, loops: {} }
        ";

        let config = Config::read(text, "f", &|_| None).unwrap();

        assert_eq!(config.alerts.webhooks().unwrap().len(), 1);
        assert_eq!(config.alerts.velocity, Some(Velocity::default()));
        assert_eq!(config.loop_rules(), loops::Loops::default().same_request(20, Duration::from_secs(60)));
        let of_keys = config.virtual_keys().into_iter().map(|(_, key)| key.loops);
        let shadow = loops::Loops::default().shadow(true);
        assert_eq!(
            of_keys.collect::<Vec<_>>(),
            [None, Some(shadow.into()), Some(loops::Loops::default().into())]
        );
    }
}
