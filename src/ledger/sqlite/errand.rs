use std::{fmt, sync::Arc};

use rusqlite::Transaction;
use tokio::sync::oneshot;

use super::{PATIENCE, queue::Job, queue::Queue};
use crate::{Error, Kind};

/// Something else that is read or written in the transaction of the writer, so that the file has one writer only.
pub(super) trait Errand: Send {
    /// Does it. May be called again if the transaction fails.
    fn run(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()>;

    /// Tells what became of it, when the transaction is written or has failed.
    fn tell(self: Box<Self>, failed: Option<&str>);
}

impl fmt::Debug for dyn Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Errand")
    }
}

struct Asked<T, F> {
    ask: F,
    answer: Option<T>,
    tell: oneshot::Sender<Result<T, String>>,
}

impl<T, F> Errand for Asked<T, F>
where
    T: Send,
    F: FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        self.answer = Some((self.ask)(transaction)?);
        Ok(())
    }

    fn tell(self: Box<Self>, failed: Option<&str>) {
        let answer = match (failed, self.answer) {
            (None, Some(answer)) => Ok(answer),
            (why, _) => Err(why.unwrap_or("it was not asked").to_owned()),
        };
        let _ = self.tell.send(answer);
    }
}

/// The file of a ledger, for whatever else is in it. It is closed with the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Shelf(Arc<Queue>);

impl Shelf {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self(queue)
    }

    /// What `ask` finds in the file, or writes there: in one transaction with all else that waits. It may be
    /// done although whoever asks stops waiting.
    ///
    /// # Errors
    ///
    /// If the file can't be written, is closed, or takes more than five seconds.
    pub(crate) async fn ask<T, F>(&self, ask: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        self.0.push(Job::Errand(Box::new(Asked { ask, answer: None, tell })));
        let why = match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(Ok(answer))) => return Ok(answer),
            Ok(Ok(Err(why))) => why,
            Ok(Err(_)) => "it is closed".to_owned(),
            Err(_) => format!("there was no answer within {} seconds", PATIENCE.as_secs()),
        };
        Err(Error::new(Kind::Internal, "the database can't be asked").with_source(why))
    }
}
