use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
    time::Duration,
};

use super::{
    super::Window,
    STORE,
    database::{self, Database, signed},
    days::{self, Sums},
    lock::Lock,
    queue::{Job, Post, Queue},
};
use crate::{BoxError, metrics};

/// How long to wait before what could not be written is tried again, if nothing else is to be written.
const PAUSE: Duration = Duration::from_secs(1);

/// The one thread that writes: everything that waits in one transaction.
pub(super) struct Writer {
    // In this order: the next process may open the database when it is closed.
    database: Database,
    _lock: Lock,
    queue: Arc<Queue>,
    batch: Vec<Job>,
    sums: HashMap<Post, u64>,
    days: Sums,
    /// The day on which days were last forgotten.
    today: Window,
    /// Whether the last hold could not be written.
    is_failing: bool,
}

impl Writer {
    pub(super) fn new(database: Database, lock: Lock, queue: Arc<Queue>) -> Self {
        Self {
            database,
            _lock: lock,
            queue,
            batch: Vec::new(),
            sums: HashMap::new(),
            days: Sums::default(),
            today: Window::default(),
            is_failing: false,
        }
    }

    /// Writes until the queue is closed, and then what is left.
    pub(super) fn run(mut self) {
        loop {
            let pause = (!self.batch.is_empty()).then_some(PAUSE);
            if !self.queue.take(&mut self.batch, pause) {
                break;
            }
            self.write();
        }
        self.write();
        if !self.batch.is_empty() {
            let settlements = self.batch.len();
            tracing::error!(settlements, "what could not be written is charged as held at the next start");
        }
    }

    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match self.commit() {
            Ok(()) => self.written(),
            Err(error) => self.refuse(&error.to_string()),
        }
        metrics::store_waiting(STORE, self.batch.len());
    }

    /// Writes the batch as a whole or not at all.
    fn commit(&mut self) -> Result<(), BoxError> {
        self.sums.clear();
        self.days.clear();
        let mut latest = None;
        let transaction = self.database.transaction()?;
        {
            let mut hold = transaction
                .prepare_cached("INSERT INTO holds (run, number, made, scopes) VALUES (?1, ?2, ?3, ?4)")?;
            let mut end = transaction.prepare_cached("DELETE FROM holds WHERE run = ?1 AND number = ?2")?;
            let mut keep =
                transaction.prepare_cached("UPDATE holds SET kept_as = ?3 WHERE run = ?1 AND number = ?2")?;
            let mut mark =
                transaction.prepare_cached("INSERT OR REPLACE INTO marks (name, until) VALUES (?1, ?2)")?;
            for job in &mut self.batch {
                match job {
                    Job::Hold { id, made, scopes, .. } => {
                        hold.execute((signed(id.node), signed(id.number), *made, &*scopes))?;
                    }
                    // Without its hold it has been written already, and only the answer of the disk was lost.
                    Job::Settle { id, posts, day } => {
                        if end.execute((signed(id.node), signed(id.number)))? > 0 {
                            add(&mut self.sums, posts);
                            if let Some((holds, day)) = day {
                                self.days.add(holds, day);
                                latest = Some(day.window);
                            }
                        }
                    }
                    Job::Keep { id, name } => {
                        keep.execute((signed(id.node), signed(id.number), &**name))?;
                    }
                    Job::Errand(errand) => errand.run(&transaction)?,
                    Job::Mark { name, until } => {
                        mark.execute((&**name, *until))?;
                    }
                    Job::Tell(_) => {}
                    #[cfg(test)]
                    Job::Sql(text) => transaction.execute_batch(text)?,
                }
            }
        }
        database::post(&transaction, &self.sums)?;
        self.days.write(&transaction)?;
        if let Some(today) = latest.filter(|latest| *latest > self.today) {
            days::forget(&transaction, today.began())?;
            self.today = today;
        }
        Ok(transaction.commit()?)
    }

    fn written(&mut self) {
        let mut has_held = false;
        for job in self.batch.drain(..) {
            match job {
                Job::Hold { written, .. } => {
                    has_held = true;
                    let _ = written.send(Ok(()));
                }
                Job::Tell(sender) => drop(sender.send(())),
                Job::Errand(errand) => errand.tell(None),
                _ => {}
            }
        }
        if has_held && mem::take(&mut self.is_failing) {
            tracing::info!("the ledger can be written again");
            metrics::store_away(STORE, false);
        }
    }

    /// Refuses what isn't held yet; what was used waits, and is tried again without them, because it
    /// may need less room.
    fn refuse(&mut self, error: &str) {
        if !mem::replace(&mut self.is_failing, true) {
            tracing::error!(error, "the ledger can't be written, nothing more can be held");
            metrics::store_away(STORE, true);
        }
        let mut refused = HashSet::new();
        for job in mem::take(&mut self.batch) {
            match job {
                Job::Hold { id, written, .. } => {
                    refused.insert(id);
                    let _ = written.send(Err(error.to_owned()));
                }
                Job::Settle { id, .. } if refused.contains(&id) => {}
                Job::Errand(errand) => errand.tell(Some(error)),
                #[cfg(test)]
                Job::Sql(_) => {}
                job => self.batch.push(job),
            }
        }
        if !refused.is_empty() && !self.batch.is_empty() && self.commit().is_ok() {
            self.written();
        }
    }
}

/// However it ends, nobody waits for it then.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn add(sums: &mut HashMap<Post, u64>, posts: &[(Post, u64)]) {
    for (post, amount) in posts {
        match sums.get_mut(post) {
            Some(sum) => *sum = sum.saturating_add(*amount),
            None => drop(sums.insert(post.clone(), *amount)),
        }
    }
}
