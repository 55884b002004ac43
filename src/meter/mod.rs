//! Reads what was used out of what passes: [`MeterLayer`].
//!
//! It stands right above the provider's call and reads the provider's own dialect. It opens the
//! attempt in the [`Exchange`](crate::Exchange), reports every count as it passes, and closes the
//! attempt when the answer ends. Where the provider never says what was used (it failed, or the client
//! left before the last event) the meter reckons from the bytes that passed, and marks the count as an
//! estimate: nobody rides for free by leaving early.

mod job;
mod layer;
mod read;
mod service;

use self::job::ReadJob;
pub use self::{
    layer::MeterLayer,
    read::ReadUsage,
    service::{Meter, ResponseFuture},
};
