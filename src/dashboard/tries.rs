use std::{collections::VecDeque, net::IpAddr, sync::Mutex, time::Duration};

use tokio::time::Instant;

use crate::{Error, Kind, lock};

/// How many wrong keys are taken from one address in a while.
const EACH: usize = 10;
/// How many of all are remembered.
const MOST: usize = 10_000;
const WHILE: Duration = Duration::from_secs(60);

/// Keys that were tried and are wrong. Who is logged in is not held up by them.
#[derive(Debug, Default)]
pub(super) struct Tries(Mutex<VecDeque<(Option<IpAddr>, Instant)>>);

impl Tries {
    /// Refuses another try of a client when there were too many; clients whose address isn't known are all one.
    pub(super) fn check(&self, client: Option<IpAddr>) -> Result<(), Error> {
        let mut wrong = lock(&self.0);
        wrong.retain(|(_, at)| at.elapsed() < WHILE);
        let of_client = || wrong.iter().filter(|(other, _)| *other == client);
        match of_client().next() {
            Some((_, first)) if of_client().count() >= EACH => {
                let left = WHILE.saturating_sub(first.elapsed());
                let message = "too many wrong keys were tried; wait a minute";
                Err(Error::new(Kind::RateLimited, message).with_retry_after(left))
            }
            _ => Ok(()),
        }
    }

    /// Notes that a wrong key was tried.
    pub(super) fn note(&self, client: Option<IpAddr>) {
        let mut wrong = lock(&self.0);
        if wrong.len() >= MOST {
            wrong.pop_front();
        }
        wrong.push_back((client, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_ten_wrong_keys_a_client_tries_none_for_a_minute() {
        let tries = Tries::default();
        let (one, other) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        for _ in 0..EACH {
            assert!(tries.check(one).is_ok());
            tries.note(one);
        }

        let refused = tries.check(one).unwrap_err();

        assert_eq!((refused.kind(), refused.retry_after()), (Kind::RateLimited, Some(WHILE)));
        assert!(tries.check(other).is_ok() && tries.check(None).is_ok());
        tokio::time::advance(WHILE).await;
        assert!(tries.check(one).is_ok());
    }

    #[test]
    fn many_clients_take_no_more_room_than_some() {
        let tries = Tries::default();

        for number in 0..20_000_u32 {
            tries.note(Some(IpAddr::V4(number.into())));
        }

        assert_eq!(lock(&tries.0).len(), MOST);
    }
}
