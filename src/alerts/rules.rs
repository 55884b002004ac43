use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex},
};

use tokio::time::{Duration, Instant, MissedTickBehavior, interval};

use super::{
    Alerts, What,
    rule::{Held, Measured, Of, Rule},
    window::{Sample, Window},
};
use crate::{
    BoxError, BoxFuture,
    access::Pattern,
    lock,
    record::{Keep, Kept, Record},
};

/// How often it is looked whether rules hold.
const LOOK: Duration = Duration::from_secs(1);
/// For how long a rule has not to hold any more before that is told, at least.
const CALM: Duration = Duration::from_secs(5);

/// Watches whether [`Rule`]s hold, from the records of requests. Clones are the same.
///
/// It is a [`Keep`]er of records, behind their queue, so that no request waits for it; and a [task](Self::run) looks
/// every second. A rule that holds for as long as it has to is told once; it is resolved when what it looks at is a
/// tenth below its limit, or there is nothing to look at, for as long, and five seconds at least. Of targets that are
/// passed over each is told once while it is, also when others were before.
#[derive(Clone, Debug)]
pub struct Rules(Arc<[Watched]>);

/// What rules look at besides requests. It is asked every second, and must not wait.
#[derive(Clone)]
pub struct Others {
    /// The targets that are passed over.
    pub passed_over: Arc<dyn Fn() -> Vec<Box<str>> + Send + Sync>,
    /// How many records were lost so far.
    pub lost: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Others")
    }
}

#[derive(Debug)]
struct Watched {
    rule: Arc<Rule>,
    window: Mutex<Window>,
}

/// How a rule stands.
#[derive(Debug, Default)]
struct State {
    /// Whether it was told that it holds.
    is_firing: bool,
    /// Since when it is otherwise than told.
    since: Option<Instant>,
    /// How many records were lost when it was looked the last time.
    lost: Option<u64>,
    turn: Turn,
    /// The targets that were passed over since it holds.
    open: BTreeMap<Box<str>, Open>,
}

/// Which time it is that a rule holds, of those that followed each other so soon that there are marks of the ones before.
/// Nodes that see the same count the same.
#[derive(Debug, Default)]
struct Turn {
    number: u64,
    ended: Option<Instant>,
}

impl Turn {
    fn begin(&mut self, marked: Duration) {
        // What is told is marked a little later.
        let is_soon = self.ended.is_some_and(|ended| ended.elapsed() < marked + CALM);
        self.number = if is_soon { self.number + 1 } else { 0 };
    }

    fn end(&mut self) {
        self.ended = Some(Instant::now());
    }
}

/// A target that is passed over, or was.
#[derive(Debug)]
struct Open {
    /// Since when it is, without a pause.
    since: Option<Instant>,
    /// When it was the last time.
    last: Instant,
    is_told: bool,
    /// How often it was told.
    times: u64,
}

impl Rules {
    /// Watches these.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let watched =
            |rule: Rule| Watched { window: Mutex::new(Window::new(rule.over)), rule: Arc::new(rule) };
        Self(rules.into_iter().map(watched).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells `alerts` which rules hold, until it is dropped.
    pub fn run(&self, alerts: Alerts, others: Others) -> impl Future<Output = ()> + Send + use<> {
        let watched = self.0.clone();
        async move {
            let mut states: Vec<State> = watched.iter().map(|_| State::default()).collect();
            let mut ticks = interval(LOOK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                for (watched, state) in watched.iter().zip(&mut states) {
                    if let Some(held) = state.look(watched, &others) {
                        alerts.tell(What::Rule(held));
                    }
                }
            }
        }
    }

    fn note(&self, record: &Record) {
        // What breakers and queues do isn't told by requests.
        let by_requests = |watched: &&Watched| {
            !matches!(watched.rule.when.measured, Measured::BreakerOpen | Measured::RecordsLost)
        };
        for Watched { rule, window } in self.0.iter().filter(by_requests) {
            let mut window = lock(window);
            samples(rule, record).for_each(|sample| window.add(sample));
        }
    }
}

impl Keep for Rules {
    fn name(&self) -> &str {
        "alerts"
    }

