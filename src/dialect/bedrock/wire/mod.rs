//! The bodies of Converse, as Amazon documents them.

pub(crate) mod read;
pub(crate) mod write;
