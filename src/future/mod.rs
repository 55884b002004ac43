//! Response futures that several layers share.
//!
//! [`Admission`] is for layers that let a request in or refuse it, [`Watched`] for those that also
//! follow the answer to its end, [`Answering`] for those that answer some requests by themselves. A
//! decision that needs no waiting costs no allocation with any of them: the inner future lies inside.

mod admission;
mod answering;
mod watched;

pub(crate) use self::answering::json;
pub use self::{admission::Admission, answering::Answering, watched::Watched};
