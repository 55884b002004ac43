use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use super::Breaker;
use crate::{BoxFuture, Error, Kind};

/// How often gateways tell each other.
const EVERY: Duration = Duration::from_millis(500);

/// Where gateways tell each other which targets they pass over.
pub trait Board: fmt::Debug + Send + Sync + 'static {
    /// Notes what is `new` on this gateway, and says what is noted by all of them: each target that is passed over,
    /// and for how long yet, and those that have begun to answer again some seconds ago.
    ///
    /// # Errors
    ///
    /// If the board could not be asked.
    fn exchange<'a>(&'a self, new: &'a [Notice]) -> BoxFuture<'a, Result<Vec<Notice>, Error>>;
}

/// That a target is passed over, or isn't any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The name of the target.
    pub target: Box<str>,
    /// For how long; zero says that it answers again.
    pub open_for: Duration,
    /// What its last failure was.
    pub why: Kind,
}

/// Tells other gateways on `board` which of the `breakers` open and close, and opens and closes them as others do, about
/// twice a second. No request waits for it; while the board is away each gateway goes by what it sees itself. Runs
/// until it is dropped.
pub async fn share(board: Arc<dyn Board>, breakers: impl Fn() -> Vec<Breaker> + Send + Sync) {
    let mut is_away = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let all = breakers();
        let told: Vec<_> = all.iter().map(Breaker::news).collect();
        let new: Vec<_> = told.iter().filter_map(|(_, news)| news.clone()).collect();
        match board.exchange(&new).await {
            Ok(noted) => {
                is_away = false;
                let noted: HashMap<_, _> = noted.iter().map(|notice| (&*notice.target, notice)).collect();
                for (breaker, (at, _)) in all.iter().zip(&told) {
                    breaker.hear(*at, noted.get(breaker.name()).copied());
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(%error, "breakers are not shared: each gateway goes by what it sees itself");
                }
                let untold = all.iter().zip(&told).filter(|(_, (_, news))| news.is_some());
                untold.for_each(|(breaker, _)| breaker.untell());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Request, Response};
    use tokio::time::Instant;
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        breaker::{BreakerLayer, Rules},
        lock,
        testing::{Ending, MustBeReady},
    };

    /// Keeps notices until their time is over.
    #[derive(Debug, Default)]
    struct Notes {
        notes: Mutex<HashMap<Box<str>, (Instant, Notice)>>,
        is_away: Mutex<bool>,
    }

    impl Board for Notes {
        fn exchange<'a>(&'a self, new: &'a [Notice]) -> BoxFuture<'a, Result<Vec<Notice>, Error>> {
            Box::pin(async move {
                if *lock(&self.is_away) {
                    return Err(Error::new(Kind::Internal, "away"));
                }
                let (mut notes, now) = (lock(&self.notes), Instant::now());
                for notice in new {
                    let lasts =
                        if notice.open_for.is_zero() { Duration::from_secs(5) } else { notice.open_for };
                    notes.insert(notice.target.clone(), (now + lasts, notice.clone()));
                }
                notes.retain(|_, (until, _)| *until > now);
                let noted = notes.values().map(|(until, notice)| {
                    let open_for = if notice.open_for.is_zero() { Duration::ZERO } else { *until - now };
                    Notice { open_for, ..notice.clone() }
                });
                Ok(noted.collect())
            })
        }
    }

    /// A gateway on the board, which is asked for a target that ends like this.
    struct Node(Breaker);

    impl Node {
        fn on(board: &Arc<Notes>) -> Self {
            let pause = (Duration::from_secs(10), Duration::from_secs(60));
            let breaker = Breaker::new("a/b", Rules { in_a_row: 1, pause, ..Rules::default() });
            let all = vec![breaker.clone()];
            tokio::spawn(share(board.clone(), move || all.clone()));
            Self(breaker)
        }

        async fn asks(&self, ending: Ending) -> Result<(), Error> {
            let service = BreakerLayer::new(self.0.clone())
                .layer(MustBeReady::new(move |_: Request<()>| ending.answer()));
            let answer: Result<Response<_>, Error> = service.oneshot(Request::new(())).await;
            answer.map(drop)
        }

        fn open_for(&self) -> Option<u64> {
            self.0.standing().open_for.map(|left| left.as_secs())
        }
    }

    async fn pause(milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_gateway_finds_out_all_of_them_know_within_a_second() {
        let board = Arc::new(Notes::default());
        let (one, other) = (Node::on(&board), Node::on(&board));

        assert!(one.asks(Ending::Refused).await.is_err());
        pause(1_001).await;

        assert!(other.open_for().is_some());
        let refused = other.asks(Ending::KnownLength).await.unwrap_err();
        assert!(refused.message().contains("`a/b` is passed over"), "{refused}");
        assert_eq!(other.0.standing().last_failure, Some(Kind::Upstream));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_answered_again_tells_the_others() {
        let board = Arc::new(Notes::default());
        let (one, other) = (Node::on(&board), Node::on(&board));
        assert!(one.asks(Ending::Refused).await.is_err());
        pause(1_001).await;
        // Its first probe fails, so that both of them pause for longer.
        pause(9_500).await;
        assert!(one.asks(Ending::Refused).await.is_err());
        pause(1_001).await;
        assert!(one.open_for() >= Some(17) && other.open_for() >= Some(17));

        pause(20_000).await;
        assert!(one.asks(Ending::KnownLength).await.is_ok());
        pause(1_001).await;

        assert_eq!(other.open_for(), None);
        assert!(other.0.share() < 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_board_each_goes_by_what_it_sees_and_tells_it_later() {
        let board = Arc::new(Notes::default());
        let (one, other) = (Node::on(&board), Node::on(&board));
        *lock(&board.is_away) = true;

        assert!(one.asks(Ending::Refused).await.is_err());
        pause(2_000).await;
        assert!(one.open_for().is_some() && other.open_for().is_none());
        *lock(&board.is_away) = false;
        pause(1_001).await;

        assert!(other.open_for().is_some());
    }
}
