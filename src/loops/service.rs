use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{
    LoopLayer, Loops, SameRequest, SessionSpend,
    counts::{Over, Session, Thing},
    shared::{News, account, is_shared},
};
use crate::{
    Error, Exchange, Ingested, Kind, Payload,
    alerts::{Repeated, Runaway, What, time},
    auth::Caller,
    body::{End, Followed, Observe, OnEnd},
    future::Watched,
    price::NanoUsd,
};

/// Middleware of [`LoopLayer`](super::LoopLayer).
#[derive(Clone, Debug)]
pub struct WithoutLoops<S> {
    pub(super) inner: S,
    pub(super) layer: LoopLayer,
}

impl<S, B, R> Service<Request<B>> for WithoutLoops<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
    B: Ingested,
    R: Body,
{
    type Response = Response<Followed<R, Counted>>;
    type Error = Error;
    type Future = Watched<S::Future, Counted, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        match Caller::of(&req).and_then(|caller| self.layer.look(caller, req.body().payload())) {
            Ok(counted) => Watched::called(self.inner.call(req), OnEnd::new(counted)),
            Err(error) => Watched::refused(error),
        }
    }
}

impl LoopLayer {
    /// Whether a request may go on, and what is to be counted of it.
    fn look(&self, caller: &Caller, payload: &Payload) -> Result<Counted, Error> {
        let loops = caller.loops.as_ref().unwrap_or(&self.loops);
        if loops.is_nothing() || !makes_something(payload) {
            return Ok(Counted(None));
        }
        let request = match loops.same_request {
            Some(same) => Some(self.look_at_request(caller, payload, loops, same)?),
            None => None,
        };
        let session = payload.exchange().learn(|learnt| learnt.labels.session.clone());
        let session = match loops.session.zip(session) {
            Some((most, session)) => {
                let session = (caller.name.clone(), session);
                self.look_at_session(&session, payload, loops, most)?;
                let is_told = self.news.is_some() && is_shared(most.per);
                let account = is_told.then(|| account(&[session.0.as_bytes(), session.1.as_bytes()]));
                Some(Known { of: session, per: most.per, account })
            }
            None => None,
        };
        let (layer, exchange) = (self.clone(), payload.exchange().clone());
        Ok(Counted(Some(Counting { layer, exchange, request, session, answered: false })))
    }

    /// By what the request is known.
    fn look_at_request(
        &self,
        caller: &Caller,
        payload: &Payload,
        loops: &Loops,
        SameRequest { more_than, per }: SameRequest,
    ) -> Result<Known<u64>, Error> {
        let model = payload.model();
        let name = self.counts.name(&caller.name, payload.dialect().id(), model, payload.source());
        let limit = u64::from(more_than).saturating_sub(1);
        let shared_name = || {
            let texts = [&*caller.name, payload.dialect().id(), model].map(str::as_bytes);
            account(&[texts[0], texts[1], texts[2], payload.source()])
        };
        if let Some(over) = self.counts.request_over(name, limit, per) {
            let message = format!(
                "a runaway loop: the key `{}` was answered the same request for the model `{model}` {} times in {}, \
                 and may be {more_than} times",
                caller.name,
                over.sum,
                time(per)
            );
            let runaway = || {
                let of = Repeated::Request { model: model.into(), times: over.sum };
                Runaway { name: shared_name(), key: caller.name.clone(), of, per, shadow: loops.shadow }
            };
            self.refuse(over, loops, runaway, message, payload.exchange())?;
        }
        // What comes for the first time is told to nobody.
        let is_told = self.news.is_some() && is_shared(per) && self.counts.is_repeated(name);
        Ok(Known { of: name, per, account: is_told.then(shared_name) })
    }

    /// Tells other gateways of what has come.
    fn tell(&self, of: Thing, account: Option<Arc<str>>, per: Duration) {
        if let (Some(news), Some(account)) = (&self.news, account) {
            // Where there is no room it is told with the next.
            let _ = news.try_send(News { of, account, per });
        }
    }

