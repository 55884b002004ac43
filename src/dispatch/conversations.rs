//! Which target a conversation went to: [`Conversations`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::lock;

/// The most conversations that are remembered.
const MOST: usize = 100_000;

/// The targets that conversations went to last, so that they find what these have in their caches: 100,000 of them
/// at the most. Clones are the same.
#[derive(Clone, Debug)]
pub struct Conversations {
    lasts: Duration,
    targets: Arc<Mutex<HashMap<u64, (u64, Instant)>>>,
}

impl Conversations {
    /// Remembers a conversation for so long after its last answer.
    pub fn new(lasts: Duration) -> Self {
        Self { lasts, targets: Arc::default() }
    }

    /// The target of a conversation that is not too long ago, by the digest of its name.
    pub(super) fn find(&self, conversation: u64) -> Option<u64> {
        let found = lock(&self.targets).get(&conversation).copied();
        found.filter(|(_, last)| last.elapsed() < self.lasts).map(|(target, _)| target)
    }

    /// Notes where a conversation has found an answer.
    pub(super) fn keep(&self, conversation: u64, target: u64) {
        let now = Instant::now();
        let mut targets = lock(&self.targets);
        if targets.len() >= MOST && !targets.contains_key(&conversation) {
            targets.retain(|_, (_, last)| now.saturating_duration_since(*last) < self.lasts);
            // Where all are young, some have to go, whichever these are.
            let mut excess = targets.len().saturating_sub(MOST - MOST / 8);
            targets.retain(|_, _| {
                let stays = excess == 0;
                excess = excess.saturating_sub(1);
                stays
            });
        }
        targets.insert(conversation, (target, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_conversation_is_remembered_until_it_rests_too_long() {
        let kept = Conversations::new(Duration::from_secs(300));
        kept.keep(1, 7);

        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!((kept.find(1), kept.find(2)), (Some(7), None));
        kept.keep(1, 8);
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(kept.find(1), Some(8));
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(kept.find(1), None);
    }

    #[tokio::test]
    async fn there_are_never_more_than_so_many() {
        let kept = Conversations::new(Duration::from_secs(300));

        (0..2 * MOST as u64).for_each(|conversation| kept.keep(conversation, 1));

        assert!(lock(&kept.targets).len() <= MOST);
        assert_eq!(kept.find(2 * MOST as u64 - 1), Some(1));
    }
}
