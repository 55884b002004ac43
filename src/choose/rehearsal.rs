use std::{
    mem,
    sync::{Arc, Mutex},
};

use crate::{dispatch::Candidate, lock};

/// An extension of requests of which it is only to be seen where they would go: nobody gets to see them, and nothing
/// counts. Keeps what there is to say of the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rehearsal(Arc<Mutex<Noted>>);

/// What there is to say.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// The targets that are not asked because of what the client wishes, or the model that they are of, and why.
    pub(crate) struck: Vec<(Candidate, String)>,
    /// What nobody could decide, and why.
    pub(crate) undecided: Vec<String>,
}

impl Rehearsal {
    pub(super) fn strike(&self, candidate: Candidate, why: String) {
        lock(&self.0).struck.push((candidate, why));
    }

    pub(super) fn leave_open(&self, why: String) {
        lock(&self.0).undecided.push(why);
    }

    /// What was said so far.
    pub(crate) fn noted(&self) -> Noted {
        mem::take(&mut lock(&self.0))
    }
}
