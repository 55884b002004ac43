//! Who asks.

mod key;

pub use self::key::{Caller, VirtualKey};
