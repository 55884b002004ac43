use std::time::{Duration, SystemTime};

use crate::hashing::Map;

/// The most marks that are remembered: every threshold of every account that has crossed it.
const MOST: usize = 100_000;

/// What was done once, and until when that is to be remembered.
#[derive(Debug, Default)]
pub(super) struct Marks {
    until: Map<Box<str>, SystemTime>,
}

impl Marks {
    /// Until when a mark that is made now and `lasts` so long is remembered.
    pub(super) fn end(now: SystemTime, lasts: Duration) -> SystemTime {
        now.checked_add(lasts).unwrap_or(now)
    }

    /// Remembers `name`, and says whether it was not remembered before. Where there is no room, nothing is
    /// remembered: better to tell something twice than never.
    pub(super) fn make(&mut self, name: &str, until: SystemTime, now: SystemTime) -> bool {
        if self.until.get(name).is_some_and(|until| *until > now) {
            return false;
        }
        if self.until.len() >= MOST {
            self.until.retain(|_, until| *until > now);
        }
        if self.until.len() < MOST {
            self.until.insert(name.into(), until);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_forgotten_when_its_time_is_over() {
        let now = SystemTime::UNIX_EPOCH;
        let minute = Duration::from_secs(60);
        let mut marks = Marks::default();

        assert!(marks.make("a", Marks::end(now, minute), now));
        assert!(!marks.make("a", Marks::end(now, minute), now + minute / 2));
        assert!(marks.make("a", Marks::end(now, minute), now + minute));
    }

    #[test]
    fn marks_are_not_remembered_without_end() {
        let now = SystemTime::UNIX_EPOCH;
        let until = Marks::end(now, Duration::from_secs(60));
        let mut marks = Marks::default();

        for number in 0..=MOST {
            assert!(marks.make(&number.to_string(), until, now));
        }

        assert_eq!(marks.until.len(), MOST);
        assert!(!marks.make("0", until, now));
        assert!(marks.make("new", Marks::end(until, Duration::from_secs(60)), until));
        assert_eq!(marks.until.len(), 1);
    }
}
