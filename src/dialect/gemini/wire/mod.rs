//! The messages of this dialect, as they are documented.

pub(super) mod read;
pub(super) mod write;
