use std::sync::atomic::AtomicU32;

use jiff::Timestamp;
use proptest::prelude::*;
use rusqlite::Connection;

use super::{database::beside, *};
use crate::{
    ledger::{
        MemoryLedger, Quota,
        conformance::{self, HandClock},
    },
    price::NanoUsd,
    testing::poll_once,
};

/// A directory of its own, with a database in it.
struct Place {
    directory: PathBuf,
    clock: HandClock,
}

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("bartizan-ledger-{}-{count}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let clock = HandClock::new("2026-11-21T12:00:00Z".parse::<Timestamp>().unwrap().into());
        Self { directory, clock }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("ledger.db")
    }

    fn try_open(&self) -> Result<SqliteLedger, Error> {
        let clock = self.clock.clone();
        SqliteOptions::new(self.file()).clock(move || clock.now()).open()
    }

    fn open(&self) -> SqliteLedger {
        self.try_open().unwrap()
    }

    fn refusal(&self) -> String {
        self.try_open().unwrap_err().to_string()
    }

    fn pass(&self, seconds: u64) {
        self.clock.set(self.clock.now() + Duration::from_secs(seconds));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn scope(account: &str, limit: u64, period: Period) -> Scope {
    Scope::new(account, Quota::usd(NanoUsd(limit), period))
}

/// A key's budget by the month, and all that was ever spent.
fn scopes() -> [Scope; 2] {
    [scope("key:a", 1_000, Period::Month), Scope::counted("gateway")]
}

async fn hold(ledger: &SqliteLedger, amount: u64) -> Result<Ticket, Error> {
    ledger.reserve(&scopes(), NanoUsd(amount).into()).await
}

async fn spend(ledger: &SqliteLedger, held: u64, used: u64) {
    ledger.settle(hold(ledger, held).await.unwrap(), NanoUsd(used).into());
}

/// What is used and held on an account of money.
fn on(ledger: &SqliteLedger, account: &str, period: Period) -> (u64, u64) {
    let balance = ledger.balance(account, Measure::Usd, period);
    balance.map_or((0, 0), |balance| (balance.posted, balance.held))
}

fn balances(ledger: &SqliteLedger) -> [(u64, u64); 2] {
    [on(ledger, "key:a", Period::Month), on(ledger, "gateway", Period::Total)]
}

#[tokio::test]
async fn it_keeps_what_every_ledger_promises() {
    let place = Place::new();

    let ledger = Arc::new(place.open());
    conformance::all(ledger.clone(), &place.clock).await;
    conformance::days(&*ledger, &place.clock).await;
}

#[tokio::test]
async fn balances_survive_the_process() {
    let place = Place::new();
    let scopes = [
        scope("a", 1_000, Period::Month),
        scope("a", 1_000, Period::Day),
        scope("a", 1_000, Period::Rolling(3_600)),
        scope("a", 1_000, Period::Minute),
        Scope::new("b", Quota::new(Measure::Tokens, 99, Period::Total)),
    ];
    let amounts = Amounts { cost: NanoUsd(40), input: 3, output: 4 };
    for _ in 0..3 {
        let ledger = place.open();
        let ticket = ledger.reserve(&scopes, Amounts::default()).await.unwrap();
        ledger.settle(ticket, amounts);
        drop(ledger);
        place.pass(1_200);
    }

    let ledger = place.open();

    let posted = |period| on(&ledger, "a", period);
    assert_eq!(posted(Period::Month), (120, 0));
    assert_eq!(posted(Period::Day), (120, 0));
    assert_eq!(posted(Period::Rolling(3_600)), (120, 0));
    assert_eq!(posted(Period::Minute), (0, 0));
    assert_eq!(ledger.balance("b", Measure::Tokens, Period::Total).unwrap().posted, 21);
    place.pass(120);
    assert_eq!(posted(Period::Rolling(3_600)), (80, 0));
    place.pass(86_400);
    assert_eq!((posted(Period::Day), posted(Period::Month)), ((0, 0), (120, 0)));
}

#[tokio::test]
async fn windows_that_have_passed_are_the_history_of_spend() {
    let place = Place::new();
    let scopes = [scope("a", 1_000, Period::Day)];
    for used in [10, 20] {
        let ledger = place.open();
        let ticket = ledger.reserve(&scopes, NanoUsd(100).into()).await.unwrap();
        place.pass(86_400);
        // It counts where it was held.
        ledger.settle(ticket, NanoUsd(used).into());
        assert_eq!(on(&ledger, "a", Period::Day), (0, 0));
    }

    let connection = Connection::open(place.file()).unwrap();
    let mut rows = connection.prepare("SELECT window, posted FROM balances ORDER BY window").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows: Vec<(i64, i64)> = rows.map(Result::unwrap).collect();

    assert_eq!(rows, [(1_795_219_200, 10), (1_795_305_600, 20)]);
}

#[tokio::test]
async fn a_hold_without_an_outcome_is_charged_once_as_it_was_held() {
    let place = Place::new();
    let ledger = place.open();
    spend(&ledger, 100, 30).await;
    let _unsettled = (hold(&ledger, 100).await.unwrap(), hold(&ledger, 200).await.unwrap());
    drop(ledger);

    let ledger = place.open();

    assert_eq!(ledger.unfinished(), Unfinished { requests: 2, cost: NanoUsd(300) });
    assert_eq!(balances(&ledger), [(330, 0); 2]);
    drop(ledger);
    let again = place.open();
    assert_eq!(again.unfinished(), Unfinished::default());
    assert_eq!(balances(&again), [(330, 0); 2]);
    let marked: i64 = Connection::open(place.file())
        .and_then(|database| database.query_row("SELECT sum(usd) FROM unfinished", [], |row| row.get(0)))
        .unwrap();
    assert_eq!(marked, 300);
}

#[tokio::test]
async fn days_survive_the_process_agree_with_balances_and_are_forgotten_in_time() {
    let place = Place::new();
    let ledger = place.open();
    spend(&ledger, 9, 7).await;
    let _lost = hold(&ledger, 30).await.unwrap();
    // What a client gave up before it was a request is none.
    drop(poll_once(&mut Box::pin(hold(&ledger, 5))));
    drop(ledger);

    let ledger = place.open();
    let today = Day::of(place.clock.now());
    let told = ledger.days("gateway", today.window..=today.window).await.unwrap();

    assert_eq!(told, [Day { requests: 2, used: NanoUsd(37).into(), ..today }]);
    assert_eq!(on(&ledger, "gateway", Period::Total).0, 37);
    place.pass(399 * 86_400);
    assert_eq!(ledger.days("gateway", Window(0)..=Window(i64::MAX)).await.unwrap(), told);
    place.pass(86_400);
    spend(&ledger, 9, 1).await;
    ledger.written().await.unwrap();
    let rows = Connection::open(place.file()).unwrap();
    let rows: i64 = rows.query_row("SELECT count(*) FROM days", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 2, "one for the key, one for the gateway");
}

#[tokio::test]
async fn places_are_free_after_a_start() {
    let place = Place::new();
    let scopes = [Scope::new("a", Quota::concurrent(1))];
    let ledger = place.open();
    let _unsettled = ledger.reserve(&scopes, Amounts::default()).await.unwrap();
    drop(ledger);

    let ledger = place.open();

    assert!(ledger.reserve(&scopes, Amounts::default()).await.is_ok());
}

#[tokio::test]
async fn a_kept_hold_survives_the_process_until_it_is_settled() {
    let place = Place::new();
    let ledger = place.open();
    let ticket = hold(&ledger, 100).await.unwrap();
    ledger.keep(ticket, "job");
    drop(ledger);

    let ledger = place.open();
    assert_eq!(ledger.unfinished().requests, 0);
    assert_eq!(balances(&ledger), [(0, 100); 2]);
    let _taken_up = ledger.resume("job").await.unwrap().unwrap();
    // Whoever has taken it up did not live to settle it.
    drop(ledger);

    let ledger = place.open();
    let ticket = ledger.resume("job").await.unwrap().unwrap();
    ledger.settle(ticket, NanoUsd(7).into());
    drop(ledger);

    let ledger = place.open();
    assert_eq!(balances(&ledger), [(7, 0); 2]);
    assert!(ledger.resume("job").await.unwrap().is_none());
}

#[tokio::test]
async fn a_client_that_leaves_before_its_hold_is_written_is_not_charged() {
    let place = Place::new();
    let ledger = place.open();
    for _ in 0..50 {
        let scopes = scopes();
        let mut waiting = Box::pin(ledger.reserve(&scopes, NanoUsd(1_000).into()));
        drop(poll_once(&mut waiting));
        drop(waiting);
    }

    // A ticket that came at once was dropped with its answer.
    let left = balances(&ledger)[0].1;
    drop(ledger);

    let ledger = place.open();
    assert_eq!(balances(&ledger)[0], (left, 0));
}

#[tokio::test]
async fn an_outcome_that_is_written_twice_counts_once() {
    let place = Place::new();
    let ledger = place.open();
    let ticket = hold(&ledger, 100).await.unwrap();
    let post = Post { place: ticket.holds[0].place(), window: ticket.holds[0].window };

    for _ in 0..2 {
        ledger.queue.push(Job::Settle { id: ticket.id, posts: vec![(post.clone(), 7)], day: None });
    }
    drop(ledger);

    assert_eq!(balances(&place.open())[0], (7, 0));
}

#[tokio::test]
async fn a_clock_that_is_set_back_between_two_starts_gives_nothing_back() {
    let place = Place::new();
    let scopes = [scope("a", 100, Period::Day)];
    let ledger = place.open();
    place.pass(43_200);
    let ticket = ledger.reserve(&scopes, NanoUsd(100).into()).await.unwrap();
    ledger.settle(ticket, NanoUsd(80).into());
    drop(ledger);

    place.clock.set(place.clock.now() - Duration::from_secs(10));
    let ledger = place.open();

    assert!(ledger.reserve(&scopes, NanoUsd(30).into()).await.is_err());
    place.pass(10);
    assert!(ledger.reserve(&scopes, NanoUsd(30).into()).await.is_err());
}

#[tokio::test]
async fn a_second_one_is_told_whose_file_it_is() {
    let place = Place::new();
    let ledger = place.open();

    let refusal = place.refusal();
    assert!(refusal.contains("ledger.db is in use by another process"), "{refusal}");

    drop(ledger);
    assert!(place.try_open().is_ok());
}

#[tokio::test]
async fn a_disk_that_is_full_refuses_and_loses_nothing() {
    let place = Place::new();
    let ledger = place.open();
    let before = hold(&ledger, 100).await.unwrap();
    ledger.queue.push(Job::Sql("PRAGMA max_page_count = 1"));

    // The room in pages that are begun is used up first.
    let name = "key:".repeat(2_000);
    let full = [scope(&name, 1_000, Period::Month)];
    let mut held = Vec::new();
    let error = loop {
        match ledger.reserve(&full, NanoUsd(1).into()).await {
            Ok(ticket) => held.push(ticket),
            Err(error) => break error,
        }
    };
    ledger.settle(before, NanoUsd(30).into());

    assert_eq!(error.kind(), Kind::Internal);
    assert!(format!("{error:?}").contains("full"), "{error:?}");
    assert_eq!(on(&ledger, &name, Period::Month).1, held.len() as u64);
    ledger.queue.push(Job::Sql("PRAGMA max_page_count = 1000000"));
    let after = ledger.reserve(&full, NanoUsd(1).into()).await.unwrap();
    held.into_iter().chain([after]).for_each(|ticket| ledger.settle(ticket, NanoUsd(1).into()));
    ledger.written().await.unwrap();
    let posted = on(&ledger, &name, Period::Month).0;
    drop(ledger);
    let ledger = place.open();
    assert_eq!(ledger.unfinished().requests, 0);
    assert_eq!(balances(&ledger), [(30, 0); 2]);
    assert_eq!(on(&ledger, &name, Period::Month), (posted, 0));
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_taken_away_refuses_until_it_is_back() {
    let place = Place::new();
    let ledger = place.open();
    let before = hold(&ledger, 100).await.unwrap();
    let elsewhere = beside(&place.file(), ".away");
    fs::rename(place.file(), &elsewhere).unwrap();

    let gone = hold(&ledger, 100).await.unwrap_err();
    ledger.settle(before, NanoUsd(30).into());
    fs::write(place.file(), "another").unwrap();
    let replaced = hold(&ledger, 100).await.unwrap_err();

    assert!(format!("{gone:?}").contains("is gone"), "{gone:?}");
    assert!(format!("{replaced:?}").contains("was replaced"), "{replaced:?}");
    assert_eq!(balances(&ledger), [(30, 0); 2]);
    fs::rename(&elsewhere, place.file()).unwrap();
    spend(&ledger, 100, 5).await;
    drop(ledger);
    assert_eq!(balances(&place.open()), [(35, 0); 2]);
}

#[tokio::test]
async fn what_can_not_be_written_at_the_end_is_charged_as_held() {
    let place = Place::new();
    let ledger = place.open();
    let ticket = hold(&ledger, 100).await.unwrap();
    let elsewhere = beside(&place.file(), ".away");
    fs::rename(place.file(), &elsewhere).unwrap();

    ledger.settle(ticket, NanoUsd(30).into());
    drop(ledger);

    fs::rename(&elsewhere, place.file()).unwrap();
    assert_eq!(balances(&place.open()), [(100, 0); 2]);
}

#[tokio::test]
async fn a_file_that_is_cut_or_overwritten_is_refused() {
    let place = Place::new();
    let ledger = place.open();
    for _ in 0..20 {
        spend(&ledger, 10, 10).await;
    }
    drop(ledger);
    let whole = fs::read(place.file()).unwrap();

    for length in (0..whole.len()).step_by(509) {
        fs::write(place.file(), &whole[..length]).unwrap();
        let refusal = place.refusal();
        assert!(["is empty", "damaged"].iter().any(|why| refusal.contains(why)), "{length}: {refusal}");
    }
    for page in (0..whole.len()).step_by(4_096) {
        let mut spoilt = whole.clone();
        spoilt[page..page + 200].fill(0x5a);
        fs::write(place.file(), spoilt).unwrap();
        let refusal = place.refusal();
        assert!(refusal.contains("damaged"), "{page}: {refusal}");
    }

    fs::write(place.file(), &whole).unwrap();
    assert_eq!(balances(&place.open()), [(200, 0); 2]);
}

#[tokio::test]
async fn what_is_not_its_own_is_left_alone() {
    let place = Place::new();
    let other = |sql: &str| Connection::open(place.file()).unwrap().execute_batch(sql).unwrap();

    other("CREATE TABLE customers (name TEXT)");
    assert!(place.refusal().ends_with("is a database of another program"), "{}", place.refusal());

    fs::remove_file(place.file()).unwrap();
    drop(place.open());
    other("PRAGMA user_version = 99");
    assert!(place.refusal().contains("newer version"), "{}", place.refusal());

    fs::remove_file(place.file()).unwrap();
    fs::write(beside(&place.file(), "-wal"), "the log of a database that is gone").unwrap();
    assert!(place.refusal().contains("ledger.db-wal is there without its database"), "{}", place.refusal());
}

#[test]
fn where_no_file_can_be_is_told() {
    let refusal = SqliteLedger::open("/nowhere/ledger.db").unwrap_err().to_string();

    assert!(refusal.starts_with("/nowhere/ledger.db.lock can't be made: "), "{refusal}");
}

#[derive(Clone, Debug)]
enum Step {
    Hold(u64),
    Settle(u64),
    Keep,
    TakeUp(u64),
    Pass(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..60u64).prop_map(Step::Hold),
        3 => (0..80u64).prop_map(Step::Settle),
        1 => Just(Step::Keep),
        1 => (0..60u64).prop_map(Step::TakeUp),
        1 => (1..30u64).prop_map(|hours| Step::Pass(hours * 3_600)),
        1 => Just(Step::Restart),
    ]
}

/// A ledger in a file and one in memory that hears the same.
struct Both {
    place: Place,
    file: Option<SqliteLedger>,
    memory: MemoryLedger,
    open: Vec<[Ticket; 2]>,
    kept: u64,
}

impl Both {
    fn new() -> Self {
        let place = Place::new();
        let (clock, file) = (place.clock.clone(), Some(place.open()));
        Self { place, file, memory: MemoryLedger::with_clock(move || clock.now()), open: vec![], kept: 0 }
    }

    async fn take(&mut self, step: Step) {
        let file = self.file.as_ref().unwrap();
        match step {
            Step::Hold(amount) => {
                let scopes = [scopes().as_slice(), &[scope("a", 300, Period::Rolling(86_400))]].concat();
                let file = file.reserve(&scopes, NanoUsd(amount).into()).await;
                let memory = self.memory.reserve(&scopes, NanoUsd(amount).into()).await;
                assert_eq!(file.is_ok(), memory.is_ok(), "{file:?} {memory:?}");
                self.open.extend(file.ok().zip(memory.ok()).map(<[Ticket; 2]>::from));
            }
            Step::Settle(used) => {
                if let Some([ticket, other]) = self.open.pop() {
                    file.settle(ticket, NanoUsd(used).into());
                    self.memory.settle(other, NanoUsd(used).into());
                }
            }
            Step::Keep => {
                if let Some([ticket, other]) = self.open.pop() {
                    self.kept += 1;
                    file.keep(ticket, &self.kept.to_string());
                    self.memory.keep(other, &self.kept.to_string());
                }
            }
            Step::TakeUp(used) => {
                let name = self.kept.to_string();
                let taken = [file.resume(&name).await.unwrap(), self.memory.resume(&name).await.unwrap()];
                if let [Some(ticket), Some(other)] = taken {
                    file.settle(ticket, NanoUsd(used).into());
                    self.memory.settle(other, NanoUsd(used).into());
                }
            }
            Step::Pass(seconds) => self.place.pass(seconds),
            Step::Restart => {
                self.file = None;
                for [_, other] in self.open.drain(..) {
                    let held = NanoUsd(other.holds[0].amount);
                    self.memory.settle(other, held.into());
                }
                self.file = Some(self.place.open());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_restart_changes_nothing_but_what_was_under_way(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut both = Both::new();
        for step in steps.into_iter().chain([Step::Restart]) {
            runtime.block_on(both.take(step));
            for (account, period) in
                [("key:a", Period::Month), ("gateway", Period::Total), ("a", Period::Rolling(86_400))]
            {
                let file = on(both.file.as_ref().unwrap(), account, period);
                let memory = both.memory.balance(account, Measure::Usd, period);
                prop_assert_eq!(file, memory.map_or((0, 0), |balance| (balance.posted, balance.held)));
            }
        }
    }
}

#[tokio::test]
async fn what_was_marked_is_marked_in_the_next_process_until_its_time_is_over() {
    let place = Place::new();
    let minute = Duration::from_secs(60);
    let mark = async |name: &str| place.open().mark_once(name, minute).await.unwrap();

    assert!(mark("a").await);
    assert!(!mark("a").await);
    place.pass(60);
    assert!(mark("a").await);
}
