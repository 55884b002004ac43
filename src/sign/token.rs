//! Tokens that live for a while.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, Request, header};
use tokio::time::Instant;

use super::Authorize;
use crate::{BoxFuture, Error, Kind, Payload, lock, secret::Secret};

/// How long before its end a token is renewed if nothing else is set: less than the time before which Google's
/// machines go on handing out the old one.
const EARLY: Duration = Duration::from_secs(225);

/// How long to wait before a server that failed is asked once more.
const AGAIN: Duration = Duration::from_millis(200);

/// How long to go on with an old token before the next attempt to renew it.
const PAUSE: Duration = Duration::from_secs(10);

/// A token that was refused is renewed if it is older than this: a new one would be refused too.
const YOUNG: Duration = Duration::from_secs(60);

/// Someone who hands out tokens.
pub trait TokenSource: fmt::Debug + Send + Sync + 'static {
    /// Fetches a token. It has to give up by itself.
    ///
    /// # Errors
    ///
    /// [`Kind::UpstreamAuth`] if the gateway is refused, another kind if the source can't be asked.
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>>;
}

/// A token, and for how long it is good.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself.
    pub secret: Secret,
    /// How long it is good, counted from now.
    pub lifetime: Duration,
}

/// `Authorization: Bearer …` with a token that is fetched when it is first needed, and renewed before it
/// ends.
///
/// Of all requests one renews it, and the others go on with the old token; where there is none they wait
/// for the one. If it can't be renewed the old one is used for as long as it is good.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use bartizan::{
///     BoxFuture, Error,
///     secret::Secret,
///     sign::{BearerToken, Credential, SignLayer, Token, TokenSource},
/// };
///
/// #[derive(Debug)]
/// struct OwnLogin;
///
/// impl TokenSource for OwnLogin {
///     fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>> {
///         let token = Token { secret: Secret::new("of-today"), lifetime: Duration::from_secs(3600) };
///         Box::pin(async { Ok(token) })
///     }
/// }
///
/// let layer = SignLayer::new(Credential::Signed(Arc::new(BearerToken::new(OwnLogin))))?;
/// # Ok::<_, bartizan::BoxError>(())
/// ```
#[derive(Debug)]
pub struct BearerToken {
    source: Arc<dyn TokenSource>,
    early: Duration,
    state: Mutex<State>,
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Current>,
    /// The one before, which answers that are still under way may quote.
    previous: Option<Secret>,
    /// When the last attempt failed, and why.
    failed: Option<(Instant, Kind, String)>,
}

#[derive(Clone, Debug)]
struct Current {
    secret: Secret,
    header: HeaderValue,
    fetched: Instant,
    renew: Instant,
    ends: Instant,
}

impl BearerToken {
    /// Fetches tokens from `source`.
    pub fn new(source: impl TokenSource) -> Self {
        Self {
            source: Arc::new(source),
            early: EARLY,
            state: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
        }
    }

    /// Sets how long before its end a token is renewed, unless it lives for less than twice that: three
    /// minutes and three quarters if it isn't set.
    #[must_use]
    pub fn early(self, early: Duration) -> Self {
        Self { early, ..self }
    }

