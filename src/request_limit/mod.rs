//! Requests per window and key.

mod rate;

pub use self::rate::Rate;
