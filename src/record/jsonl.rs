use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use super::{Record, Sink};

/// How many records are written at once.
const BATCH: usize = 1024;

/// How long records are collected before the next batch. Under load they come faster than a thread is
/// woken, which would cost more than all of the rest.
const PAUSE: Duration = Duration::from_millis(10);

/// Records as lines of JSON: one object a line, written by a worker.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use bartizan::record::JsonLines;
///
/// let (records, worker) = JsonLines::new(std::io::sink(), 1024);
/// let worker = tokio::spawn(worker);
/// // … `RecordLayer::new(Arc::new(records))` … and at the end:
/// drop(records);
/// worker.await.unwrap()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct JsonLines {
    queue: mpsc::Sender<Record>,
    dropped: Arc<AtomicU64>,
}

/// Where lines go: anything that can be written to from a thread that may block.
pub trait Writer: io::Write + Send + 'static {}

impl<W: io::Write + Send + 'static> Writer for W {}

impl JsonLines {
    /// The sink, with a queue of `depth` records, and its worker: spawn it, and await it at shutdown,
    /// when all clones of the sink are gone. It ends with the error of the writer if there is one.
    pub fn new(mut writer: impl Writer, depth: usize) -> (Self, impl Future<Output = io::Result<()>> + Send) {
        let (queue, mut records) = mpsc::channel(depth.max(1));
        let worker = async move {
            let mut batch = Vec::new();
            while records.recv_many(&mut batch, BATCH).await > 0 {
                let was_full = batch.len() == BATCH;
                (writer, batch) = tokio::task::spawn_blocking(move || write(writer, batch))
                    .await
                    .map_err(io::Error::other)??;
                if !was_full {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Ok(())
        };
        (Self { queue, dropped: Arc::default() }, worker)
    }

    /// How many records found the queue full, or its worker gone.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Writes all of `batch` and gives it back empty.
fn write<W: Writer>(mut writer: W, mut batch: Vec<Record>) -> io::Result<(W, Vec<Record>)> {
    let mut lines = Vec::with_capacity(512 * batch.len());
    for record in batch.drain(..) {
        serde_json::to_writer(&mut lines, &record)?;
        lines.push(b'\n');
    }
    writer.write_all(&lines)?;
    writer.flush()?;
    Ok((writer, batch))
}

impl Sink for JsonLines {
    fn record(&self, record: Record) {
        if self.queue.try_send(record).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // Once for every power of two, so that a broken sink does not fill the log instead.
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "records are lost: their queue is full, or its worker has stopped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{Exchange, body::End, lock};

    #[derive(Clone, Debug, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            lock(&self.0).write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug)]
    struct Full;

    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record() -> Record {
        Record::new(&Exchange::default(), Some(200), 7, End::Complete)
    }

    #[tokio::test]
    async fn each_record_is_a_line_and_all_are_written_before_the_end() {
        let out = Shared::default();
        let (records, worker) = JsonLines::new(out.clone(), 1000);
        for _ in 0..600 {
            records.record(record());
        }

        drop(records);
        worker.await.unwrap();

        let text = String::from_utf8(lock(&out.0).clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 600);
        assert_eq!((&lines[599]["status"], &lines[599]["end"]), (&200.into(), &"complete".into()));
    }

    #[tokio::test]
    async fn what_finds_no_place_is_counted_and_waited_for_by_nobody() {
        let (records, worker) = JsonLines::new(Full, 2);
        for _ in 0..5 {
            records.record(record());
        }
        assert_eq!(records.dropped(), 3);

        assert_eq!(worker.await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        records.record(record());
        assert_eq!(records.dropped(), 4);
    }
}
