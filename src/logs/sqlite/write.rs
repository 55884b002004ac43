use std::{sync::Arc, time::Instant};

use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior};

use super::{
    super::{
        rollup::{Groups, Rollups},
        row::Row,
    },
    database::signed,
    group::Known,
    rollup,
};
use crate::record::Kept;

/// What of a record is true, in its `flags`.
pub(super) const ESTIMATED: i64 = 1;
pub(super) const STREAM: i64 = 2;
/// It has content or a message, in which texts may occur.
pub(super) const TEXT: i64 = 4;

/// The connection that writes, and what it knows of the file.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    known: Known,
    rollups: Rollups,
    /// When groups that nothing belongs to were last forgotten.
    pub(super) swept: Instant,
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, known: Known::default(), rollups: Rollups::default(), swept: Instant::now() }
    }

    /// Writes all of a batch or nothing.
    pub(super) fn write(&mut self, batch: &[Arc<Kept>]) -> rusqlite::Result<()> {
        let written = self.commit(batch);
        if written.is_err() {
            self.forget();
        }
        written
    }

    /// What is known need not be in the file.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.rollups = Rollups::default();
    }

    fn commit(&mut self, batch: &[Arc<Kept>]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut inserts = Inserts::new(&transaction)?;
        for kept in batch {
            let row = Row::of(kept.record());
            let groups = self.known.groups(&transaction, &row)?;
            if let Some(place) = inserts.record(&row, kept.said().is_some(), groups)? {
                inserts.details(place, &row, kept)?;
                self.rollups.add(&row, groups);
            }
        }
        drop(inserts);
        rollup::write(&mut self.rollups, &transaction)?;
        transaction.commit()
    }
}

/// The statements that write a record, which are looked up once for a batch.
struct Inserts<'t> {
    record: CachedStatement<'t>,
    is_of: CachedStatement<'t>,
    detail: CachedStatement<'t>,
    content: CachedStatement<'t>,
    tag: CachedStatement<'t>,
}

impl<'t> Inserts<'t> {
    fn new(transaction: &'t Transaction<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            record: transaction.prepare_cached(
                "INSERT OR IGNORE INTO records (place, of, duration, first_event, overhead, ending, flags, attempts,
                 input, cached, output, reasoning, cost, user, session, trace, feature)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            )?,
            is_of: transaction
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM details WHERE place = ?1 AND id = ?2)")?,
            detail: transaction
                .prepare_cached("INSERT INTO details (place, id, record) VALUES (?1, ?2, ?3)")?,
            content: transaction.prepare_cached(
                "INSERT INTO contents (place, request, answer, pieces, is_cut, message)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            tag: transaction
                .prepare_cached("INSERT OR IGNORE INTO tags (name, value, place) VALUES (?1, ?2, ?3)")?,
        })
    }

    /// Where the record stands now; `None` if it was there before.
    fn record(&mut self, row: &Row<'_>, has_content: bool, groups: Groups) -> rusqlite::Result<Option<i64>> {
        let has_text = has_content || row.has_message;
        let flags = [(row.estimated, ESTIMATED), (row.stream, STREAM), (has_text, TEXT)];
        let flags: i64 = flags.into_iter().filter(|(is_so, _)| *is_so).map(|(_, flag)| flag).sum();
        let tokens = &row.tokens;
        let insert = &mut self.record;
        // Others may have come in the same microsecond.
        for place in signed(row.place).. {
            insert.raw_bind_parameter(1, place)?;
            insert.raw_bind_parameter(2, groups.full())?;
            insert.raw_bind_parameter(3, signed(row.duration))?;
            insert.raw_bind_parameter(4, row.first_event.map(signed))?;
            insert.raw_bind_parameter(5, row.overhead.map(signed))?;
            insert.raw_bind_parameter(6, row.end)?;
            insert.raw_bind_parameter(7, flags)?;
            insert.raw_bind_parameter(8, row.attempts)?;
            for (number, index) in
                [tokens.input, tokens.cached, tokens.output, tokens.reasoning, row.cost].into_iter().zip(9..)
            {
                insert.raw_bind_parameter(index, signed(number))?;
            }
            for (name, index) in
                [row.user(), row.session(), row.trace.as_deref(), row.feature()].into_iter().zip(14..)
            {
                insert.raw_bind_parameter(index, name)?;
            }
            if insert.raw_execute()? == 1 {
                return Ok(Some(place));
            }
            if self.is_of.query_row((place, row.id), |row| row.get(0))? {
                break;
            }
        }
        Ok(None)
    }

    fn details(&mut self, place: i64, row: &Row<'_>, kept: &Kept) -> rusqlite::Result<()> {
        self.detail.execute((place, row.id, kept.json()))?;
        let (said, message) = (kept.said(), kept.record().message.as_deref());
        if said.is_some() || message.is_some() {
            let pieces = said.map(|said| &said.pieces).filter(|pieces| !pieces.is_empty());
            let pieces = pieces.map(|pieces| serde_json::to_string(pieces).unwrap_or_default());
            let (request, answer) =
                (said.map(|said| &*said.request), said.and_then(|said| said.answer.as_deref()));
            let is_cut = said.is_some_and(|said| said.is_cut);
            self.content.execute((place, request, answer, pieces, is_cut, message))?;
        }
        for (name, value) in &row.labels.tags {
            self.tag.execute((&**name, &**value, place))?;
        }
        Ok(())
    }
}
