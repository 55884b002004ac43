use std::{fmt, sync::Arc, time::Duration};

use tower::retry::budget::{Budget, TpsBudget};

/// How long a request counts.
const WINDOW: Duration = Duration::from_secs(10);

/// How often targets of a route are asked again, measured by how often it is asked, so that an outage
/// makes no storm of retries. Going on to the next target isn't limited by it.
///
/// Clones share what is left.
#[derive(Clone)]
pub struct RetryBudget(Arc<TpsBudget>);

impl RetryBudget {
    /// So many of a hundred requests of the last ten seconds may be asked again (about as many: a whole number of
    /// requests pays for each; at most 1,000), and `per_second` besides, on average over these ten seconds.
    pub fn new(percent: u32, per_second: u32) -> Self {
        // More would make tower panic.
        let (percent, per_second) = (percent.min(1_000), per_second.min(1_000_000));
        Self(Arc::new(TpsBudget::new(WINDOW, per_second, percent as f32 / 100.0)))
    }

    /// Notes a request.
    pub(super) fn deposit(&self) {
        self.0.deposit();
    }

    /// Whether something may be asked again, which then counts.
    pub(crate) fn withdraw(&self) -> bool {
        self.0.withdraw()
    }
}

impl Default for RetryBudget {
    /// 20 %, and 10 per second.
    fn default() -> Self {
        Self::new(20, 10)
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget").finish_non_exhaustive()
    }
}
