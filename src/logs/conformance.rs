//! What every store of records has to pass that is a [`Logs`]: [`all`]; and [`sample`]s of records for it.
//!
//! The suite keeps records of which it knows everything, asks for them in many ways, and compares the answers with
//! what it finds by going through all of them.

// A suite of tests fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    Dimension, Filter, Histogram, Logs, Place, Question, Span, Status, Sum, Used,
    row::{Row, is_error, micros_at, provider},
};
use crate::{
    Exchange, Kind, Target, Tokens,
    body::End,
    exchange::{Role, TraceParent},
    price::NanoUsd,
    record::{AttemptRecord, Content, ContentRules, Keep, Kept, Passing, Record, Said},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// How many records the suite keeps.
const RECORDS: u64 = 400;

/// A record of a request that came at `arrived`. What is in it depends on `number`: there are 20 keys in 5 teams,
/// 2 customers, 4 models, 8 targets, 50 users, and one in ten has failed.
pub fn sample(number: u64, arrived: SystemTime) -> Record {
    // Neighbours should have nothing in common.
    let dice = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let roll = |shift: u32, sides: u64| (dice >> shift & 0xffff) % sides;
    let exchange = Exchange::at(arrived);
    let (key, model) = (roll(0, 20), roll(8, 4));
    let target = Target::new(["openai", "anthropic"][roll(16, 2) as usize], &format!("model-{model}"));
    let attempt = exchange.begin(&Arc::new(target));
    let failed = roll(24, 10) == 0;
    attempt.report(Tokens {
        input: 100 + roll(20, 900),
        cached: roll(20, 100),
        output: roll(28, 500),
        ..Tokens::default()
    });
    let passing = Passing { status: Some(if failed { 503 } else { 200 }), bytes: 500, ..Passing::default() };
    let mut record = Record::new(&exchange, passing, None, End::Complete);
    record.key = Some(format!("key-{key}").into());
    record.team = Some(format!("team-{}", key % 5).into());
    record.customer = (key % 3 > 0).then(|| format!("customer-{}", key % 3).into());
    record.model = Some(format!("model-{model}").into());
    record.duration = Duration::from_micros(20_000 + roll(32, 60_000) * (1 + model) * 50);
    record.first_event = (!failed).then(|| record.duration / 4);
    record.overhead = Some(Duration::from_micros(20 + roll(36, 100)));
    record.cost = NanoUsd(1_000 * record.tokens.input + 4_000 * record.tokens.output);
    record.stream = roll(40, 2) == 0;
    record.finish_reason = (!failed).then(|| if roll(44, 8) == 0 { "length" } else { "stop" }.into());
    if failed {
        record.error = Some(if roll(42, 2) == 0 { Kind::Timeout } else { Kind::Overloaded });
        record.message = Some(format!("provider {} had no <capacity> \"left\"", roll(16, 2)).into());
        record.end = End::Failed;
    }
    label(&mut record, number, roll(34, 50));
    for attempt in &mut record.attempts {
        complete(attempt, failed);
    }
    if number % 16 == 3 {
        record.dialect = Some("openai-chat");
        let request = format!(r#"{{"messages":[{{"role":"user","content":"<b>Größe</b> of {number}?"}}]}}"#);
        record.content = Some(Arc::new(Content::new(request.into(), None)));
    }
    record
}

fn label(record: &mut Record, number: u64, user: u64) {
    record.labels.user = (!user.is_multiple_of(4)).then(|| format!("user-{user}").into());
    record.labels.session = user.is_multiple_of(5).then(|| format!("session-{}", number / 7).into());
    let tags = [("env", "prod"), ("feature", ["search", "chat", "naïve \"quotes\""][user as usize % 3])];
    record.labels.tags =
        tags[..user as usize % 3].iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let trace = TraceParent { trace: u128::from(number / 3) + 1, span: number + 1, is_sampled: true };
    record.trace = user.is_multiple_of(2).then_some(trace);
}

fn complete(attempt: &mut AttemptRecord, failed: bool) {
    attempt.outcome = if failed { "overloaded" } else { "answered" }.into();
    attempt.status = Some(if failed { 503 } else { 200 });
    attempt.ended = Some(Duration::from_millis(900));
}

/// Runs the whole suite on a store in which there is nothing yet.
///
/// # Panics
///
/// If the store finds what it should not, or doesn't what it should.
pub async fn all<S: Logs + Keep + Clone>(mut store: S) {
    let records = kept(&mut store).await;
    for filter in filters(&records) {
        finds(&store, &records, &filter).await;
    }
    gets(&store, &records).await;
    sums(&store, &records).await;
    refuses_too_many_steps(&store).await;
}

/// Keeps records of the last three days, some of them twice.
async fn kept(store: &mut impl Keep) -> Vec<Record> {
    let now = SystemTime::now();
    let every = 3 * DAY / RECORDS as u32;
    let mut records: Vec<_> =
        (0..RECORDS).map(|number| sample(number, now - every * (RECORDS - number) as u32)).collect();
    records.iter_mut().filter(|record| record.error.is_some()).zip(0..).for_each(vary);
    let all: Vec<_> =
        records.iter().map(|record| Arc::new(Kept::new(record.clone(), &ContentRules::default()))).collect();
    store.keep(&all[..10]).await.unwrap();
    for batch in all.chunks(64) {
        store.keep(batch).await.unwrap();
    }
    store.keep(&all[..10]).await.unwrap();
    records
}

/// Lets those that have failed fail in other ways too, some of them without a kind; of each there are some for which
/// nobody was asked, or only who tells tasks.
fn vary((record, number): (&mut Record, usize)) {
    let kinds =
        [Some(Kind::RateLimited), Some(Kind::InvalidRequest), Some(Kind::NoRoute), None, record.error];
    record.error = kinds[number % kinds.len()];
    match number / kinds.len() % 4 {
        0 => record.attempts.clear(),
        2 => record.attempts.iter_mut().for_each(|attempt| attempt.role = Role::Embedding),
        _ => {}
    }
}

fn filters(records: &[Record]) -> Vec<Filter> {
    let none = Filter::default();
    let text = |text: &str| Some(Box::from(text));
    let span = Span { from: records[100].arrived, until: records[300].arrived };
    let trace =
        records.iter().find_map(|record| record.trace).map(|parent| format!("{:032x}", parent.trace).into());
    vec![
        none.clone(),
        Filter { span: Some(span), ..none.clone() },
        Filter { key: text("key-3"), ..none.clone() },
        Filter { key: text("' OR 1=1 --"), ..none.clone() },
        Filter { team: text("team-2"), span: Some(span), ..none.clone() },
        Filter { customer: text("customer-1"), status: Some(Status::Ok), ..none.clone() },
        Filter { user: text("user-7"), ..none.clone() },
        Filter { user: text("user-7"), model: text("model-1"), ..none.clone() },
        Filter { session: text("session-5"), ..none.clone() },
        Filter { trace, ..none.clone() },
        Filter { model: text("model-2"), provider: text("openai"), ..none.clone() },
        Filter { target: text("anthropic/model-0"), ..none.clone() },
        Filter { status: Some(Status::Failed), ..none.clone() },
        Filter { status: Some(Status::Failed), key: text("key-3"), ..none.clone() },
        Filter { status: Some(Status::Refused), ..none.clone() },
        Filter { status: Some(Status::Code(503)), error: text("timeout"), ..none.clone() },
        Filter { cost_above: Some(2_000_000), team: text("team-1"), ..none.clone() },
        Filter { latency_above: Some(Duration::from_secs(5)), ..none.clone() },
        Filter { tag: Some(("feature".into(), "naïve \"quotes\"".into())), ..none.clone() },
        Filter { tag: Some(("env".into(), "prod".into())), key: text("key-4"), ..none.clone() },
        Filter { text: text("NO <capacity>"), ..none.clone() },
        Filter { text: text("GRöße</b> of 1"), ..none.clone() },
        Filter { text: text(records[17].id.as_str()), ..none.clone() },
        Filter { after: Some(Place(Row::of(&records[350]).place)), team: text("team-2"), ..none.clone() },
        Filter { after: Some(Place(Row::of(&records[50]).place)), span: Some(span), ..none },
    ]
}

fn ended(record: &Record) -> SystemTime {
    record.arrived + record.duration
}

/// What is kept of its content.
fn said(record: &Record) -> Option<Said> {
    let content = record.content.as_ref()?;
    Some(Said::new(content, record.dialect, &ContentRules::default()))
}

/// Whether a record passes; what the store finds is compared with it.
fn passes(record: &Record, filter: &Filter) -> bool {
    let row = Row::of(record);
    let same = |wanted: &Option<Box<str>>, name: Option<&str>| wanted.is_none() || wanted.as_deref() == name;
    let is_error = is_error(row.status, row.error);
    filter.span.is_none_or(|span| span.from <= ended(record) && ended(record) < span.until)
        && filter.after.is_none_or(|after| row.place > after.0)
        && same(&filter.key, row.key)
        && same(&filter.team, row.team)
        && same(&filter.customer, row.customer)
        && same(&filter.user, row.user())
        && same(&filter.session, row.session())
        && same(&filter.trace, row.trace.as_deref())
        && same(&filter.model, row.model)
        && same(&filter.target, row.target)
        && same(&filter.provider, row.target.map(provider))
        && same(&filter.error, row.error)
        && filter.status.is_none_or(|status| match status {
            Status::Ok => !is_error,
            Status::Failed => record.has_failed(),
            Status::Refused => is_error && !record.has_failed(),
            Status::Code(code) => row.status == Some(code),
        })
        && filter.cost_above.is_none_or(|cost| row.cost > cost)
        && filter.latency_above.is_none_or(|latency| record.duration > latency)
        && filter.tag.as_ref().is_none_or(|(name, value)| record.labels.tag(name) == Some(value))
        && filter.text.as_ref().is_none_or(|text| {
            let said = said(record).map(|said| said.request).unwrap_or_default();
            let said =
                format!("{} {} {said}", row.id, record.message.as_deref().unwrap_or_default()).to_lowercase();
            said.contains(&text.to_lowercase())
        })
}

async fn finds(store: &impl Logs, records: &[Record], filter: &Filter) {
    let expected =
        records.iter().rev().filter(|record| passes(record, filter)).map(|record| record.id.as_str());
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let page = store.find(filter, before, 30).await.unwrap();
        assert!(page.lines.len() <= 30);
        before = page.next;
        found.extend(page.lines);
        if before.is_none() {
            break;
        }
    }
    let ids: Vec<&str> = found.iter().map(|line| &*line.id).collect();
    assert_eq!(ids, expected.collect::<Vec<_>>(), "{filter:?}");
    for line in &found {
        let record = records.iter().find(|record| record.id.as_str() == &*line.id).unwrap();
        let row = Row::of(record);
        assert_eq!(
            (line.key.as_deref(), line.model.as_deref(), line.target.as_deref()),
            (row.key, row.model, row.target)
        );
        assert_eq!(
            (line.customer.as_deref(), line.user.as_deref(), line.session.as_deref()),
            (row.customer, row.user(), row.session())
        );
        assert_eq!(
            (line.team.as_deref(), line.error.as_deref(), line.status),
            (row.team, row.error, row.status)
        );
        assert_eq!((line.input, line.output, line.cost), (row.tokens.input, row.tokens.output, row.cost));
        assert_eq!(
            (line.arrived_ms, &*line.end, line.stream),
            (micros_at(record.arrived) / 1000, row.end, row.stream)
        );
        assert_eq!((line.overhead_us, line.attempts), (row.overhead, row.attempts));
        assert!((line.duration_ms - row.duration as f64 / 1000.0).abs() < 0.01);
    }
}

async fn gets(store: &impl Logs, records: &[Record]) {
    for record in records.iter().step_by(56).chain(records.iter().skip(3).step_by(160)) {
        let entry = store.get(record.id.as_str()).await.unwrap().unwrap();
        let found: serde_json::Value = serde_json::from_str(entry.record.get()).unwrap();
        assert_eq!(found, serde_json::to_value(record).unwrap());
        let said = said(record);
        assert_eq!(entry.request, said.as_ref().map(|said| said.request.clone()));
        assert_eq!(entry.answer, said.and_then(|said| said.answer));
    }
    for id in ["", "req_", "req_00000000000000000000000000000000", "req_zzzzzzzzzzzzzzzz", "' OR 1=1 --"] {
        assert!(store.get(id).await.unwrap().is_none(), "{id}");
    }
}

async fn sums(store: &impl Logs, records: &[Record]) {
    let now = SystemTime::now();
    let whole = Span { from: now - 4 * DAY, until: now + MINUTE };
    let minute = |at: SystemTime| at - Duration::from_micros(micros_at(at) % 60_000_000);
    let part = Span { from: minute(now - 50 * HOUR), until: minute(now - 7 * HOUR) };
    let steps = [None, Some(15 * MINUTE), Some(HOUR), Some(6 * HOUR), Some(DAY)];
    for (span, step) in [whole, part].into_iter().flat_map(|span| steps.map(|step| (span, step))) {
        for by in [
            None,
            Some(Dimension::Key),
            Some(Dimension::Team),
            Some(Dimension::Customer),
            Some(Dimension::Model),
        ]
        .into_iter()
        .chain([Dimension::Target, Dimension::Provider].map(Some))
        {
            check(store, records, &Question { step, by, ..Question::new(span) }).await;
        }
    }
    for filter in filters(records) {
        let filter = Filter { cost_above: None, latency_above: None, text: None, after: None, ..filter };
        for by in [None, Some(Dimension::Provider), Some(Dimension::Team)] {
            check(store, records, &Question { filter: filter.clone(), by, ..Question::new(whole) }).await;
        }
    }
    users(store, records, whole).await;
}

/// Users are told apart by the hour, and nobody has to say how long their requests took. All of them and those that have
/// none add up to everything.
async fn users(store: &impl Logs, records: &[Record], span: Span) {
    let none = Filter::default;
    let of_team = || Filter { team: Some("team-1".into()), ..none() };
    let of_feature = || Filter { tag: Some(("feature".into(), "chat".into())), ..none() };
    let failed = || Filter { status: Some(Status::Failed), ..none() };
    for (by, step, filter) in [
        (Dimension::User, None, none()),
        (Dimension::User, Some(HOUR), of_team()),
        (Dimension::User, None, failed()),
        (Dimension::User, None, of_feature()),
        (Dimension::Feature, Some(HOUR), none()),
        (Dimension::Feature, None, of_team()),
        (Dimension::Feature, None, failed()),
        (Dimension::Feature, None, of_feature()),
    ] {
        let question = Question { by: Some(by), step, filter, ..Question::new(span) };
        let timeless = |sums: BTreeMap<(u64, Option<Box<str>>), Used>| -> Vec<_> {
            let none = Histogram::default;
            let timeless = |used| Used { latency: none(), first_event: none(), overhead: none(), ..used };
            sums.into_iter().map(|(name, used)| (name, timeless(used))).collect()
        };
        let found = store.sums(&question).await.unwrap();
        assert_eq!(timeless(by_name(found)), timeless(expected(records, &question)), "{question:?}");
    }
}

async fn check(store: &impl Logs, records: &[Record], question: &Question) {
    let found = store.sums(question).await.unwrap();
    assert!(found.iter().map(|sum| sum.at_ms).is_sorted());
    let (found, expected) = (by_name(found), expected(records, question));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{question:?}");
    for (name, expected) in &expected {
        assert_eq!(&found[name], expected, "{name:?} of {question:?}");
    }
}

fn by_name(sums: Vec<Sum>) -> BTreeMap<(u64, Option<Box<str>>), Used> {
    sums.into_iter().map(|sum| ((sum.at_ms / 1000, sum.name), sum.used)).collect()
}

fn expected(records: &[Record], question: &Question) -> BTreeMap<(u64, Option<Box<str>>), Used> {
    let mut sums = BTreeMap::new();
    let filter = Filter { span: Some(question.span), ..question.filter.clone() };
    for record in records.iter().filter(|record| passes(record, &filter)) {
        let row = Row::of(record);
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let at = match question.step {
            Some(step) => seconds(ended(record)) / step.as_secs() * step.as_secs(),
            None => seconds(question.span.from),
        };
        let name = question.by.and_then(|by| match by {
            Dimension::Key => row.key,
            Dimension::Team => row.team,
            Dimension::Customer => row.customer,
            Dimension::User => row.user(),
            Dimension::Feature => row.feature(),
            Dimension::Model => row.model,
            Dimension::Target => row.target,
            Dimension::Provider => row.target.map(provider),
        });
        let used: &mut Used = sums.entry((at, name.map(Box::from))).or_default();
        row.add_to(used);
        used.errors += u64::from(is_error(row.status, row.error));
        used.failed += u64::from(record.has_failed());
        if let Some(error) = row.error {
            *used.error_kinds.entry(error.into()).or_default() += 1;
        }
        if let Some(finish) = row.finish {
            *used.finish_reasons.entry(finish.into()).or_default() += 1;
        }
    }
    sums
}

async fn refuses_too_many_steps(store: &impl Logs) {
    let question = Question { step: Some(MINUTE), ..Question::new(Span::last(2 * DAY)) };
    let error = store.sums(&question).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidRequest);
}