    fn look_at_session(
        &self,
        session: &Session,
        payload: &Payload,
        loops: &Loops,
        SessionSpend { more_than, per }: SessionSpend,
    ) -> Result<(), Error> {
        let Some(over) = self.counts.session_over(session, more_than.0, per) else { return Ok(()) };
        let (key, name) = session.clone();
        let spent = NanoUsd(over.sum);
        let message = format!(
            "a runaway loop: the session `{name}` of the key `{key}` has spent {spent} usd in {}, more than {more_than} \
             usd",
            time(per)
        );
        let runaway = || {
            let shared_name = account(&[key.as_bytes(), name.as_bytes()]);
            let of = Repeated::Session { session: name.clone(), spent, most: more_than };
            Runaway { name: shared_name, key: key.clone(), of, per, shadow: loops.shadow }
        };
        self.refuse(over, loops, runaway, message, payload.exchange())
    }

    /// Tells of a loop, and refuses it unless it is only watched.
    fn refuse(
        &self,
        over: Over,
        loops: &Loops,
        runaway: impl FnOnce() -> Runaway,
        message: String,
        exchange: &Exchange,
    ) -> Result<(), Error> {
        let shadow = loops.shadow;
        if over.is_new {
            match &self.alerts {
                Some(alerts) => alerts.tell(What::Loop(runaway())),
                None => tracing::warn!(shadow, "{message}"),
            }
        }
        if shadow {
            exchange.learn(|learnt| learnt.shadowed.push(message.into()));
            return Ok(());
        }
        // Whole seconds are what most clients read.
        let wait = Duration::from_secs(over.wait.as_secs() + u64::from(over.wait.subsec_nanos() > 0));
        Err(Error::new(Kind::RunawayLoop, message).with_retry_after(wait))
    }
}

/// Whether asking again makes something again: to look at what is there, or to count, is no loop.
fn makes_something(payload: &Payload) -> bool {
    payload.head().resource.is_none() && !payload.dialect().is_free()
}

/// Counts an answer when it has ended.
#[derive(Debug)]
pub struct Counted(Option<Counting>);

#[derive(Debug)]
struct Counting {
    layer: LoopLayer,
    exchange: Exchange,
    request: Option<Known<u64>>,
    session: Option<Known<Session>>,
    /// Whether a part of the answer has passed.
    answered: bool,
}

/// Something that is counted, and under which name other gateways are told of it.
#[derive(Debug)]
struct Known<T> {
    of: T,
    per: Duration,
    account: Option<Arc<str>>,
}

impl Observe for Counted {
    fn data(&mut self, _: &Bytes) {
        if let Some(counting) = &mut self.0 {
            counting.answered = true;
        }
    }

    fn end(self, end: End) {
        let Some(Counting { layer, exchange, request, session, answered }) = self.0 else { return };
        // A client that has left before there was an answer, or whose answer broke, may well try again.
        let is_answered = end == End::Complete || (end == End::Aborted && answered);
        if let Some(Known { of, per, account }) = request.filter(|_| is_answered) {
            layer.counts.add_request(of, per);
            layer.tell(Thing::Request(of), account, per);
        }
        if let Some(Known { of, per, account }) = session
            && let spent @ NanoUsd(1..) = exchange.cost()
        {
            layer.counts.add_spend(of.clone(), spent.0, per);
            layer.tell(Thing::Session(of), account, per);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::ready, sync::Mutex, time::SystemTime};

    use tokio::time::advance;
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        Target, Tokens,
        alerts::{Alert, Alerts, Settings, Tell},
        auth::VirtualKey,
        exchange::Outcome,
        ledger::MemoryLedger,
        lock,
        payload::Resource,
        price::Rates,
        testing::{ENDINGS, Ending, MustBeReady, ask, is_shared},
    };

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Tell for Kept {
        fn tell(&self, alert: &Arc<Alert>) {
            lock(&self.0).push(alert.text());
        }
    }

