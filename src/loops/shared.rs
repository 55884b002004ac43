use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::counts::{Counts, Thing};
use crate::{
    Error,
    ledger::{Amounts, Ledger, Measure, Period, Quota, Scope, UNREMEMBERED},
    price::NanoUsd,
};

/// How much may wait to be told; what finds no room is told with what comes next.
pub(super) const ROOM: usize = 1_024;
/// More than is ever counted. Stores compare it exactly.
const LIMIT: u64 = 1 << 52;
/// The shortest time that stores look back.
const SHORTEST: Duration = Duration::from_secs(60);

/// Something has come that other gateways have to know of.
#[derive(Debug)]
pub(super) struct News {
    pub(super) of: Thing,
    /// Under which name all of them count it.
    pub(super) account: Arc<str>,
    pub(super) per: Duration,
}

/// The name under which all gateways count something: a digest, of which nobody reads what it is about.
pub(super) fn account(parts: &[&[u8]]) -> Arc<str> {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    let name: String = digest.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{UNREMEMBERED}{name}").into()
}

/// Whether gateways count together what is looked at for so long.
pub(super) fn is_shared(per: Duration) -> bool {
    per >= SHORTEST
}

/// Tells a ledger what has come here, and learns what has come on all gateways, until nothing more will come.
pub(super) async fn share(counts: Arc<Counts>, ledger: Arc<dyn Ledger>, mut news: mpsc::Receiver<News>) {
    while let Some(News { of, account, per }) = news.recv().await {
        let untold = counts.take_untold(&of);
        if untold == 0 {
            continue;
        }
        match tell(&*ledger, &of, account, per, untold).await {
            Ok(sum) => counts.learn(&of, sum),
            Err(error) => {
                tracing::debug!(%error, "the store is away: loops are counted by each gateway for itself");
                counts.give_back(&of, untold);
            }
        }
    }
}

/// Counts `amount`, and says what there is of it on all gateways; if that can't be told, what is known here.
async fn tell(
    ledger: &dyn Ledger,
    of: &Thing,
    account: Arc<str>,
    per: Duration,
    amount: u64,
) -> Result<u64, Error> {
    let (measure, amounts) = match of {
        // The only measure but money of which one may use any number at once.
        Thing::Request(_) => (Measure::Input, Amounts { input: amount, ..Amounts::default() }),
        Thing::Session(_) => (Measure::Usd, NanoUsd(amount).into()),
    };
    let period = Period::Rolling(u32::try_from(per.as_secs()).unwrap_or(u32::MAX));
    let scopes = [Scope::new(account, Quota::new(measure, LIMIT, period).shadow(true))];
    let ticket = ledger.reserve(&scopes, amounts).await?;
    // While it is held it is seen by all, and a settlement need not have arrived yet.
    let balances = ledger.balances(&scopes).await;
    ledger.settle(ticket, amounts);
    let balance = balances.ok().and_then(|balances| balances.first().copied());
    Ok(balance.map_or(0, |balance| balance.posted.saturating_add(balance.held)))
}