    /// The value of the header.
    async fn header(&self) -> Result<HeaderValue, Error> {
        let asked = Instant::now();
        let Some(old) = self.good(asked) else { return self.first(asked).await };
        if old.renew > asked || self.has_just_failed(asked) {
            return Ok(old.header);
        }
        let Ok(_only_one) = self.renewing.try_lock() else { return Ok(old.header) };
        // Another one may have been quicker.
        if let Some(new) = self.good(asked).filter(|current| current.renew > asked) {
            return Ok(new.header);
        }
        match self.fetch().await {
            Ok(header) => Ok(header),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a token can't be renewed");
                Ok(old.header)
            }
        }
    }

    /// Waits for a token where there is none.
    async fn first(&self, asked: Instant) -> Result<HeaderValue, Error> {
        let _only_one = self.renewing.lock().await;
        if let Some(current) = self.good(Instant::now()) {
            return Ok(current.header);
        }
        // One attempt is the answer for all who have waited for it.
        if let Some(error) = self.failed_since(asked) {
            return Err(error);
        }
        self.fetch().await
    }

    fn good(&self, now: Instant) -> Option<Current> {
        lock(&self.state).current.clone().filter(|current| current.ends > now)
    }

    fn has_just_failed(&self, now: Instant) -> bool {
        lock(&self.state).failed.as_ref().is_some_and(|(at, ..)| now.duration_since(*at) < PAUSE)
    }

    fn failed_since(&self, then: Instant) -> Option<Error> {
        let state = lock(&self.state);
        let (at, kind, message) = state.failed.as_ref()?;
        (*at > then).then(|| Error::new(*kind, message.clone()))
    }

    async fn fetch(&self) -> Result<HeaderValue, Error> {
        let mut fetched = self.source.fetch().await;
        if fetched.as_ref().is_err_and(|error| error.kind() == Kind::Upstream) {
            tokio::time::sleep(AGAIN).await;
            fetched = self.source.fetch().await;
        }
        let fetched = fetched.and_then(|token| Current::new(token, self.early));
        let mut state = lock(&self.state);
        match fetched {
            Ok(current) => {
                let header = current.header.clone();
                let before = state.current.take().map(|current| current.secret);
                let previous = before.or(state.previous.take());
                *state = State { current: Some(current), previous, failed: None };
                Ok(header)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.kind(), error.message().to_owned()));
                Err(error)
            }
        }
    }
}

impl Current {
    fn new(token: Token, early: Duration) -> Result<Self, Error> {
        /// No token is trusted for longer, whatever it says.
        const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

        let mut header = HeaderValue::try_from(format!("Bearer {}", token.secret.expose()))
            .map_err(|_| Error::new(Kind::UpstreamAuth, "the token can't be sent in a header"))?;
        header.set_sensitive(true);
        let now = Instant::now();
        let lifetime = token.lifetime.min(LONGEST);
        let renew = now + lifetime - early.min(lifetime / 2);
        Ok(Self { secret: token.secret, header, fetched: now, renew, ends: now + lifetime })
    }
}

