use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{join, join_all};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use super::{
    ContentRules, Keep, Kept, Record, Sink,
    keep::{Charge, Room},
};
use crate::metrics;

/// The most bytes of content that wait, in the queue and for keepers.
const MOST_CONTENT: usize = 64 << 20;
/// The most records that are kept at once.
const BATCH: usize = 4096;
/// How long records are collected before they are handed on. Under load they come faster than a thread is woken,
/// which would cost more than all of the rest.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a keeper collects them: one transaction for many is what makes a database quick.
const COLLECT: Duration = Duration::from_millis(100);
/// How often a batch is tried to be kept, and the pause before the second time, which doubles.
const ATTEMPTS: u32 = 5;
const BACKOFF: Duration = Duration::from_millis(200);
/// How often a keeper forgets what is old.
const TIDY: Duration = Duration::from_secs(5);

/// Records on their way to whoever keeps them, in bounded memory: [`Queue`] is the sink, and its worker does the rest.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::sync::Arc;
///
/// use bartizan::record::{JsonLines, QueueOptions, RecordLayer};
///
/// let (records, worker) = QueueOptions::new(10_000).keeper(JsonLines::new(std::io::sink())).start();
/// let worker = tokio::spawn(worker);
/// let layer = RecordLayer::new(Arc::new(records));
/// // … and at the end:
/// drop(layer);
/// worker.await.unwrap();
/// # }
/// ```
#[derive(Debug)]
pub struct QueueOptions {
    depth: usize,
    content: usize,
    rules: ContentRules,
    keepers: Vec<Box<dyn Keep>>,
}

impl QueueOptions {
    /// A queue in which at most `depth` records wait to be handed on, and as many for each keeper.
    pub fn new(depth: usize) -> Self {
        let (content, rules) = (MOST_CONTENT, ContentRules::default());
        Self { depth: depth.max(1), content, rules, keepers: Vec::new() }
    }

    /// Adds who keeps them.
    #[must_use]
    pub fn keeper(mut self, keeper: impl Keep) -> Self {
        self.keepers.push(Box::new(keeper));
        self
    }

    /// Sets how many bytes of content may wait, 64 MiB otherwise: beyond them, records are kept without theirs.
    #[must_use]
    pub fn content(self, bytes: usize) -> Self {
        Self { content: bytes, ..self }
    }

    /// Sets what of content is kept.
    #[must_use]
    pub fn rules(self, rules: ContentRules) -> Self {
        Self { rules, ..self }
    }

    /// The queue and its worker: spawn it, and await it at shutdown, when all clones of the queue are gone. It
    /// ends when all that waits is kept, or was tried for the last time.
    pub fn start(self) -> (Queue, impl Future<Output = ()> + Send) {
        let (sender, waiting) = mpsc::channel(self.depth);
        let lost = Lost::new("queue");
        let keeps_content = self.keepers.iter().any(|keeper| keeper.keeps_content());
        let (lines, workers): (Vec<_>, Vec<_>) =
            self.keepers.into_iter().map(|keeper| line(keeper, self.depth)).unzip();
        let missed = lines.iter().map(|line: &Line| line.lost.clone()).collect();
        let room = keeps_content.then(|| Room::new(self.content));
        let left_out = LeftOut::new();
        let queue = Queue { sender, lost: lost.clone(), missed, room, left_out };
        let rules = Arc::new(self.rules);
        let worker = async move {
            join(distribute(waiting, lines, rules, lost), join_all(workers)).await;
        };
        (queue, worker)
    }
}

/// Takes records without waiting; made by [`QueueOptions`].
#[derive(Clone, Debug)]
pub struct Queue {
    sender: mpsc::Sender<Waiting>,
    lost: Lost,
    missed: Arc<[Lost]>,
    /// For content, if anybody keeps it.
    room: Option<Room>,
    left_out: LeftOut,
}

/// A record that waits, and the room that its content takes.
#[derive(Debug)]
struct Waiting {
    record: Record,
    charge: Option<Charge>,
}

impl Queue {
    /// How many records found the queue full, or its worker gone.
    pub fn dropped(&self) -> u64 {
        self.lost.count()
    }

    /// How many more each keeper has missed, by its name: because it was too slow, or could not keep them.
    pub fn missed(&self) -> impl Iterator<Item = (&str, u64)> {
        self.missed.iter().map(|lost| (&*lost.to, lost.count()))
    }

    /// How many records were kept without their content, because there was no room for it.
    pub fn left_out(&self) -> u64 {
        self.left_out.0.load(Ordering::Relaxed)
    }
}

impl Sink for Queue {
    fn record(&self, mut record: Record) {
        let charge = self.charge(&mut record);
        if self.sender.try_send(Waiting { record, charge }).is_err() {
            self.lost.add(1, "their queue is full, or its worker has stopped");
        }
    }
}