    fn keeps_content(&self) -> bool {
        false
    }

    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        batch.iter().for_each(|kept| self.note(kept.record()));
        Box::pin(std::future::ready(Ok(())))
    }
}

impl State {
    /// Looks at what a rule is about, and says what is to be told of it.
    fn look(&mut self, Watched { rule, window }: &Watched, others: &Others) -> Option<Held> {
        let targets = match rule.when.measured {
            Measured::BreakerOpen => {
                let mut targets = (others.passed_over)();
                targets.retain(|target| is(&rule.of.target, Some(target)));
                targets
            }
            _ => Vec::new(),
        };
        let value = match rule.when.measured {
            Measured::BreakerOpen => Some(targets.len() as f64),
            Measured::RecordsLost => {
                let lost = (others.lost)();
                let more = lost.saturating_sub(self.lost.replace(lost).unwrap_or(0));
                let mut window = lock(window);
                // Each that was lost costs one.
                window.add(Sample { cost: more as f64, ..Sample::default() });
                Some(window.sums().0.cost)
            }
            _ => measured(rule, &mut lock(window)),
        };
        let holds = value.is_some_and(|value| rule.when.holds(value, self.is_firing));
        let value = value.unwrap_or(0.0);
        if holds == self.is_firing {
            self.since = None;
            let further = if holds { self.further(rule, &targets) } else { Vec::new() };
            return (!further.is_empty()).then(|| self.tell(rule, value, further));
        }
        let needed = if holds { rule.lasts } else { rule.lasts.max(CALM) };
        if self.since.get_or_insert_with(Instant::now).elapsed() < needed {
            return None;
        }
        (self.is_firing, self.since) = (holds, None);
        if holds {
            self.turn.begin(rule.marked());
            self.see(rule, &targets);
            return Some(self.tell(rule, value, targets));
        }
        self.turn.end();
        self.open.clear();
        Some(self.tell(rule, value, Vec::new()))
    }

    /// Those that nobody was told of, and that are passed over for long enough.
    fn further(&mut self, rule: &Rule, targets: &[Box<str>]) -> Vec<Box<str>> {
        self.see(rule, targets);
        let is_due =
            |open: &Open| !open.is_told && open.since.is_some_and(|since| since.elapsed() >= rule.lasts);
        self.open.iter().filter(|(_, open)| is_due(open)).map(|(target, _)| target.clone()).collect()
    }

    /// Notes which targets are passed over now.
    fn see(&mut self, rule: &Rule, targets: &[Box<str>]) {
        let now = Instant::now();
        for target in targets {
            let new = || Open { since: None, last: now, is_told: false, times: 0 };
            let open = self.open.entry(target.clone()).or_insert_with(new);
            open.since.get_or_insert(now);
            open.last = now;
        }
        for open in self.open.values_mut().filter(|open| open.last < now) {
            open.since = None;
            // One that is asked again for a moment is still the same.
            open.is_told &= now - open.last < rule.lasts.max(CALM);
        }
    }

    fn tell(&mut self, rule: &Arc<Rule>, value: f64, targets: Vec<Box<str>>) -> Held {
        let state = if self.is_firing { "firing" } else { "resolved" };
        let mark = format!("alert:rule:{}:{state}:{}", rule.name, self.turn.number);
        let mut marks: Vec<_> = targets
            .iter()
            .filter_map(|target| {
                let open = self.open.get_mut(target)?;
                open.is_told = true;
                open.times += 1;
                Some(format!("{mark}:{}:{target}", open.times))
            })
            .collect();
        if targets.is_empty() {
            marks.push(mark);
        }
        Held { rule: rule.clone(), value, targets, resolved: !self.is_firing, marks }
    }
}

