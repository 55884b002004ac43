use std::{collections::VecDeque, io};

use super::{errand::Errand, journal::Journal};

/// What a shared store has to be told and has not been told yet, in order.
pub(super) struct Backlog {
    errands: VecDeque<Errand>,
    /// Where it is written when it has to wait; the first so many of it are.
    journal: Option<Journal>,
    journaled: usize,
}

impl Backlog {
    /// With what an earlier process could not send.
    pub(super) fn new(journal: Option<Journal>, errands: Vec<Errand>) -> Self {
        if !errands.is_empty() {
            let settlements = errands.len();
            tracing::info!(settlements, "the journal has what an earlier process could not send");
        }
        Self { journaled: errands.len(), errands: errands.into(), journal }
    }

    pub(super) fn len(&self) -> usize {
        self.errands.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errands.is_empty()
    }

    pub(super) fn push(&mut self, errand: Errand) {
        self.errands.push_back(errand);
    }

    #[cfg(feature = "redis")]
    pub(super) fn extend(&mut self, errands: impl IntoIterator<Item = Errand>) {
        self.errands.extend(errands);
    }

    /// The first ones, `count` at most.
    pub(super) fn first(&self, count: usize) -> impl Iterator<Item = &Errand> {
        self.errands.iter().take(count)
    }

    /// Takes the first one away, which is done.
    pub(super) fn pop(&mut self) -> Option<Errand> {
        let errand = self.errands.pop_front()?;
        self.journaled = self.journaled.saturating_sub(1);
        Some(errand)
    }

    /// Writes what is not written yet if the store is away, or forgets what is written where nothing waits.
    pub(super) async fn write_down(&mut self, is_away: bool) {
        let Some(mut journal) = self.journal.take() else { return };
        let is_done = self.errands.is_empty() && !journal.is_empty();
        if !is_done && (self.errands.len() == self.journaled || !is_away) {
            self.journal = Some(journal);
            return;
        }
        let new: Vec<_> = self.errands.iter().skip(self.journaled).cloned().collect();
        let write = move || {
            let written = if is_done { journal.clear() } else { journal.append(new.iter()) };
            (journal, written)
        };
        let (journal, written) = match tokio::task::spawn_blocking(write).await {
            Ok((journal, written)) => (Some(journal), written),
            Err(error) => (None, Err(io::Error::other(error))),
        };
        self.journal = journal;
        match written {
            Ok(()) => self.journaled = self.errands.len(),
            Err(error) => {
                let path = self.journal.as_ref().map(|journal| journal.path().display());
                tracing::error!(?path, %error, "the journal can't be written; settlements wait in memory");
            }
        }
    }

    /// Whether nothing of it is lost with the process.
    pub(super) fn is_safe(&self) -> bool {
        self.errands.is_empty() || self.journal.is_some() && self.journaled == self.errands.len()
    }

    /// Says what is left at the end.
    pub(super) fn report(&self) {
        match self.errands.len() {
            0 => {}
            waiting if self.is_safe() => {
                tracing::warn!(waiting, "settlements are left in the journal for the next process");
            }
            lost => {
                tracing::error!(lost, "settlements are lost; other nodes will charge them as they were held")
            }
        }
    }
}
