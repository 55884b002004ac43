use std::{
    collections::HashMap,
    mem,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::mpsc, time::timeout};

use super::{Held, What, alert::Crossed, handle::Shared, touched::Account};
use crate::{
    Error,
    ledger::{Balance, Ledger, Measure, Period, Quota, Scope, Window},
    lock,
};

/// How long accounts are collected before they are looked at.
const PAUSE: Duration = Duration::from_secs(1);
/// The most thresholds that are known to be told; beyond that the ledger is asked again.
const MOST: usize = 10_000;
/// How long a mark outlives its period, in case that clocks differ.
const DAY: Duration = Duration::from_secs(86_400);
/// How long a mark lasts of a period that doesn't end.
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The thresholds of a quota, if there is anything to be told of it.
pub(super) fn tells_of<'s>(scope: &'s Scope, usual: &'s Arc<[u16]>) -> Option<&'s Arc<[u16]>> {
    let quota = scope.quota?;
    let is_long = quota.measure != Measure::Concurrent && !quota.period.is_given_back();
    let at = scope.alert_at.as_ref().unwrap_or(usual);
    (is_long && quota.limit > 0 && !at.is_empty()).then_some(at)
}

/// Looks at the accounts that were used, and tells of what they have crossed.
pub(super) struct Watch {
    shared: Arc<Shared>,
    ledger: Arc<dyn Ledger>,
    /// The highest threshold that somebody has told in a window, so that the ledger is not asked every time.
    told: HashMap<(Arc<str>, Quota), Told>,
    is_away: bool,
}

struct Told {
    window: Window,
    threshold: u16,
    /// When it may be told again.
    until: SystemTime,
}

impl Watch {
    pub(super) fn new(shared: Arc<Shared>, ledger: Arc<dyn Ledger>) -> Self {
        Self { shared, ledger, told: HashMap::new(), is_away: false }
    }

    /// Until nobody can note anything any more.
    pub(super) async fn run(mut self, mut woken: mpsc::Receiver<()>) {
        // What could not be looked at waits, and wakes nobody.
        while self.is_away || woken.recv().await.is_some() {
            let collect = async { while woken.recv().await.is_some() {} };
            let is_over = timeout(PAUSE, collect).await.is_ok();
            self.look().await;
            if is_over {
                return;
            }
        }
        self.look().await;
    }

    async fn look(&mut self) {
        let waiting = mem::take(&mut *lock(&self.shared.waiting));
        for what in waiting {
            self.tell_once(what).await;
        }
        let accounts = lock(&self.shared.touched).take();
        if accounts.is_empty() {
            return;
        }
        match self.look_at(&accounts).await {
            Ok(()) => self.is_away = false,
            Err(error) => {
                if !self.is_away {
                    tracing::warn!(
                        ?error,
                        "the ledger can't be asked for what is to be told, and will be again"
                    );
                }
                self.is_away = true;
                lock(&self.shared.touched).put_back(accounts);
            }
        }
    }

    /// Tells of what no other node has told; while the ledger can't be asked, whatever others do: it is urgent.
    async fn tell_once(&self, mut what: What) {
        let is_new = match (what.mark(), &mut what) {
            (_, What::Rule(held)) => self.claim(held).await,
            (Some((mark, lasts)), _) => self.is_new(&mark, lasts).await,
            (None, _) => true,
        };
        if is_new {
            self.shared.tell(what);
        }
    }

    async fn is_new(&self, mark: &str, lasts: Duration) -> bool {
        self.ledger.mark_once(mark, lasts).await.unwrap_or(true)
    }

    /// Leaves of a rule's targets those of which no other node has told; `false` if there is nothing to be told.
    async fn claim(&self, held: &mut Held) -> bool {
        let mut are_new = Vec::with_capacity(held.marks.len());
        for mark in &held.marks {
            are_new.push(self.is_new(mark, held.rule.marked()).await);
        }
        let mut of_targets = are_new.iter();
        held.targets.retain(|_| of_targets.next().is_some_and(|is_new| *is_new));
        are_new.contains(&true)
    }

    async fn look_at(&mut self, accounts: &[Account]) -> Result<(), Error> {
        let scopes: Vec<Scope> = accounts.iter().map(|account| account.scope.clone()).collect();
        let balances = self.ledger.balances(&scopes).await?;
        for (account, balance) in accounts.iter().zip(balances) {
            if let Some((crossed, at)) = crossed(account, &balance, &self.shared.at) {
                self.tell(crossed, &at, balance.window).await?;
            }
        }
        Ok(())
    }

    /// Marks all thresholds up to the one that is crossed, and tells of it if nobody has.
    async fn tell(&mut self, crossed: Crossed, at: &[u16], window: Window) -> Result<(), Error> {
        let Some(quota) = crossed.scope.quota else { return Ok(()) };
        let now = SystemTime::now();
        let place = (crossed.scope.account.clone(), quota);
        let known = self.told.get(&place).filter(|told| told.window == window && told.until > now);
        let known = known.map_or(0, |told| told.threshold);
        let threshold = crossed.threshold;
        if known >= threshold {
            return Ok(());
        }
        let lasts = lasts(quota.period, crossed.ends, now);
        let mark = |threshold: u16| mark(&place.0, &quota, window, threshold);
        if self.ledger.mark_once(&mark(threshold), lasts).await? {
            self.shared.tell(What::Threshold(crossed));
        }
        for lower in at.iter().filter(|lower| (known + 1..threshold).contains(lower)) {
            self.ledger.mark_once(&mark(*lower), lasts).await?;
        }
        if self.told.len() >= MOST {
            self.told.clear();
        }
        let until = now.checked_add(lasts).unwrap_or(now);
        self.told.insert(place, Told { window, threshold, until });
        Ok(())
    }
}

/// The highest threshold that an account has crossed, and all that it has.
fn crossed(account: &Account, balance: &Balance, usual: &Arc<[u16]>) -> Option<(Crossed, Arc<[u16]>)> {
    let Account { scope, refused } = account;
    let at = tells_of(scope, usual)?.clone();
    let period = scope.counted_as().1;
    let began = Duration::from_secs(u64::try_from(balance.window.0).unwrap_or(0));
    let ends = UNIX_EPOCH.checked_add(began).and_then(|began| period.window(began).1);
    let crossed =
        Crossed { scope: scope.clone(), threshold: 0, used: balance.posted, ends, refused: *refused };
    let percent = crossed.percent();
    let below = at.iter().take_while(|threshold| u64::from(**threshold) <= percent).count();
    // The rest of a budget seldom suffices for a whole request.
    let is_last = *refused && below + 1 == at.len() && below > 0;
    let threshold = if is_last { *at.last()? } else { *at.get(below.checked_sub(1)?)? };
    Some((Crossed { threshold, ..crossed }, at))
}

/// How long it is remembered that something was told.
fn lasts(period: Period, ends: Option<SystemTime>, now: SystemTime) -> Duration {
    match (ends, period) {
        (Some(ends), _) => ends.duration_since(now).unwrap_or_default() + DAY,
        (None, Period::Rolling(seconds)) => Duration::from_secs(seconds.into()),
        (None, _) => TEN_YEARS,
    }
}

fn mark(account: &str, quota: &Quota, window: Window, threshold: u16) -> String {
    let Quota { measure, limit, period, .. } = quota;
    format!("alert:{account}:{}:{period}:{limit}:{}:{threshold}", measure.as_str(), window.0)
}