/// What a rule looks at; `None` if there is too little of it.
fn measured(rule: &Rule, window: &mut Window) -> Option<f64> {
    let (lately, before) = window.sums();
    if lately.requests < rule.at_least {
        return None;
    }
    match rule.when.measured {
        Measured::ErrorShare => Some(lately.failed as f64 / lately.requests.max(1) as f64),
        Measured::P95 | Measured::FirstEventP95 => lately.p95(),
        Measured::Drift => {
            let is_known = before.requests >= rule.at_least && before.cost > 0.0;
            is_known.then(|| (lately.cost - before.cost) / before.cost)
        }
        _ => Some(lately.cost),
    }
}

/// What of a record a rule looks at: the request, or its attempts at a target.
fn samples<'r>(rule: &'r Rule, record: &'r Record) -> impl Iterator<Item = Sample> + 'r {
    let Of { model, target, key, team, customer } = &rule.of;
    // Nobody has waited for a copy.
    let applies = record.mirrors.is_none()
        && is(model, record.model.as_deref())
        && is(key, record.key.as_deref())
        && is(team, record.team.as_deref())
        && is(customer, record.customer.as_deref());
    let first = rule.when.measured == Measured::FirstEventP95;
    let attempts = record.attempts.iter().filter(move |attempt| {
        applies && target.as_ref().is_some_and(|target| target.matches(&attempt.target))
    });
    let attempts = attempts.map(move |attempt| {
        let end = if first { attempt.first_byte } else { attempt.ended };
        Sample {
            failed: attempt.has_failed(),
            time: end.map(|end| end.saturating_sub(attempt.started).as_secs_f64()),
            cost: attempt.cost.map_or(0.0, |cost| cost.0 as f64 / 1e9),
        }
    });
    let whole = (applies && target.is_none()).then(|| Sample {
        failed: record.has_failed(),
        time: if first { record.first_event } else { Some(record.duration) }.map(|time| time.as_secs_f64()),
        cost: record.cost.0 as f64 / 1e9,
    });
    attempts.chain(whole)
}