    /// Costs a dollar and ends so.
    async fn play(layer: &LoopLayer, req: Request<Payload>, ending: Ending) -> Result<(), Error> {
        let service = layer.layer(MustBeReady::new(move |req: Request<Payload>| {
            let price = Rates::flat(NanoUsd::from_usd(1_000_000), NanoUsd::default());
            let target = Arc::new(Target::new("p", "m").price(Some(price.into())));
            let attempt = Exchange::of(&req).begin(&target);
            attempt.report(Tokens { input: 1, ..Tokens::default() });
            attempt.finish(Outcome::Answered);
            ending.answer()
        }));
        is_shared(&service);
        let answer = service.oneshot(req);
        if ending == Ending::DroppedBeforeHead {
            ending.play(answer, || (), || ()).await;
            return Ok(());
        }
        match answer.await {
            Ok(answer) => ending.play(ready(Ok::<_, Error>(answer)), || (), || ()).await,
            Err(error) if error.kind() == Kind::RunawayLoop => return Err(error),
            Err(error) => assert_eq!(ending, Ending::Refused, "{error}"),
        }
        Ok(())
    }

    async fn answered(layer: &LoopLayer, req: Request<Payload>) -> Result<(), Error> {
        play(layer, req, Ending::Complete).await
    }

    fn key(name: &str) -> Option<VirtualKey> {
        Some(VirtualKey::new(name))
    }