impl Authorize for BearerToken {
    fn authorize<'a>(&'a self, req: &'a mut Request<Payload>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            let header = self.header().await?;
            req.headers_mut().insert(header::AUTHORIZATION, header);
            Ok(())
        })
    }

    fn secrets(&self) -> Vec<Secret> {
        let state = lock(&self.state);
        let current = state.current.as_ref().map(|current| &current.secret);
        current.into_iter().chain(&state.previous).cloned().collect()
    }

    fn refused(&self) -> bool {
        let mut state = lock(&self.state);
        // None is there if another request has found out first.
        let is_old = state.current.as_ref().is_none_or(|current| current.fetched.elapsed() > YOUNG);
        if is_old && let Some(current) = state.current.take() {
            state.previous = Some(current.secret);
        }
        is_old
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::future::join_all;

    use super::*;

    /// Hands out numbered tokens, slowly, for a minute each unless told otherwise.
    #[derive(Debug)]
    struct Office {
        count: AtomicU64,
        lifetime: Duration,
        fails: Mutex<Option<Kind>>,
    }

    #[derive(Clone, Debug)]
    struct Counter(Arc<Office>);

    impl Counter {
        fn new(lifetime: u64) -> Self {
            let lifetime = Duration::from_secs(lifetime);
            Self(Arc::new(Office { count: AtomicU64::new(0), lifetime, fails: Mutex::new(None) }))
        }

        fn count(&self) -> u64 {
            self.0.count.load(Ordering::SeqCst)
        }

        fn fails(&self, fails: bool) {
            *lock(&self.0.fails) = fails.then_some(Kind::Unreachable);
        }
    }

    impl TokenSource for Counter {
        fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>> {
            let number = self.0.count.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if let Some(kind) = *lock(&self.0.fails) {
                    return Err(Error::new(kind, "the office is closed"));
                }
                Ok(Token { secret: Secret::new(format!("t{number}")), lifetime: self.0.lifetime })
            })
        }
    }

    fn office(lifetime: u64) -> (Counter, BearerToken) {
        let counter = Counter::new(lifetime);
        (counter.clone(), BearerToken::new(counter))
    }

    async fn wait(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_fetches_for_all_who_wait() {
        let (counter, token) = office(3600);

        let all = join_all((0..50).map(|_| token.header())).await;

        assert!(all.iter().all(|header| header.as_ref().unwrap() == "Bearer t0"));
        assert!(all[0].as_ref().unwrap().is_sensitive());
        assert_eq!(counter.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_by_one_while_the_others_go_on() {
        let (counter, token) = office(3600);
        token.header().await.unwrap();

        wait(3600 - 226).await;
        assert_eq!(token.header().await.unwrap(), "Bearer t0");
        assert_eq!(counter.count(), 1);
        wait(1).await;
        let all = join_all((0..3).map(|_| token.header())).await;

        let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
        assert_eq!(all, ["Bearer t1", "Bearer t0", "Bearer t0"]);
        assert_eq!(token.header().await.unwrap(), "Bearer t1");
        assert_eq!(counter.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_to_renew_keeps_the_old_token_while_it_is_good() {
        let (counter, token) = office(3600);
        token.header().await.unwrap();
        counter.fails(true);

        wait(3500).await;
        assert_eq!(token.header().await.unwrap(), "Bearer t0");
        assert_eq!(token.header().await.unwrap(), "Bearer t0");
        assert_eq!(counter.count(), 2);
        wait(11).await;
        assert_eq!(token.header().await.unwrap(), "Bearer t0");
        assert_eq!(counter.count(), 3);
        wait(100).await;
        let error = token.header().await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::Unreachable, "the office is closed"));
        counter.fails(false);
        assert_eq!(token.header().await.unwrap(), "Bearer t4");
    }

    #[tokio::test(start_paused = true)]
    async fn one_failure_is_the_answer_for_all_who_waited() {
        let (counter, token) = office(3600);
        counter.fails(true);

        let all = join_all((0..50).map(|_| token.header())).await;

        assert!(all.iter().all(|header| header.as_ref().unwrap_err().kind() == Kind::Unreachable));
        assert_eq!(counter.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_renews_may_leave() {
        let (counter, token) = office(3600);
        {
            let mut gone = Box::pin(token.header());
            assert!(crate::testing::poll_once(&mut gone).is_pending());
        }

        assert_eq!(token.header().await.unwrap(), "Bearer t1");
        assert_eq!(counter.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_lives_shortly_is_renewed_at_half_of_its_life() {
        let (_, token) = office(60);
        token.header().await.unwrap();

        wait(29).await;
        assert_eq!(token.header().await.unwrap(), "Bearer t0");
        wait(1).await;
        assert_eq!(token.header().await.unwrap(), "Bearer t1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_unless_it_is_new() {
        let (_, token) = office(3600);
        token.header().await.unwrap();

        assert!(!token.refused());
        assert_eq!(token.secrets(), [Secret::new("t0")]);
        wait(61).await;
        assert!(token.refused());
        assert_eq!(token.secrets(), [Secret::new("t0")]);
        assert_eq!(token.header().await.unwrap(), "Bearer t1");
        assert_eq!(token.secrets(), [Secret::new("t1"), Secret::new("t0")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_failed_is_asked_once_more() {
        let (counter, token) = office(3600);
        *lock(&counter.0.fails) = Some(Kind::Upstream);

        let error = token.header().await.unwrap_err();

        assert_eq!((error.kind(), counter.count()), (Kind::Upstream, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn how_early_a_token_is_renewed_can_be_set() {
        let counter = Counter::new(3600);
        let token = BearerToken::new(counter.clone()).early(Duration::from_secs(300));
        token.header().await.unwrap();

        wait(3600 - 301).await;
        assert_eq!(token.header().await.unwrap(), "Bearer t0");
        wait(1).await;
        assert_eq!(token.header().await.unwrap(), "Bearer t1");
    }
}
