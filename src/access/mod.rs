//! Which models a key may use.

mod pattern;

pub use self::pattern::Pattern;
