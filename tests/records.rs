//! The queue of records when one that keeps them hangs: memory has an edge, and all that is lost is counted.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bartizan::{
    BoxError, BoxFuture,
    record::{Keep, Kept, QueueOptions, Record, RecordLayer, Sink},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};

const DEPTH: usize = 1_000;
const RECORDS: u64 = 1_000_000;
/// What some thousand records may take.
const MOST: u64 = 32_000_000;

/// Never keeps anything.
struct Hangs;

impl Keep for Hangs {
    fn name(&self) -> &'static str {
        "hangs"
    }

    fn keep<'a>(&'a mut self, _: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(std::future::pending())
    }
}

/// Counts what it keeps.
struct Counts(Arc<AtomicU64>);

impl Keep for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }

    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        self.0.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(())))
    }
}

#[derive(Debug, Default)]
struct Last(Mutex<Option<Record>>);

impl Sink for Last {
    fn record(&self, record: Record) {
        *self.0.lock().unwrap() = Some(record);
    }
}

async fn record() -> Record {
    let last = Arc::new(Last::default());
    let answer = || Response::new(Full::new(Bytes::from_static(b"hello")));
    let inner = service_fn(move |_: Request<()>| std::future::ready(Ok::<_, BoxError>(answer())));
    let answer = RecordLayer::new(last.clone()).layer(inner).oneshot(Request::new(())).await.unwrap();
    answer.collect().await.unwrap();
    last.0.lock().unwrap().take().unwrap()
}

async fn a_million_records() {
    let (record, counted) = (record().await, Arc::<AtomicU64>::default());
    let (queue, worker) = QueueOptions::new(DEPTH).keeper(Hangs).keeper(Counts(counted.clone())).start();
    let worker = tokio::spawn(worker);

    for _ in 0..RECORDS / 2_000 {
        // Twice as many as there is room for.
        (0..2_000).for_each(|_| queue.record(record.clone()));
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }

    let missed: Vec<_> = queue.missed().map(|(_, missed)| missed).collect();
    let counted = counted.load(Ordering::Relaxed);
    assert_eq!((counted + queue.dropped(), missed[1]), (RECORDS, 0));
    assert!(missed[0] > counted / 2, "{missed:?} of {counted}");
    worker.abort();
}

#[test]
fn one_that_hangs_for_ten_minutes_and_a_million_records_takes_bounded_memory() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();

    let info = allocation_counter::measure(|| runtime.block_on(a_million_records()));

    assert!(info.bytes_max < MOST, "{} bytes", info.bytes_max);
}
