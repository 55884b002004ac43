use std::{fmt, io, sync::Arc};

use super::{Keep, Kept};
use crate::{BoxError, BoxFuture};

/// Records as lines of JSON: one object a line, with what was [`Said`](super::Said) as the last member `content`, where
/// that is kept.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use bartizan::record::{JsonLines, QueueOptions};
///
/// let (records, worker) = QueueOptions::new(1024).keeper(JsonLines::new(std::io::sink())).start();
/// let worker = tokio::spawn(worker);
/// // … `RecordLayer::new(Arc::new(records))` … and at the end:
/// drop(records);
/// worker.await.unwrap();
/// # }
/// ```
///
/// A batch that could be written in part only is written again as a whole, on a new line: a disk that was full for a
/// moment must not lose records, so some stand there twice then.
pub struct JsonLines {
    /// Nowhere while it writes.
    writer: Option<Box<dyn Writer>>,
    has_failed: bool,
}

/// Where lines go: anything that can be written to from a thread that may block.
pub trait Writer: io::Write + Send + 'static {}

impl<W: io::Write + Send + 'static> Writer for W {}

impl JsonLines {
    /// Writes to `writer`.
    pub fn new(writer: impl Writer) -> Self {
        Self { writer: Some(Box::new(writer)), has_failed: false }
    }

    async fn write(&mut self, batch: &[Arc<Kept>]) -> Result<(), BoxError> {
        let mut writer = self.writer.take().ok_or("its writer has panicked")?;
        let (batch, has_failed) = (batch.to_vec(), self.has_failed);
        let task = tokio::task::spawn_blocking(move || {
            let written = write(&mut *writer, &batch, has_failed);
            (writer, written)
        });
        let (writer, written) = task.await?;
        self.writer = Some(writer);
        self.has_failed = written.is_err();
        Ok(written?)
    }
}

impl Keep for JsonLines {
    fn name(&self) -> &'static str {
        "file"
    }

    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.write(batch))
    }
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").field("has_failed", &self.has_failed).finish_non_exhaustive()
    }
}

fn write(writer: &mut dyn Writer, batch: &[Arc<Kept>], has_failed: bool) -> io::Result<()> {
    let mut lines = Vec::with_capacity(1024 * batch.len());
    if has_failed {
        // What failed may have been written in part.
        lines.push(b'\n');
    }
    for kept in batch {
        line(kept, &mut lines)?;
    }
    writer.write_all(&lines)?;
    writer.flush()
}

/// The record, with its content as a last member if it has any.
fn line(kept: &Kept, lines: &mut Vec<u8>) -> io::Result<()> {
    lines.extend_from_slice(kept.json().as_bytes());
    if let Some(said) = kept.said() {
        lines.pop();
        lines.extend_from_slice(b",\"content\":");
        serde_json::to_writer(&mut *lines, said)?;
        lines.push(b'}');
    }
    lines.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        Exchange,
        body::End,
        lock,
        record::{Passing, QueueOptions, Record, Sink},
    };

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

    fn record() -> Record {
        Record::new(
            &Exchange::default(),
            Passing { status: Some(200), bytes: 7, ..Passing::default() },
            None,
            End::Complete,
        )
    }

    async fn lines(writer: impl Writer, out: Shared) -> Vec<serde_json::Value> {
        let (records, worker) = QueueOptions::new(1000).keeper(JsonLines::new(writer)).start();
        for _ in 0..600 {
            records.record(record());
        }
        drop(records);
        worker.await;
        let text = String::from_utf8(lock(&out.0).clone()).unwrap();
        text.trim().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn each_record_is_a_line_and_all_are_written_before_the_end() {
        let out = Shared::default();

        let lines = lines(out.clone(), out).await;

        assert_eq!(lines.len(), 600);
        assert_eq!((&lines[599]["status"], &lines[599]["end"]), (&200.into(), &"complete".into()));
    }

    /// A disk that is full for one batch.
    #[derive(Clone, Debug, Default)]
    struct FullOnce(Shared, bool);

    impl io::Write for FullOnce {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            if !std::mem::replace(&mut self.1, true) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_was_full_is_written_to_again() {
        let out = Shared::default();

        let lines = lines(FullOnce(out.clone(), false), out).await;

        assert_eq!(lines.len(), 600);
    }
}