impl Queue {
    /// The room that a record's content takes; without it the record goes without.
    fn charge(&self, record: &mut Record) -> Option<Charge> {
        let content = record.content.as_ref()?;
        let charge = self.room.as_ref().and_then(|room| room.take(content.size()));
        if charge.is_none() {
            record.content = None;
            if self.room.is_some() {
                self.left_out.add();
            }
        }
        charge
    }
}

/// Counts records that are lost.
#[derive(Clone)]
struct Lost {
    count: Arc<AtomicU64>,
    to: Arc<str>,
}

impl Lost {
    fn new(to: &str) -> Self {
        let to = to.into();
        // The series is there before anything is lost, so that its growth can be told.
        metrics::records_lost(&to, 0);
        Self { count: Arc::default(), to }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Says so once for every power of two, so that a broken keeper does not fill the log instead.
    fn add(&self, records: u64, why: &str) {
        let before = self.count.fetch_add(records, Ordering::Relaxed);
        metrics::records_lost(&self.to, records);
        if has_doubled(before, records) {
            tracing::warn!(to = %self.to, lost = before + records, "records are lost: {why}");
        }
    }
}

/// Counts records that are kept without their content.
#[derive(Clone, Debug)]
struct LeftOut(Arc<AtomicU64>);

impl LeftOut {
    fn new() -> Self {
        metrics::content_left_out(0);
        Self(Arc::default())
    }

    fn add(&self) {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        metrics::content_left_out(1);
        if has_doubled(before, 1) {
            tracing::warn!(
                records = before + 1,
                "records are kept without their content: too much of it waits"
            );
        }
    }
}

/// Whether a count has reached the next power of two.
fn has_doubled(before: u64, more: u64) -> bool {
    (before + more).checked_ilog2() != before.checked_ilog2()
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.count().fmt(f)
    }
}

/// Where the records for one keeper wait.
struct Line {
    sender: mpsc::Sender<Arc<Kept>>,
    lost: Lost,
}

fn line(keeper: Box<dyn Keep>, depth: usize) -> (Line, impl Future<Output = ()> + Send) {
    let (sender, waiting) = mpsc::channel(depth);
    let lost = Lost::new(keeper.name());
    (Line { sender, lost: lost.clone() }, work(keeper, waiting, lost))
}

/// Hands every record to all keepers, of whom none waits for another one.
async fn distribute(
    mut waiting: mpsc::Receiver<Waiting>,
    lines: Vec<Line>,
    rules: Arc<ContentRules>,
    lost: Lost,
) {
    let mut batch = Vec::new();
    loop {
        let taken = waiting.recv_many(&mut batch, BATCH).await;
        if taken == 0 {
            break;
        }
        metrics::records_waiting(&lost.to, waiting.len());
        for kept in prepare(&mut batch, &rules, &lost).await {
            let kept = Arc::new(kept);
            for line in &lines {
                if line.sender.try_send(kept.clone()).is_err() {
                    line.lost.add(1, "whoever keeps them is too slow");
                }
            }
        }
        // A keeper that hangs doesn't tell.
        for line in &lines {
            metrics::records_waiting(&line.lost.to, line.sender.max_capacity() - line.sender.capacity());
        }
        if taken < BATCH && !waiting.is_closed() {
            sleep(PAUSE).await;
        }
    }
}

/// Makes what is kept of a batch: where there is content, on a thread that may take its time.
async fn prepare(batch: &mut Vec<Waiting>, rules: &Arc<ContentRules>, lost: &Lost) -> Vec<Kept> {
    let has_content = batch.iter().any(|waiting| waiting.record.content.is_some());
    let records = batch.len();
    let (batch, rules) = (std::mem::take(batch), rules.clone());
    let prepare = move || {
        batch.into_iter().map(|Waiting { record, charge }| Kept::charged(record, &rules, charge)).collect()
    };
    if !has_content {
        return prepare();
    }
    tokio::task::spawn_blocking(prepare).await.unwrap_or_else(|_| {
        lost.add(records as u64, "their content could not be read");
        Vec::new()
    })
}

/// Has one keeper keep what waits for it, until nothing more comes.
async fn work(mut keeper: Box<dyn Keep>, mut waiting: mpsc::Receiver<Arc<Kept>>, lost: Lost) {
    let mut batch = Vec::new();
    let mut tidy_at = Instant::now() + TIDY;
    loop {
        match timeout_at(tidy_at, waiting.recv_many(&mut batch, BATCH)).await {
            Ok(0) => break,
            Ok(_) => {
                collect(&mut waiting, &mut batch).await;
                keep(&mut *keeper, &batch, &lost).await;
                batch.clear();
                metrics::records_waiting(&lost.to, waiting.len());
            }
            Err(_) => {}
        }
        if Instant::now() >= tidy_at {
            keeper.tidy().await;
            tidy_at = Instant::now() + TIDY;
        }
    }
    keeper.finish().await;
}

