use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Amounts, Hold, HoldId, Measure};
use crate::BoxError;

/// Something that has to be told to the store, sooner or later, once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Errand {
    /// The hold.
    pub(super) id: HoldId,
    /// What becomes of it.
    #[serde(flatten)]
    pub(super) deed: Deed,
    /// What is held.
    pub(super) holds: Vec<Hold>,
    /// When, by a clock that is not the server's; in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "deed")]
pub(super) enum Deed {
    /// It ended, and this was used on each account; its day has the cost, the input and the output.
    Settle { used: Vec<u64>, day: [u64; 3] },
    /// It was let in while the store was away, and used this.
    Charge { used: Vec<u64>, day: [u64; 3] },
    /// Nobody knows whether it was granted, and nobody has it.
    Cancel,
    /// It outlives its request and belongs to nobody.
    Keep { name: String },
    /// Its node is gone.
    Abandon,
}

impl Errand {
    pub(super) fn new(id: HoldId, deed: Deed, holds: Vec<Hold>) -> Self {
        Self { id, deed, holds, at: None }
    }
}

/// What a day has of a request.
pub(super) fn of_day(Amounts { cost, input, output }: Amounts) -> [u64; 3] {
    [cost.0, input, output]
}

/// What is charged for a hold as if all of it had been used.
pub(super) fn as_held(hold: &Hold) -> u64 {
    if hold.measure == Measure::Concurrent { 0 } else { hold.amount }
}

/// What is charged for a hold whose node is gone: money and requests as they were held, but no tokens,
/// which come back by themselves, and no places.
pub(super) fn left_behind(hold: &Hold) -> u64 {
    match hold.measure {
        Measure::Usd | Measure::Requests => hold.amount,
        Measure::Concurrent | Measure::Input | Measure::Output | Measure::Tokens => 0,
    }
}

/// The number of a node that has none yet.
pub(super) fn random() -> Result<u64, BoxError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Microseconds since 1970.
pub(super) fn micros(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}
