//! Records in ClickHouse, by its HTTP interface: [`ClickHouse`].
//!
//! Each batch is one `INSERT … FORMAT JSONEachRow`. It has an `insert_deduplication_token` made of the ids of its records, so
//! that one that is tried again, because its answer was lost, leaves no record twice.
//!
//! The table is made at the start if it isn't there: a `MergeTree` by month, ordered by hour, team and key, which forgets by
//! `TTL`. A table of one's own, such as a replicated one, may have fewer columns: those that it lacks are not written. The
//! whole record as JSON is in the column `record`, and what was asked and answered in `request` and `answer`, where it is
//! kept.
//!
//! ```sql
//! SELECT team, model, count() AS requests, sum(cost) AS usd, quantile(0.95)(duration_us) / 1000 AS p95_ms
//! FROM bartizan_records WHERE ended > now() - INTERVAL 1 DAY GROUP BY team, model ORDER BY usd DESC
//! ```
//!
//! ```
//! use bartizan::{
//!     clickhouse::ClickHouseOptions,
//!     record::{QueueOptions, RecordLayer},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clickhouse = ClickHouseOptions::new("http://127.0.0.1:8123")?.user("gateway").open()?;
//! let (records, worker) = QueueOptions::new(10_000).keeper(clickhouse).start();
//! # drop(worker);
//! # Ok(()) }
//! ```
//!
//! Made for ClickHouse 22.8 or newer; tested with the engine of 26.9.

mod line;
mod options;
mod server;
mod table;

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use sha2::{Digest, Sha256};

pub use self::options::ClickHouseOptions;
use self::{line::Line, server::Server, table::Table};
use crate::{
    BoxError, BoxFuture,
    record::{Keep, Kept},
};

/// A batch with more content than this is sent in parts.
const PART: usize = 8 << 20;

/// Keeps records in a table of ClickHouse; made by [`ClickHouseOptions`].
#[derive(Debug)]
pub struct ClickHouse {
    server: Server,
    table: Table,
    /// Whether the table is known to be there.
    is_ready: bool,
}

impl ClickHouse {
    /// Looks for the table, unless that was done.
    async fn prepare(&mut self) -> Result<(), BoxError> {
        if !self.is_ready {
            self.table.prepare(&self.server).await?;
            self.is_ready = true;
        }
        Ok(())
    }

    async fn write(&mut self, batch: &[Arc<Kept>]) -> Result<(), BoxError> {
        self.prepare().await?;
        // Whoever has failed is asked from the beginning.
        self.is_ready = false;
        let insert = format!("INSERT INTO {} FORMAT JSONEachRow", self.table.name());
        let mut part = Part::default();
        for kept in batch {
            part.push(kept)?;
            if part.lines.len() > PART {
                self.server.insert(&insert, std::mem::take(&mut part)).await?;
            }
        }
        self.server.insert(&insert, part).await?;
        self.is_ready = true;
        Ok(())
    }
}

/// What is inserted at once.
#[derive(Default)]
struct Part {
    lines: Vec<u8>,
    ids: Sha256,
}

impl Part {
    fn push(&mut self, kept: &Kept) -> Result<(), serde_json::Error> {
        self.ids.update(kept.record().id.as_str());
        serde_json::to_writer(&mut self.lines, &Line::new(kept))?;
        self.lines.push(b'\n');
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// What the same records have again, and others don't; and the records.
    fn finish(self) -> (String, Bytes) {
        (URL_SAFE_NO_PAD.encode(self.ids.finalize()), self.lines.into())
    }
}

impl Keep for ClickHouse {
    fn name(&self) -> &'static str {
        "clickhouse"
    }

    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.write(batch))
    }

    fn tidy(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // It is there before the first record; what keeps it from being made is told with that.
            if let Err(error) = self.prepare().await {
                tracing::debug!(%error, "the table in clickhouse could not be looked for");
            }
        })
    }
}
