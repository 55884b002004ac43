//! The structs of the Messages API, as the provider documents them.

mod object;
pub(super) mod read;
pub(super) mod write;
