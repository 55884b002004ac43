use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::try_join5;
use sha2::{Digest, Sha256};
use tokio_postgres::Row;

use super::{
    connection::{Connection, Failure},
    days::Sums,
    statements::{CHARGE, KEEP, RESUME},
};
use crate::ledger::{
    Amounts, Day, Hold, HoldId, Scope, Ticket, Window,
    account::Account,
    books::{Books, Place},
    days,
    errand::{Deed, Errand, left_behind},
    refusal::Refusal,
};

/// What is done in one transaction: all of it happens, or none.
#[derive(Default)]
pub(super) struct Group<'a> {
    pub(super) errands: Vec<&'a Errand>,
    pub(super) reserves: Vec<(HoldId, &'a [Scope], Amounts)>,
    pub(super) resumes: Vec<(HoldId, &'a str)>,
    /// The moment, if the server's clock does not count.
    pub(super) at: Option<u64>,
}

/// What has become of it, in the same order.
#[derive(Default)]
pub(super) struct Done {
    pub(super) errands: Vec<Fate>,
    pub(super) reserves: Vec<Result<Ticket, Refusal>>,
    pub(super) resumes: Vec<Option<Vec<Hold>>>,
}

/// What has become of an errand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// What was charged before is now what was used.
    Corrected,
    /// The hold is not there any more, or never was.
    Unknown,
    /// Nothing more can be kept, or not under this name.
    Full,
}

/// The key of an account. A name may be longer than an index bears, and have characters that no text has.
pub(super) type Id = [u8; 32];

pub(super) fn id(place: &Place) -> Id {
    let Place { account, measure, period } = place;
    Sha256::digest(format!("{}\n{period}\n{account}", measure.as_str())).into()
}

/// A name that is for people only: no text has this character.
pub(super) fn shown_to_people(name: &str) -> String {
    name.replace('\0', "\u{fffd}")
}

pub(super) fn kept_as(name: &str) -> Vec<u8> {
    Sha256::digest(name).to_vec()
}

/// A number as it is stored.
pub(super) fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// What the database has of a hold.
#[derive(Default)]
struct Held {
    holds: Vec<Hold>,
    is_kept_as: Option<Vec<u8>>,
    charged: Option<Charged>,
    is_alive: bool,
}

/// What was charged for a hold without its settlement, by which that is known or corrected later.
#[derive(Default, serde::Deserialize, serde::Serialize)]
struct Charged {
    /// In which window, and how much, for each hold.
    holds: Vec<(Window, u64)>,
    /// On which day.
    on: Window,
    /// What that day has: cost, input and output.
    day: [u64; 3],
}

/// What is written when everything is decided.
#[derive(Default)]
struct Writes {
    ended: Vec<HoldId>,
    charged: Vec<(HoldId, String)>,
    kept: Vec<(usize, HoldId, Vec<u8>)>,
    /// New ones: what is held, and for what is charged already, what it was.
    held: Vec<(HoldId, String, Option<String>)>,
    days: Sums,
}

/// The accounts and holds that it is about, locked.
struct Locked {
    places: BTreeMap<Id, Place>,
    states: HashMap<Id, String>,
    books: Books,
    held: HashMap<HoldId, Held>,
    now: SystemTime,
}