    fn in_session(name: &str, model: &str) -> Request<Payload> {
        let req = ask(model, key("a"));
        req.body().exchange().learn(|learnt| learnt.labels.session = Some(name.into()));
        req
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_request_is_refused_when_it_was_answered_too_often() {
        let layer = LoopLayer::new(Loops::default().same_request(3, MINUTE));
        for _ in 0..3 {
            answered(&layer, ask("m", key("a"))).await.unwrap();
            advance(Duration::from_secs(10)).await;
        }

        let error = answered(&layer, ask("m", key("a"))).await.unwrap_err();

        assert_eq!(
            error.message(),
            "a runaway loop: the key `a` was answered the same request for the model `m` 3 times in 1m, and may be 3 \
             times"
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(31)));
        answered(&layer, ask("m", key("b"))).await.unwrap();
        answered(&layer, ask("other", key("a"))).await.unwrap();
        advance(Duration::from_secs(31)).await;
        answered(&layer, ask("m", key("a"))).await.unwrap();
        answered(&layer, ask("m", key("a"))).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_answered_counts() {
        for ending in ENDINGS {
            let layer = LoopLayer::new(Loops::default().same_request(1, MINUTE));
            let counts = matches!(ending, Ending::Complete | Ending::KnownLength | Ending::DroppedAfterFrame);

            play(&layer, ask("m", key("a")), ending).await.unwrap();

            assert_eq!(answered(&layer, ask("m", key("a"))).await.is_err(), counts, "{ending:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn to_look_at_what_is_there_is_no_loop() {
        let layer = LoopLayer::new(Loops::default().same_request(1, MINUTE));
        let look = || {
            let resource = Resource { method: http::Method::GET, path: "/batches/b".into(), target: None };
            ask("m", key("a")).map(|payload| {
                let head = crate::payload::Head { resource: Some(resource), ..payload.head().clone() };
                Payload::new(payload.dialect(), head, payload.source().clone(), payload.exchange().clone())
            })
        };

        for _ in 0..3 {
            answered(&layer, look()).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_has_spent_too_much_has_to_wait() {
        let layer = LoopLayer::new(Loops::default().session(NanoUsd::from_usd(2), MINUTE));
        for model in ["1", "2", "3"] {
            answered(&layer, in_session("s", model)).await.unwrap();
        }

        let error = answered(&layer, in_session("s", "4")).await.unwrap_err();

        assert_eq!(
            error.message(),
            "a runaway loop: the session `s` of the key `a` has spent 3 usd in 1m, more than 2 usd"
        );
        answered(&layer, in_session("other", "4")).await.unwrap();
        answered(&layer, ask("4", key("a"))).await.unwrap();
        advance(error.retry_after().unwrap()).await;
        answered(&layer, in_session("s", "4")).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_told_once_and_only_told_in_shadow() {
        let kept = Arc::new(Kept::default());
        let settings = Settings::default().tell(kept.clone());
        let began = tokio::time::Instant::now();
        let ledger = Arc::new(MemoryLedger::with_clock(move || SystemTime::UNIX_EPOCH + began.elapsed()));
        let loops = Loops::default().same_request(1, MINUTE).shadow(true);
        let [layer, other] = [(); 2].map(|()| {
            let (alerts, task) = Alerts::new(ledger.clone(), settings.clone());
            tokio::spawn(task);
            LoopLayer::new(loops.clone()).alerts(alerts)
        });
        let told = async || {
            tokio::time::sleep(2 * SECOND).await;
            lock(&kept.0).len()
        };
        answered(&layer, ask("m", key("a"))).await.unwrap();

        let shadowed = ask("m", key("a"));
        let exchange = shadowed.body().exchange().clone();
        answered(&layer, shadowed).await.unwrap();
        answered(&layer, ask("m", key("a"))).await.unwrap();

        assert_eq!(exchange.learn(|learnt| learnt.shadowed.len()), 1);
        assert_eq!(told().await, 1);
        assert_eq!(*lock(&kept.0), ["the key `a` has sent the same request for `m` 1 times in 1m"]);
        // Another node finds the same loop.
        answered(&other, ask("m", key("a"))).await.unwrap();
        answered(&other, ask("m", key("a"))).await.unwrap();
        assert_eq!(told().await, 1);
        advance(MINUTE).await;
        answered(&layer, ask("m", key("a"))).await.unwrap();
        answered(&layer, ask("m", key("a"))).await.unwrap();
        assert_eq!(told().await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_may_have_rules_of_its_own() {
        let layer = LoopLayer::new(Loops::default().same_request(1, MINUTE));
        let free = || Some(VirtualKey::new("free").loops(Loops::default()));

        for _ in 0..3 {
            answered(&layer, ask("m", free())).await.unwrap();
        }
    }

    /// Gateways that count together.
    fn gateways(loops: &Loops) -> [LoopLayer; 2] {
        let ledger = Arc::new(MemoryLedger::default());
        [(); 2].map(|()| {
            let (layer, task) = LoopLayer::new(loops.clone()).shared(ledger.clone());
            tokio::spawn(task);
            layer
        })
    }

    /// How many of so many are answered, one here and one there, each told before the next one comes.
    async fn answered_by(gateways: &[LoopLayer; 2], ask: impl Fn() -> Request<Payload>) -> usize {
        let mut count = 0;
        for turn in 0..40 {
            count += usize::from(answered(&gateways[turn % 2], ask()).await.is_ok());
            advance(Duration::from_millis(1)).await;
            tokio::task::yield_now().await;
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn gateways_that_share_a_ledger_count_the_same_request_together() {
        let gateways = gateways(&Loops::default().same_request(10, MINUTE));

        let count = answered_by(&gateways, || ask("m", key("a"))).await;

        assert!((10..=11).contains(&count), "{count}");
        let error = answered(&gateways[0], ask("m", key("a"))).await.unwrap_err();
        answered(&gateways[0], ask("m", key("b"))).await.unwrap();
        advance(error.retry_after().unwrap()).await;
        answered(&gateways[0], ask("m", key("a"))).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn gateways_that_share_a_ledger_add_up_what_a_session_spends() {
        let gateways = gateways(&Loops::default().session(NanoUsd::from_usd(9), MINUTE));

        let count = answered_by(&gateways, || in_session("s", "m")).await;

        assert!((10..=11).contains(&count), "{count}");
        answered(&gateways[0], in_session("other", "m")).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_once_is_told_to_nobody() {
        let (layer, _task) = LoopLayer::new(Loops::default().same_request(10, MINUTE))
            .shared(Arc::new(MemoryLedger::default()));
        let news = layer.news.clone().unwrap();

        answered(&layer, ask("m", key("a"))).await.unwrap();
        answered(&layer, ask("other", key("a"))).await.unwrap();
        let once = news.max_capacity() - news.capacity();
        answered(&layer, ask("m", key("a"))).await.unwrap();
        let twice = news.max_capacity() - news.capacity();

        assert_eq!((once, twice), (0, 1));
    }
}
