use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    super::{Day, Hold, HoldId, Window, books::Place},
    errand::Errand,
};
use crate::lock;

/// What is to be written.
#[derive(Debug)]
pub(super) enum Job {
    /// A hold, made at a second of the epoch; somebody waits until it is written, or hears why not.
    Hold { id: HoldId, made: i64, scopes: String, written: oneshot::Sender<Result<(), String>> },
    /// The end of a hold, and what was used; on which accounts, on that day.
    Settle { id: HoldId, posts: Vec<(Post, u64)>, day: Option<(Vec<Hold>, Day)> },
    /// A hold got a name, under which it outlives the process.
    Keep { id: HoldId, name: Box<str> },
    /// Something was done once, which is remembered until a second of the epoch.
    Mark { name: Box<str>, until: i64 },
    /// Somebody wants to know when all that came before is written.
    Tell(oneshot::Sender<()>),
    /// Something else.
    Errand(Box<dyn Errand>),
    /// Changes the connection, to make it fail.
    #[cfg(test)]
    Sql(&'static str),
}

/// Where something counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Post {
    pub(super) place: Place,
    pub(super) window: Window,
}

/// What waits for the writer, in order.
///
/// It is as long as there are requests under way: each has one hold that waits or one end.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: Vec<Job>,
    closed: bool,
    /// Whether the writer has to be woken.
    sleeps: bool,
}

impl Queue {
    pub(super) fn push(&self, job: Job) {
        let mut waiting = lock(&self.waiting);
        if waiting.closed {
            return;
        }
        waiting.jobs.push(job);
        self.wake(&mut waiting);
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.closed = true;
        self.wake(&mut waiting);
    }

    fn wake(&self, waiting: &mut Waiting) {
        if std::mem::take(&mut waiting.sleeps) {
            self.wake.notify_one();
        }
    }

    /// Waits for jobs, but not for longer than `patience`, and appends all of them to `jobs`. Returns
    /// whether more may come.
    pub(super) fn take(&self, jobs: &mut Vec<Job>, patience: Option<Duration>) -> bool {
        let mut waiting = lock(&self.waiting);
        while waiting.jobs.is_empty() && !waiting.closed {
            waiting.sleeps = true;
            let Some(patience) = patience else {
                waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (woken, timeout) =
                self.wake.wait_timeout(waiting, patience).unwrap_or_else(PoisonError::into_inner);
            waiting = woken;
            if timeout.timed_out() {
                break;
            }
        }
        waiting.sleeps = false;
        jobs.append(&mut waiting.jobs);
        !waiting.closed
    }
}