impl Group<'_> {
    /// Runs it. What has failed has not happened, or will be found when it is sent again.
    pub(super) async fn run(&self, connection: &Connection) -> Result<Done, Failure> {
        let mut locked = self.lock(connection).await?;
        let (mut done, writes) = self.decide(&mut locked)?;
        self.write(connection, locked, writes, &mut done).await?;
        Ok(done)
    }

    fn places(&self) -> BTreeMap<Id, Place> {
        let held = self.errands.iter().flat_map(|errand| errand.holds.iter().map(Hold::place));
        let needed = self.reserves.iter().flat_map(|(_, scopes, _)| scopes.iter().map(Place::of));
        held.chain(needed).map(|place| (id(&place), place)).collect()
    }

    /// Begins, and waits until nobody else has what it is about.
    async fn lock(&self, Connection { client, statements, .. }: &Connection) -> Result<Locked, Failure> {
        let places = self.places();
        let (mut ids, mut accounts, mut measures, mut periods) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (id, place) in &places {
            ids.push(id.as_slice());
            accounts.push(shown_to_people(&place.account));
            measures.push(place.measure.as_str());
            periods.push(place.period.to_string());
        }
        let (nodes, numbers) = columns(self.errands.iter().map(|errand| errand.id));
        let (_, now, _, states, held) = try_join5(
            client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED"),
            client.query_one(&statements.now, &[]),
            client.execute(&statements.open, &[&ids, &accounts, &measures, &periods]),
            client.query(&statements.lock, &[&ids]),
            client.query(&statements.holds, &[&nodes, &numbers]),
        )
        .await?;
        let now = self.at.unwrap_or(now.try_get::<_, i64>(0)?.unsigned_abs());
        let now = moment(now);
        let states = states.iter().map(state).collect::<Result<HashMap<Id, String>, Failure>>()?;
        let mut books = Vec::with_capacity(places.len());
        for (id, place) in &places {
            let state = states.get(id).ok_or_else(|| Failure::away("an account has just been forgotten"))?;
            books.push((place.clone(), account(place, state, now)?));
        }
        let held = held.iter().map(held_of).collect::<Result<_, Failure>>()?;
        Ok(Locked { places, states, books: Books::of(books), held, now })
    }

    fn decide(&self, locked: &mut Locked) -> Result<(Done, Writes), Failure> {
        let (mut done, mut writes) = (Done::default(), Writes::default());
        for (index, errand) in self.errands.iter().enumerate() {
            done.errands.push(writes.errand(index, errand, locked)?);
        }
        for (id, scopes, worst) in &self.reserves {
            let reserved = locked.books.reserve(*id, scopes, *worst, locked.now);
            if let Ok(ticket) = &reserved {
                writes.held.push((*id, text(&ticket.holds)?, None));
            }
            done.reserves.push(reserved);
        }
        Ok((done, writes))
    }

    async fn write(
        &self,
        Connection { client, statements, .. }: &Connection,
        locked: Locked,
        writes: Writes,
        done: &mut Done,
    ) -> Result<(), Failure> {
        for (id, charged) in &writes.charged {
            client.execute(CHARGE, &[&signed(id.node), &signed(id.number), charged]).await?;
        }
        for (index, id, name) in &writes.kept {
            let kept = client.execute(KEEP, &[&signed(id.node), &signed(id.number), name]).await?;
            if let (0, Some(fate)) = (kept, done.errands.get_mut(*index)) {
                *fate = Fate::Full;
            }
        }
        for (id, name) in &self.resumes {
            let name = kept_as(name);
            let row = client.query_opt(RESUME, &[&signed(id.node), &signed(id.number), &name]).await?;
            done.resumes.push(row.map(|row| record(row.try_get(0)?)).transpose()?);
        }
        let saved = locked.saved()?;
        let (ended_nodes, ended_numbers) = columns(writes.ended.into_iter());
        let (nodes, numbers) = columns(writes.held.iter().map(|(id, ..)| *id));
        let (records, charged): (Vec<_>, Vec<_>) =
            writes.held.iter().map(|(_, record, charged)| (record, charged)).unzip();
        let days = writes.days.columns();
        let [requests, cost, input, output] = &days.numbers;
        let Saved { ids, states, used, held, began, idle_from } = &saved;
        let ids: Vec<&[u8]> = ids.iter().map(Id::as_slice).collect();
        try_join5(
            client.execute(&statements.end, &[&ended_nodes, &ended_numbers]),
            client.execute(&statements.hold, &[&nodes, &numbers, &records, &charged]),
            client.execute(&statements.save, &[&ids, states, used, held, began, idle_from]),
            client.execute(
                &statements.add_days,
                &[&days.days, &days.ids, &days.accounts, requests, cost, input, output],
            ),
            client.batch_execute("COMMIT"),
        )
        .await?;
        Ok(())
    }
}

impl Writes {
    /// What becomes of a hold. Each is settled once: whoever comes later doesn't find it.
    fn errand(&mut self, index: usize, errand: &Errand, locked: &mut Locked) -> Result<Fate, Failure> {
        let now = errand.at.map_or(locked.now, moment);
        let Some(held) = locked.held.remove(&errand.id) else { return self.unheld(errand, locked, now) };
        let today = Day::of(now).window;
        match (&errand.deed, &held.charged) {
            (Deed::Settle { used, day }, Some(charged)) => {
                for ((hold, (window, charged)), used) in held.holds.iter().zip(&charged.holds).zip(used) {
                    if let Some(account) = locked.books.account(&hold.place()) {
                        account.correct(*window, *charged, *used, now);
                    }
                }
                self.days.correct(&held.holds, charged.on, charged.day, *day);
                self.ended.push(errand.id);
                return Ok(Fate::Corrected);
            }
            (Deed::Settle { used, day }, None) => {
                for (index, hold) in held.holds.iter().enumerate() {
                    locked.books.replace(hold, used.get(index).copied().unwrap_or(0), now);
                }
                self.days.add(&held.holds, today, *day);
                self.ended.push(errand.id);
            }
            (Deed::Cancel, None) => {
                for hold in &held.holds {
                    locked.books.replace(hold, 0, now);
                }
                self.ended.push(errand.id);
            }
            (Deed::Abandon, None) if !held.is_alive && held.is_kept_as.is_none() => {
                self.abandon(errand.id, &held.holds, locked, now)?;
            }
            (Deed::Keep { name }, None) => {
                let name = kept_as(name);
                if held.is_kept_as.as_ref() != Some(&name) {
                    self.kept.push((index, errand.id, name));
                }
                locked.held.insert(errand.id, held);
            }
            _ => {
                locked.held.insert(errand.id, held);
                return Ok(Fate::Unknown);
            }
        }
        Ok(Fate::Done)
    }

