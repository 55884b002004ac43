//! The structs of the Messages API, as the provider documents them.

pub(super) mod read;
pub(super) mod write;
