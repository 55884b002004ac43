//! What becomes of a target's traffic when it slows down, in paused time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tower::ServiceExt;

use crate::{
    Payload, Target,
    dispatch::{Candidate, Dispatch, Route, Strategy, Table},
    testing::{Ending, ask},
};

/// A target whose answers take as many milliseconds as it is told, and how often it was asked.
#[derive(Clone, Default)]
struct Slowed {
    milliseconds: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
}

impl Slowed {
    fn new(milliseconds: u64) -> Self {
        Self { milliseconds: Arc::new(milliseconds.into()), ..Self::default() }
    }

    fn candidate(&self, name: &str) -> Candidate {
        let this = self.clone();
        let service = tower::service_fn(move |_: http::Request<Payload>| {
            this.asked.fetch_add(1, Relaxed);
            let time = Duration::from_millis(this.milliseconds.load(Relaxed));
            async move {
                tokio::time::sleep(time).await;
                Ending::KnownLength.answer().await
            }
        });
        Candidate::new(Arc::new(Target::new("demo", name)), service)
    }
}

/// Sends so many requests per second for so many seconds, and tells which share of them `target` got.
async fn share(dispatch: &Dispatch, target: &Slowed, per_second: u32, seconds: u32) -> f64 {
    let before = target.asked.load(Relaxed);
    for _ in 0..per_second * seconds {
        let dispatch = dispatch.clone();
        tokio::spawn(async move {
            let answer = dispatch.oneshot(ask("chat", None)).await.unwrap();
            http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
        });
        tokio::time::sleep(Duration::from_secs(1) / per_second).await;
    }
    (target.asked.load(Relaxed) - before) as f64 / f64::from(per_second * seconds)
}

#[tokio::test(start_paused = true)]
async fn a_target_that_slows_down_loses_its_traffic_and_gets_it_back() {
    for per_second in [100, 200] {
        let targets = [(); 3].map(|()| Slowed::new(100));
        let candidates = targets.iter().zip(["a", "b", "c"]).map(|(target, name)| target.candidate(name));
        let dispatch =
            Dispatch::new(Table::default().route(Route::new("chat", candidates).strategy(Strategy::Latency)));
        let slow = &targets[0];

        let usual = share(&dispatch, slow, per_second, 20).await;
        slow.milliseconds.store(1_000, Relaxed);
        let first = share(&dispatch, slow, per_second, 5).await;
        let then = share(&dispatch, slow, per_second, 40).await;
        slow.milliseconds.store(100, Relaxed);
        share(&dispatch, slow, per_second, 50).await;
        let back = share(&dispatch, slow, per_second, 10).await;

        println!(
            "at {per_second}/s: {usual:.3} of the traffic; ten times slower: {first:.3} in the first 5 s, \
             {then:.3} then; 50 s after recovery: {back:.3}"
        );
        assert!((0.2..0.5).contains(&usual), "{usual}");
        assert!(first < 0.05 && then < 0.05 * usual, "{first} {then}");
        assert!(back > 0.22, "{back} of {usual}");
    }
}