/// Waits a moment for more.
async fn collect(waiting: &mut mpsc::Receiver<Arc<Kept>>, batch: &mut Vec<Arc<Kept>>) {
    let until = Instant::now() + COLLECT;
    while let Some(room) = BATCH.checked_sub(batch.len()).filter(|room| *room > 0) {
        match timeout_at(until, waiting.recv_many(batch, room)).await {
            Ok(0) | Err(_) => break,
            Ok(_) => sleep(PAUSE.min(until.duration_since(Instant::now()))).await,
        }
    }
}

async fn keep(keeper: &mut dyn Keep, batch: &[Arc<Kept>], lost: &Lost) {
    let mut pause = BACKOFF;
    for attempt in 1..=ATTEMPTS {
        match keeper.keep(batch).await {
            Ok(()) => return,
            Err(error) if attempt < ATTEMPTS => {
                tracing::debug!(to = %lost.to, %error, attempt, "records could not be kept");
                sleep(pause).await;
                pause *= 2;
            }
            Err(error) => {
                tracing::error!(to = %lost.to, %error, records = batch.len(), "records are lost");
                lost.add(batch.len() as u64, "they could not be kept");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{BoxError, BoxFuture, Exchange, body::End, lock, record::Passing};

    /// Keeps how large its batches were, and fails or hangs as it is told to.
    #[derive(Clone, Debug, Default)]
    struct Told {
        batches: Arc<Mutex<Vec<usize>>>,
        fails: u32,
        hangs: bool,
    }

    impl Keep for Told {
        fn name(&self) -> &'static str {
            "told"
        }

        fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
            Box::pin(async move {
                if self.hangs {
                    std::future::pending::<()>().await;
                }
                if self.fails > 0 {
                    self.fails -= 1;
                    return Err("the disk is full".into());
                }
                lock(&self.batches).push(batch.len());
                Ok(())
            })
        }
    }

    impl Told {
        fn kept(&self) -> usize {
            lock(&self.batches).iter().sum()
        }
    }

    fn record(to: &Queue, number: usize) {
        for _ in 0..number {
            to.record(Record::new(&Exchange::default(), Passing::default(), None, End::Complete));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_within_a_moment_is_one_batch() {
        let keeper = Told::default();
        let (queue, worker) = QueueOptions::new(100).keeper(keeper.clone()).start();
        let worker = tokio::spawn(worker);

        for _ in 0..3 {
            record(&queue, 5);
            sleep(PAUSE).await;
        }
        sleep(COLLECT).await;
        record(&queue, 2);
        drop(queue);
        worker.await.unwrap();

        assert_eq!(*lock(&keeper.batches), [15, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_keeper_that_hangs_holds_up_nobody_and_what_it_misses_is_counted() {
        let (keeper, hangs) = (Told::default(), Told { hangs: true, ..Told::default() });
        let (queue, worker) = QueueOptions::new(10).keeper(hangs).keeper(keeper.clone()).start();
        let worker = tokio::spawn(worker);

        for _ in 0..10 {
            record(&queue, 10);
            sleep(Duration::from_secs(1)).await;
        }

        assert_eq!((keeper.kept(), queue.dropped()), (100, 0));
        // One batch of ten hangs, the next waits.
        assert_eq!(queue.missed().collect::<Vec<_>>(), [("told", 80), ("told", 0)]);
        worker.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_place_is_counted_and_waited_for_by_nobody() {
        let keeper = Told::default();
        let (queue, worker) = QueueOptions::new(2).keeper(keeper.clone()).start();

        record(&queue, 5);
        assert_eq!(queue.dropped(), 3);
        drop(queue);
        worker.await;

        assert_eq!(keeper.kept(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_fails_is_tried_again_but_not_for_ever() {
        for (fails, kept) in [(ATTEMPTS - 1, 3), (ATTEMPTS, 0)] {
            let keeper = Told { fails, ..Told::default() };
            let (queue, worker) = QueueOptions::new(10).keeper(keeper.clone()).start();

            record(&queue, 3);
            drop(queue);
            worker.await;

            assert_eq!(keeper.kept(), kept);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn content_for_which_there_is_no_room_is_left_out_and_the_room_is_given_back() {
        let keeper = Told::default();
        let (queue, worker) = QueueOptions::new(100).content(2_500).keeper(keeper.clone()).start();
        let worker = tokio::spawn(worker);
        let with_content = |number| {
            for _ in 0..number {
                let exchange = Exchange::default();
                exchange.learn(|learnt| learnt.content = Some(bytes::Bytes::from(vec![b'a'; 1_000])));
                queue.record(Record::new(&exchange, Passing::default(), None, End::Complete));
            }
        };

        with_content(4);
        assert_eq!(queue.left_out(), 2);
        // Content is prepared on another thread, which doesn't know the clock.
        while keeper.kept() < 4 {
            sleep(COLLECT).await;
        }
        with_content(2);

        assert_eq!((queue.left_out(), queue.dropped()), (2, 0));
        drop(queue);
        worker.await.unwrap();
        assert_eq!(keeper.kept(), 6);
    }
}