fn is(wanted: &Option<Pattern>, has: Option<&str>) -> bool {
    wanted.as_ref().is_none_or(|wanted| has.is_some_and(|has| wanted.matches(has)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::sleep;

    use super::*;
    use crate::{
        Exchange, Kind,
        alerts::{Alert, Settings, Tell},
        body::End,
        ledger::MemoryLedger,
        price::NanoUsd,
        record::ContentRules,
    };

    #[derive(Debug, Default)]
    struct Told(Mutex<Vec<String>>);

    impl Tell for Told {
        fn tell(&self, alert: &Arc<Alert>) {
            lock(&self.0).push(alert.text());
        }
    }

    /// A gateway that watches one rule.
    struct Gateway {
        rules: Rules,
        told: Arc<Told>,
        passed_over: Arc<Mutex<Vec<Box<str>>>>,
        lost: Arc<AtomicU64>,
    }

    impl Gateway {
        fn new(ledger: &Arc<MemoryLedger>, rule: Rule) -> Self {
            let (rules, told) = (Rules::new([rule]), Arc::<Told>::default());
            let (alerts, task) = Alerts::new(ledger.clone(), Settings::default().tell(told.clone()));
            let (passed_over, lost) = (Arc::<Mutex<Vec<Box<str>>>>::default(), Arc::<AtomicU64>::default());
            let (open, count) = (passed_over.clone(), lost.clone());
            let others = Others {
                passed_over: Arc::new(move || lock(&open).clone()),
                lost: Arc::new(move || count.load(Ordering::Relaxed)),
            };
            tokio::spawn(task);
            tokio::spawn(rules.run(alerts, others));
            Self { rules, told, passed_over, lost }
        }

        async fn sees(&mut self, count: usize, change: impl Fn(&mut Record)) {
            let mut record = Record::new(&Exchange::default(), Default::default(), None, End::Complete);
            change(&mut record);
            let kept = Arc::new(Kept::new(record, &ContentRules::default()));
            self.rules.keep(&vec![kept; count]).await.unwrap();
        }

        fn told(&self) -> Vec<String> {
            std::mem::take(&mut *lock(&self.told.0))
        }
    }

    fn rule(when: &str) -> Rule {
        Rule::new("r", when.parse().unwrap()).over(Duration::from_secs(60))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fails(record: &mut Record) {
        (record.error, record.status) = (Some(Kind::Upstream), Some(502));
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_of_errors_is_told_when_it_lasts_and_once_more_when_it_is_over() {
        let ledger = Arc::default();
        let rule = rule("error_share > 5%").at_least(20).lasts(seconds(10));
        let (mut one, mut other) = (Gateway::new(&ledger, rule.clone()), Gateway::new(&ledger, rule));

        for gateway in [&mut one, &mut other] {
            gateway.sees(10, fails).await;
            gateway.sees(9, |_| {}).await;
        }
        sleep(seconds(15)).await;
        assert!(one.told().is_empty(), "too few");
        for gateway in [&mut one, &mut other] {
            gateway
                .sees(1, |record| (record.error, record.status) = (Some(Kind::Forbidden), Some(403)))
                .await;
        }
        sleep(seconds(5)).await;
        assert!(one.told().is_empty(), "too short");
        sleep(seconds(8)).await;

        let told = [one.told(), other.told()].concat();
        assert_eq!(told, ["r: the share of errors is 50 % in 1m, the limit is 5 %"]);
        sleep(seconds(80)).await;
        let told = [one.told(), other.told()].concat();
        assert_eq!(told, ["resolved: r: the share of errors is 0 % in 1m, the limit is 5 %"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_comes_back_is_told_again_by_one_of_the_gateways_and_so_is_its_end() {
        let ledger = Arc::default();
        let rule = rule("error_share > 50%");
        let mut gateways = [Gateway::new(&ledger, rule.clone()), Gateway::new(&ledger, rule)];

        // All of it within the time that the rule looks back.
        for (failed, answered) in [(10, 50), (100, 500)] {
            for gateway in &mut gateways {
                gateway.sees(failed, fails).await;
            }
            sleep(seconds(4)).await;
            let told = gateways.each_ref().map(Gateway::told).concat();
            assert!(matches!(&told[..], [one] if one.starts_with("r: the share")), "{told:?}");
            for gateway in &mut gateways {
                gateway.sees(answered, |_| {}).await;
            }
            sleep(seconds(12)).await;
            let told = gateways.each_ref().map(Gateway::told).concat();
            assert!(matches!(&told[..], [one] if one.starts_with("resolved: r")), "{told:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_target_is_told_of_once_while_it_is_passed_over() {
        let ledger = Arc::default();
        let gateways = [(); 2].map(|()| Gateway::new(&ledger, rule("breaker_open")));

        let steps: [(&[&str], &[&str]); 6] = [
            (&["a/b"], &["r: passed over: a/b"]),
            (&["a/b", "c/d", "e/f"], &["r: passed over: c/d, e/f"]),
            (&["e/f"], &[]),
            (&["a/b", "e/f"], &["r: passed over: a/b"]),
            (&[], &["resolved: r: targets answer again"]),
            (&["e/f"], &["r: passed over: e/f"]),
        ];
        for (open, expected) in steps {
            for gateway in &gateways {
                *lock(&gateway.passed_over) = open.iter().map(|target| Box::from(*target)).collect();
            }
            sleep(seconds(9)).await;
            assert_eq!(gateways.each_ref().map(Gateway::told).concat(), expected, "{open:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_provider_fails_at_is_an_error_whatever_its_status_and_what_a_client_does_wrong_is_none() {
        let attempt = |record: &mut Record, outcome: &'static str| {
            let exchange = Exchange::default();
            exchange.begin(&Arc::new(crate::Target::new("p", "m")));
            record.attempts =
                Record::new(&exchange, crate::record::Passing::default(), None, End::Failed).attempts;
            record.attempts[0].outcome = outcome.into();
        };
        let of = Of { target: Some(Pattern::new("p/*")), ..Of::default() };
        for (kind, status, was_asked, is_failure) in [
            (Kind::Billing, 402, true, true),
            (Kind::UpstreamAuth, 403, true, true),
            (Kind::RateLimited, 429, true, true),
            (Kind::RateLimited, 429, false, false),
            (Kind::InvalidRequest, 400, true, false),
            (Kind::ContextTooLong, 400, true, false),
            (Kind::BudgetExhausted, 402, false, false),
            (Kind::Internal, 500, false, true),
        ] {
            let mut all = Gateway::new(&Arc::default(), rule("error_share > 5%"));
            let mut of_target = Gateway::new(&Arc::default(), rule("error_share > 5%").of(of.clone()));
            for gateway in [&mut all, &mut of_target] {
                let fails = |record: &mut Record| {
                    (record.error, record.status) = (Some(kind), Some(status));
                    if was_asked {
                        attempt(record, kind.as_str());
                    }
                };
                gateway.sees(1, fails).await;
            }
            sleep(seconds(2)).await;

            assert_eq!(!all.told().is_empty(), is_failure, "{kind}");
            assert_eq!(!of_target.told().is_empty(), is_failure && was_asked, "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_up_and_down_around_its_limit_is_told_once() {
        let mut gateway = Gateway::new(&Arc::default(), rule("spend > 10"));
        gateway.sees(1, |record| record.cost = NanoUsd::from_usd(11)).await;
        sleep(seconds(57)).await;
        gateway.sees(1, |record| record.cost = NanoUsd(9_500_000_000)).await;

        sleep(seconds(50)).await;

        assert_eq!(gateway.told(), ["r: the spend is 11 usd in 1m, the limit is 10 usd"]);
    }

    #[tokio::test(start_paused = true)]
    async fn times_growth_lost_records_and_targets_are_told_too() {
        let ledger = Arc::default;
        let slow = |record: &mut Record| (record.duration, record.model) = (seconds(3), Some("chat".into()));
        let of = |model: &str| Of { model: Some(Pattern::new(model)), ..Of::default() };

        let mut late = Gateway::new(&ledger(), rule("p95 > 2s").of(of("ch*")));
        let mut elsewhere = Gateway::new(&ledger(), rule("p95 > 2s").of(of("other")));
        let mut first = Gateway::new(&ledger(), rule("first_event_p95 > 500ms"));
        let mut growth = Gateway::new(&ledger(), rule("drift > 40%"));
        let open = Gateway::new(&ledger(), rule("breaker_open"));
        let mut lost = Gateway::new(&ledger(), rule("records_lost > 2"));
        late.sees(2, slow).await;
        elsewhere.sees(2, slow).await;
        first.sees(1, |record| record.first_event = Some(seconds(1))).await;
        growth.sees(1, |record| record.cost = NanoUsd::from_usd(10)).await;
        // What requests cost has nothing to do with it.
        lost.sees(1, |record| record.cost = NanoUsd::from_usd(10)).await;
        assert!(lost.told().is_empty());
        *lock(&open.passed_over) = vec!["a/b".into()];
        lost.lost.store(3, Ordering::Relaxed);
        sleep(seconds(65)).await;
        growth.sees(1, |record| record.cost = NanoUsd::from_usd(15)).await;
        lock(&open.passed_over).clear();
        sleep(seconds(9)).await;

        assert!(late.told()[0].starts_with("r: the 95th percentile of the time is 3."));
        assert!(elsewhere.told().is_empty());
        assert!(first.told()[0].starts_with("r: the 95th percentile of the time to the first event is 1."));
        assert_eq!(growth.told(), ["r: the growth of the spend is 50 % in 1m, the limit is 40 %"]);
        assert_eq!(open.told(), ["r: passed over: a/b", "resolved: r: targets answer again"]);
        assert_eq!(lost.told()[0], "r: the number of lost records is 3 in 1m, the limit is 2");
    }
}
