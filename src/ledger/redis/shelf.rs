use std::sync::Arc;

use redis::from_redis_value;

use super::{
    Shared, not_understood,
    script::{CHANGE, Call, LOOK},
};
use crate::{Error, ledger::errand::random};

/// Documents that stand beside the balances: texts under names, with one revision for all of them.
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
}