    /// Charges a hold as it was held. Of tokens nothing is charged.
    fn abandon(
        &mut self,
        id: HoldId,
        holds: &[Hold],
        locked: &mut Locked,
        now: SystemTime,
    ) -> Result<(), Failure> {
        let (on, day) = (Day::of(now).window, [days::held(holds).cost.0, 0, 0]);
        let mut charged = Charged { on, day, ..Charged::default() };
        for hold in holds {
            let used = left_behind(hold);
            charged.holds.push((locked.books.replace(hold, used, now), used));
        }
        self.days.add(holds, on, day);
        self.charged.push((id, text(&charged)?));
        Ok(())
    }

    /// What becomes of an errand without a hold. What was never held is charged, and its id is remembered.
    fn unheld(&mut self, errand: &Errand, locked: &mut Locked, now: SystemTime) -> Result<Fate, Failure> {
        let Deed::Charge { used, day } = &errand.deed else { return Ok(Fate::Unknown) };
        for (hold, used) in errand.holds.iter().zip(used) {
            if let Some(account) = locked.books.account(&hold.place()) {
                account.charge(*used, now);
            }
        }
        self.days.add(&errand.holds, Day::of(now).window, *day);
        self.held.push((errand.id, text(&errand.holds)?, Some(text(&Charged::default())?)));
        let held = Held { charged: Some(Charged::default()), ..Held::default() };
        locked.held.insert(errand.id, held);
        Ok(Fate::Done)
    }
}

/// The accounts that have changed, in columns.
#[derive(Default)]
struct Saved {
    ids: Vec<Id>,
    states: Vec<String>,
    used: Vec<i64>,
    held: Vec<i64>,
    began: Vec<i64>,
    idle_from: Vec<Option<i64>>,
}

impl Locked {
    fn saved(mut self) -> Result<Saved, Failure> {
        let mut saved = Saved::default();
        for (id, place) in &self.places {
            let Some(account) = self.books.account(place) else { continue };
            let state = text(account)?;
            if self.states.get(id) == Some(&state) {
                continue;
            }
            let idle_from = account.idle_from(self.now);
            let balance = account.balance(self.now);
            let shown = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
            saved.ids.push(*id);
            saved.states.push(state);
            saved.used.push(shown(balance.posted));
            saved.held.push(shown(balance.held));
            saved.began.push(balance.window.0);
            saved.idle_from.push(idle_from.map(seconds));
        }
        Ok(saved)
    }
}

/// An account as it was written, or a new one.
pub(super) fn account(place: &Place, state: &str, now: SystemTime) -> Result<Account, Failure> {
    if state.is_empty() {
        return Ok(Account::new(place.period, now));
    }
    serde_json::from_str(state).map_err(|error| Failure::Refused(error.into()))
}

pub(super) fn state(row: &Row) -> Result<(Id, String), Failure> {
    let id: &[u8] = row.try_get(0)?;
    Ok((id.try_into().map_err(Failure::away)?, row.try_get(1)?))
}

fn held_of(row: &Row) -> Result<(HoldId, Held), Failure> {
    let charged: Option<&str> = row.try_get(4)?;
    let charged = charged.map(serde_json::from_str).transpose();
    let held = Held {
        holds: record(row.try_get(2)?)?,
        is_kept_as: row.try_get(3)?,
        charged: charged.map_err(|error| Failure::Refused(error.into()))?,
        is_alive: row.try_get(5)?,
    };
    Ok((hold_id(row)?, held))
}

/// What names the hold of a row that begins with it.
pub(super) fn hold_id(row: &Row) -> Result<HoldId, Failure> {
    let (node, number): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(HoldId { node: node.cast_unsigned(), number: number.cast_unsigned() })
}

pub(super) fn record(text: &str) -> Result<Vec<Hold>, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Refused(error.into()))
}

fn text(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Refused(error.into()))
}

/// What `scopes` need, in no window yet.
pub(super) fn holds(scopes: &[Scope], worst: Amounts) -> Vec<Hold> {
    let hold = |scope: &Scope| {
        let Place { account, measure, period } = Place::of(scope);
        Hold { account, measure, period, window: Window::default(), amount: worst.held(measure) }
    };
    scopes.iter().map(hold).collect()
}

fn columns(ids: impl Iterator<Item = HoldId>) -> (Vec<i64>, Vec<i64>) {
    ids.map(|id| (signed(id.node), signed(id.number))).unzip()
}

pub(super) fn moment(micros: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(UNIX_EPOCH)
}

fn seconds(at: SystemTime) -> i64 {
    i64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}
