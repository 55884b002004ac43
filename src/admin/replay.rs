use std::{collections::VecDeque, sync::Mutex, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{Error, Kind, auth::KeyDigest, lock};

/// How long an answer is given again.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(600);
/// The most answers that are kept; each is a few hundred bytes.
const MOST: usize = 1_000;

/// What was answered to requests that carry an `idempotency-key`, oldest first.
#[derive(Default)]
pub(super) struct Replays(Mutex<VecDeque<Replay>>);

struct Replay {
    id: KeyDigest,
    /// Of the path and the body.
    asked: KeyDigest,
    at: Instant,
    answer: Bytes,
}

impl std::fmt::Debug for Replays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The answers have keys in them.
        f.write_str("Replays")
    }
}

impl Replays {
    /// What was answered to the same request.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] if another request had the same id.
    pub(super) fn find(&self, id: KeyDigest, asked: KeyDigest) -> Result<Option<Bytes>, Error> {
        let mut replays = lock(&self.0);
        while replays.front().is_some_and(|oldest| oldest.at.elapsed() > KEPT_FOR) {
            replays.pop_front();
        }
        match replays.iter().find(|replay| replay.id == id) {
            None => Ok(None),
            Some(replay) if replay.asked == asked => Ok(Some(replay.answer.clone())),
            Some(_) => Err(Error::new(Kind::Conflict, "idempotency-key: was used for another request")
                .with_param("idempotency-key")),
        }
    }

    pub(super) fn keep(&self, id: KeyDigest, asked: KeyDigest, answer: Bytes) {
        let mut replays = lock(&self.0);
        if replays.len() >= MOST {
            replays.pop_front();
        }
        replays.push_back(Replay { id, asked, at: Instant::now(), answer });
    }
}
