use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Mutex, mpsc},
    time::{sleep, timeout},
};

use super::{Added, Audit, Entry, Event, EventKind};
use crate::{Error, Kind, ledger::Ledger};

/// The most events that wait to be entered.
const MOST: usize = 1_000;
/// How often an entry is tried that others are quicker than.
const TRIES: usize = 100;
/// How long a store may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause before something that waits is tried again, which doubles up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// How often it is tried when no more can come.
const LAST_TRIES: u32 = 3;

/// Where events are told. Clones are the same.
#[derive(Clone)]
pub struct Trail {
    chain: Arc<Chain>,
    queue: mpsc::Sender<Event>,
}

struct Chain {
    store: Arc<dyn Audit>,
    /// What all nodes have found out together is marked here.
    marks: Arc<dyn Ledger>,
    /// The last entry as far as this node knows, so that it need not ask.
    last: Mutex<Option<Entry>>,
    /// How many events found no room.
    lost: AtomicU64,
}

impl Trail {
    /// Where events are told that are kept in `store`, and the task that enters those which nobody waits for: spawn
    /// it, and await it at shutdown, when all clones are gone. What happens [once](Event::once) is marked in `marks`.
    pub fn new(store: Arc<dyn Audit>, marks: Arc<dyn Ledger>) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, waiting) = mpsc::channel(MOST);
        let (last, lost) = (Mutex::default(), AtomicU64::default());
        let chain = Arc::new(Chain { store, marks, last, lost });
        (Self { chain: chain.clone(), queue }, chain.work(waiting))
    }

    /// Where entries are kept.
    pub fn store(&self) -> &Arc<dyn Audit> {
        &self.chain.store
    }

    /// Enters something, and waits until it is in the chain.
    ///
    /// # Errors
    ///
    /// If it isn't, or if nobody can say whether it is.
    pub async fn enter(&self, event: &Event) -> Result<Entry, Error> {
        self.chain.enter(event).await
    }

    /// Enters something soon, and waits for nothing. What finds no room is counted, and the number is entered.
    pub fn note(&self, event: Event) {
        if self.queue.try_send(event).is_err() {
            self.chain.lost.fetch_add(1, Relaxed);
        }
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail").field("store", &self.chain.store).finish_non_exhaustive()
    }
}

impl Chain {
    async fn enter(&self, event: &Event) -> Result<Entry, Error> {
        let entering = timeout(PATIENCE, self.append(event));
        let late = |_| Error::new(Kind::Timeout, "the store of the audit doesn't answer");
        entering.await.map_err(late)?
    }

    async fn append(&self, event: &Event) -> Result<Entry, Error> {
        let mut last = self.last.lock().await;
        for _ in 0..TRIES {
            let entry = Entry::after(last.as_ref(), event, SystemTime::now());
            match self.store.add(&entry).await? {
                Added::Yes => {
                    *last = Some(entry.clone());
                    return Ok(entry);
                }
                // It was entered before, and the answer of the store was lost.
                Added::No(Some(found)) if found.is_of(event) => {
                    *last = Some(found.clone());
                    return Ok(found);
                }
                Added::No(found) => *last = found,
            }
        }
        Err(Error::new(Kind::Conflict, "others write to the audit all the time; try again"))
    }

    /// Enters what waits, in its order, until nothing more can come.
    async fn work(self: Arc<Self>, mut waiting: mpsc::Receiver<Event>) {
        while let Some(event) = waiting.recv().await {
            if let Some((name, lasts)) = &event.once
                && matches!(self.marks.mark_once(name, *lasts).await, Ok(false))
            {
                continue;
            }
            self.insist(&event, &waiting).await;
            let lost = self.lost.swap(0, Relaxed);
            if lost > 0 {
                let what = format!("{lost} events found no room and are missing here");
                let event = Event::new(EventKind::Audit, "the gateway", what).detail("missing", lost);
                self.insist(&event, &waiting).await;
            }
        }
    }

    async fn insist(&self, event: &Event, waiting: &mpsc::Receiver<Event>) {
        let (mut pause, mut last_tries) = (PAUSE, 0);
        while let Err(error) = self.enter(event).await {
            if pause == PAUSE {
                tracing::warn!(?error, "the audit can't be written; what happens waits for it");
            }
            last_tries += u32::from(waiting.is_closed());
            if last_tries >= LAST_TRIES {
                let (kind, who, what) = (event.kind.as_str(), &*event.who, &*event.what);
                tracing::error!(kind, who, what, "this is missing in the audit");
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
        if pause > PAUSE {
            tracing::info!("the audit can be written again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::{
        BoxFuture,
        audit::{MemoryAudit, verify},
        ledger::MemoryLedger,
    };

    /// A store that can be taken away.
    #[derive(Debug, Default)]
    struct Distant {
        memory: MemoryAudit,
        is_away: AtomicBool,
    }

    impl Audit for Distant {
        fn add<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Added, Error>> {
            if self.is_away.load(Relaxed) {
                return Box::pin(async { Err(Error::new(Kind::Internal, "away")) });
            }
            self.memory.add(entry)
        }

        fn last(&self) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
            self.memory.last()
        }

        fn read(&self, first: u64, most: usize) -> BoxFuture<'_, Result<Vec<Entry>, Error>> {
            self.memory.read(first, most)
        }
    }

    fn event(what: &str) -> Event {
        Event::new(EventKind::Breaker, "the gateway", what)
    }

    async fn told(store: &Distant) -> Vec<String> {
        let what = |entry: &Entry| entry.value()["what"].as_str().unwrap_or_default().to_owned();
        store.read(1, 2_000).await.unwrap().iter().map(what).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_entered_when_the_store_is_back_and_what_found_no_room_is_counted() {
        let store = Arc::new(Distant::default());
        let (trail, worker) = Trail::new(store.clone(), Arc::new(MemoryLedger::default()));
        let worker = tokio::spawn(worker);

        store.is_away.store(true, Relaxed);
        assert!(trail.enter(&event("waited for")).await.is_err());
        (0..MOST + 3).for_each(|_| trail.note(event("not waited for")));
        sleep(Duration::from_secs(60)).await;
        store.is_away.store(false, Relaxed);
        drop(trail);
        worker.await.unwrap();

        let told = told(&store).await;
        let missing = "3 events found no room and are missing here";
        assert_eq!((told.len(), told[1].as_str()), (MOST + 1, missing));
        assert!(verify(&*store, None).await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_stays_away_holds_nobody_up_at_the_end() {
        let store = Arc::new(Distant::default());
        store.is_away.store(true, Relaxed);
        let (trail, worker) = Trail::new(store.clone(), Arc::new(MemoryLedger::default()));

        trail.note(event("lost"));
        drop(trail);

        timeout(Duration::from_secs(10), worker).await.unwrap();
    }

    #[tokio::test]
    async fn what_two_nodes_find_out_is_entered_once() {
        let (store, ledger) = (Arc::new(Distant::default()), Arc::new(MemoryLedger::default()));
        for _ in 0..2 {
            let (trail, worker) = Trail::new(store.clone(), ledger.clone());
            trail.note(event("a").once("a", Duration::from_secs(60)));
            trail.note(event("b"));
            drop(trail);
            worker.await;
        }

        assert_eq!(told(&store).await, ["a", "b", "b"]);
    }
}
