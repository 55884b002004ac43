use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics::{Label, gauge};

use super::{Config, Standings};
use crate::{
    in_flight::InFlightLayer,
    ledger::{Ledger, Measure, Scope, usage},
    lock,
    metrics::{BREAKER_STATE, BUDGET_LEFT, BUDGET_LIMIT, BUILD_INFO, IN_FLIGHT, Names},
    price::NanoUsd,
};

/// The most budgets that are shown.
const MOST: usize = 1_000;
/// How long the ledger may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What holds at the moment: who asks for measurements has it [looked up](Self::look) before.
pub struct Gauges {
    standings: Standings,
    ledger: Arc<dyn Ledger>,
    places: InFlightLayer,
    config: Box<dyn Fn() -> Arc<Config> + Send + Sync>,
    /// Those that were shown the last time, so that what is no longer there can be taken back.
    shown: Mutex<BTreeSet<Series>>,
}

/// One gauge: its name and its labels.
type Series = (&'static str, Vec<(&'static str, String)>);

impl Gauges {
    /// Shows how the targets of `standings` stand, the budgets of whatever `config` says is in force as `ledger` has
    /// them, and how many of `places` are taken.
    pub fn new(
        standings: Standings,
        ledger: Arc<dyn Ledger>,
        places: InFlightLayer,
        config: impl Fn() -> Arc<Config> + Send + Sync + 'static,
    ) -> Self {
        gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Self { standings, ledger, places, config: Box::new(config), shown: Mutex::default() }
    }

    /// Looks everything up. While the ledger doesn't answer within a second, budgets stay as they were; at most 1,000
    /// are shown.
    pub async fn look(&self) {
        gauge!(IN_FLIGHT).set(self.places.taken() as f64);
        let mut values = self.breakers();
        match tokio::time::timeout(PATIENCE, self.budgets()).await {
            Ok(Some(budgets)) => values.extend(budgets),
            Ok(None) | Err(_) => {
                let shown = lock(&self.shown);
                let kept = shown.iter().filter(|(name, _)| [BUDGET_LEFT, BUDGET_LIMIT].contains(name));
                values.extend(kept.map(|series| (series.clone(), None)));
            }
        }
        self.show(values);
    }

    fn breakers(&self) -> Vec<(Series, Option<f64>)> {
        let states = self.standings.states().into_iter();
        states.map(|(target, state)| ((BREAKER_STATE, vec![("target", target)]), Some(state))).collect()
    }

    async fn budgets(&self) -> Option<Vec<(Series, Option<f64>)>> {
        let config = (self.config)();
        let holders = config.holders().filter(|holder| !holder.is_each);
        let budgets = holders.flat_map(|holder| holder.budgets());
        let scopes: Vec<Scope> = budgets.filter(is_shown).take(MOST).collect();
        let mut values = Vec::with_capacity(2 * scopes.len());
        for usage in usage(&*self.ledger, &scopes).await.ok()? {
            let (Some(quota), Some(left)) = (usage.scope.quota, usage.left()) else { continue };
            let labels =
                vec![("account", usage.scope.account.to_string()), ("per", quota.period.to_string())];
            values.push(((BUDGET_LIMIT, labels.clone()), Some(NanoUsd(quota.limit).as_usd())));
            values.push(((BUDGET_LEFT, labels), Some(NanoUsd(left).as_usd())));
        }
        Some(values)
    }

    /// Sets `values`, those aside that stay as they are; and what is gone to no number, since it can't be removed.
    fn show(&self, values: Vec<(Series, Option<f64>)>) {
        let shown = &mut *lock(&self.shown);
        let mut now = BTreeSet::new();
        for (series, value) in values {
            if let Some(value) = value {
                set(&series, value);
            }
            now.insert(series);
        }
        shown.difference(&now).for_each(|gone| set(gone, f64::NAN));
        *shown = now;
    }
}

/// Whether it is a budget for everything, and not one that only watches.
fn is_shown(scope: &Scope) -> bool {
    scope.models.is_none() && scope.quota.is_some_and(|quota| quota.measure == Measure::Usd && !quota.shadow)
}

fn set((name, labels): &Series, value: f64) {
    let labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(*name, value.clone())).collect();
    gauge!(*name, labels).set(value);
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}

impl Config {
    /// The names that measurements are made by: the models and targets of this configuration, and those of its
    /// providers that the list of prices knows.
    pub fn names(&self) -> Names {
        let listed = self.priced_models();
        let rules = self.models.values().flat_map(|model| &model.rules).flat_map(|rule| &rule.targets);
        let mirrors = self.models.values().flat_map(|model| model.mirror.iter());
        let targets = rules.map(|target| &*target.name).chain(mirrors.map(|mirror| &*mirror.name));
        let bare = listed.iter().filter_map(|name| Some(name.split_once('/')?.1));
        let models = self.models.keys().map(String::as_str);
        let demos = self.providers.keys().map(|name| format!("{name}/echo")).collect::<Vec<_>>();
        Names::new(models.chain(targets).chain(bare).chain(listed.iter().chain(&demos).map(String::as_str)))
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::ledger::MemoryLedger;

    fn config(budget: &str) -> Config {
        let text =
            format!("auth: open\nproviders: {{ d: {{ kind: demo }} }}\nteams: {{ t: {{ {budget} }} }}");
        Config::from_text(&text).unwrap()
    }

    #[tokio::test]
    async fn a_budget_that_is_gone_is_no_number_any_more() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _here = metrics::set_default_local_recorder(&recorder);
        let in_force = Arc::new(ArcSwap::from_pointee(config("budget: { usd: 5, per: day }")));
        let (ledger, read) = (Arc::new(MemoryLedger::default()), in_force.clone());
        let gauges =
            Gauges::new(Standings::default(), ledger, InFlightLayer::new(9), move || read.load_full());
        let shown = || recorder.handle().render();

        gauges.look().await;
        assert!(shown().contains(r#"bartizan_budget_left_usd{account="team:t",per="day"} 5"#), "{}", shown());

        in_force.store(Arc::new(config("")));
        gauges.look().await;
        assert!(
            shown().contains(r#"bartizan_budget_left_usd{account="team:t",per="day"} NaN"#),
            "{}",
            shown()
        );
    }

    #[test]
    fn names_are_those_of_the_configuration_and_of_the_list_of_prices() {
        let text = "auth: open\nproviders: { openai: { kind: openai, api_key: k }, d: { kind: demo } }\n\
            models: { chat: { targets: [ { use: d/own } ], rules: [ { name: r, when: 'true', targets: [ { use: d/other } ] } ] } }";
        let names = Config::from_text(text).unwrap().names();

        for known in ["chat", "openai/gpt-4o", "gpt-4o", "d/own", "d/echo"] {
            assert_eq!(names.model(known), known);
        }
        assert_eq!(names.model("made-up"), "other");
        assert_eq!(
            (names.target("d/other"), names.target("openai/made-up")),
            ("d/other".into(), "openai/other".into())
        );
    }
}
