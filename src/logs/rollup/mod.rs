//! Sums that stores make of records when these come, so that nobody has to go through the records later: which there
//! are, and how questions are answered from them.
//!
//! Records are told apart by their group: by what is filtered and summed up by. Of each group there are sums by minute,
//! hour and day, and sums of the groups that remain when some of it isn't told apart ([`Level`]).

mod answer;
mod collect;
mod group;
mod pack;
mod plan;
mod step;

#[cfg(feature = "postgres")]
pub(super) use self::collect::Slot;
pub(super) use self::{
    answer::{Answer, Outcome},
    collect::Rollups,
    group::{Groups, Level, Names},
    pack::{pack, unpack},
    plan::{Piece, level, pieces, seconds, step_of, whole},
    step::Step,
};
