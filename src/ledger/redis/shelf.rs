use std::sync::Arc;

use redis::from_redis_value;

use super::{
    Shared, not_understood,
    script::{CHAIN, CHAINED, CHANGE, Call, LOOK},
};
use crate::{Error, ledger::errand::random};

/// What stands beside the balances: documents, which are texts under names with one revision for all of them, and a
/// chain of texts.
#[derive(Clone)]
pub(crate) struct Shelf(Arc<Shared>);

/// A revision, and all names with what stands under them.
pub(crate) type Shelved = (u64, Vec<(String, String)>);

impl Shelf {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Everything, unless it is still at the revision that is known.
    pub(crate) async fn look(&self, known: Option<u64>) -> Result<Option<Shelved>, Error> {
        self.0.is_there()?;
        let call = Call::new(&LOOK).key(self.0.keys.documents());
        let call = match known {
            Some(known) => call.arg(known),
            None => call.arg(""),
        };
        from_redis_value(self.0.ask(&call).await?).map_err(not_understood)
    }

    /// Puts `content` under `name`, or takes away what stands there, if the revision is `at`; says which one
    /// it is then.
    pub(crate) async fn change(
        &self,
        at: u64,
        name: &str,
        content: Option<&str>,
    ) -> Result<Option<u64>, Error> {
        self.0.is_there()?;
        let change = random().map_err(not_understood)?;
        let call = Call::new(&CHANGE)
            .key(self.0.keys.documents())
            .arg(at)
            .arg(change)
            .arg(name)
            .arg(content.unwrap_or_default());
        from_redis_value(self.0.ask(&call).await?).map_err(not_understood)
    }

    /// Adds a line to the chain, which begins with a hash, if that has the next number and comes after the hash
    /// `previous`. Otherwise says how long the chain is, and its last line.
    pub(crate) async fn chain(
        &self,
        number: u64,
        previous: &str,
        line: &str,
    ) -> Result<Option<(u64, String)>, Error> {
        self.0.is_there()?;
        let call = Call::new(&CHAIN).key(self.0.keys.audit()).arg(number).arg(previous).arg(line);
        from_redis_value(self.0.ask(&call).await?).map_err(not_understood)
    }

    /// How long the chain is, and at most so many of its lines from the number `first` on.
    pub(crate) async fn chained(&self, first: u64, most: usize) -> Result<(u64, Vec<String>), Error> {
        self.0.is_there()?;
        let call = Call::new(&CHAINED).key(self.0.keys.audit()).arg(first).arg(most);
        from_redis_value(self.0.ask(&call).await?).map_err(not_understood)
    }
}
