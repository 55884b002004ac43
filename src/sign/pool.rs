use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::KeyForm;
use crate::{
    BoxError, Error, Kind,
    alerts::{Alerts, KeyOut, What},
    audit::{Event, EventKind, Trail},
    lock,
    secret::Secret,
};

/// How long a key stays out that was refused, or whose account has no money: until somebody may have mended it.
const REFUSED: Duration = Duration::from_secs(600);
/// How long one stays out whose limit is reached, where the provider doesn't say.
const LIMITED: Duration = Duration::from_secs(30);
/// No key is left out for less: it would be back before the others were asked.
const SHORTEST: Duration = Duration::from_secs(1);
/// No key is left out for longer, whatever the provider says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Several keys of one provider, of which each request is sent with one. Clones are the same pool.
///
/// Requests are shared out by the keys' weights. A key that the provider refuses (401, 403), or whose account is out of
/// credit, is taken out for ten minutes, and people are told; one whose limit is reached (429) until the provider
/// gives it more (`retry-after`, or what its rate-limit headers say). The request goes on with the next key at once.
/// While all of them are out, the target is passed over as behind an open [breaker](crate::breaker): with an
/// error that leads to the next one. A breaker doesn't count what a pool has seen to.
#[derive(Clone, Debug)]
pub struct KeyPool(Arc<Shared>);

struct Shared {
    /// The provider, for messages.
    name: Box<str>,
    form: KeyForm,
    keys: Box<[Key]>,
    states: Mutex<Box<[State]>>,
    alerts: Option<Alerts>,
    trail: Option<Trail>,
}

/// One of the keys of a [`KeyPool`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolKey {
    name: Arc<str>,
    secret: Secret,
    weight: u32,
}

impl PoolKey {
    /// A key with the name by which people know it.
    pub fn new(name: &str, secret: Secret) -> Self {
        Self { name: name.into(), secret, weight: 1 }
    }

    /// Sets its share among the others: 1, if this isn't called.
    #[must_use]
    pub fn weight(self, weight: u32) -> Self {
        Self { weight: weight.max(1), ..self }
    }
}

#[derive(Debug)]
struct Key {
    known: PoolKey,
    value: HeaderValue,
}

/// How a key stands.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// What it is owed; whoever is owed most is next.
    owed: i64,
    out: Option<Out>,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    since: Instant,
    until: Instant,
    why: Kind,
}

/// How one key of a pool stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStanding {
    /// Its name.
    pub name: Arc<str>,
    /// How long it is yet to be left out; `None` if it is in.
    pub out_for: Option<Duration>,
    /// Why it was taken out last.
    pub why: Option<Kind>,
    /// How long ago that was.
    pub taken_out: Option<Duration>,
}

impl KeyPool {
    /// A pool of the provider `name`, to which keys are presented in this form.
    ///
    /// # Errors
    ///
    /// If there is no key, or one has characters that a header can't have.
    pub fn new(name: &str, form: KeyForm, keys: impl IntoIterator<Item = PoolKey>) -> Result<Self, BoxError> {
        let key = |known: PoolKey| {
            let value = form.credential(&known.secret).value()?.ok_or("a key is missing")?;
            Ok(Key { known, value })
        };
        let keys = keys.into_iter().map(key).collect::<Result<Box<[_]>, BoxError>>()?;
        if keys.is_empty() {
            return Err("a pool needs a key".into());
        }
        let states = Mutex::new(vec![State::default(); keys.len()].into());
        Ok(Self(Arc::new(Shared { name: name.into(), form, keys, states, alerts: None, trail: None })))
    }

    /// Tells people when a key is taken out because it was refused.
    #[must_use]
    pub fn alerts(self, alerts: Alerts) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(shared) => Self(Arc::new(Shared { alerts: Some(alerts), ..shared })),
            Err(shared) => Self(shared),
        }
    }

    /// Notes in `trail` when a key is taken out because it was refused.
    #[must_use]
    pub fn audit(self, trail: Trail) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(shared) => Self(Arc::new(Shared { trail: Some(trail), ..shared })),
            Err(shared) => Self(shared),
        }
    }

    /// How its keys stand, in their order.
    pub fn standings(&self) -> Vec<KeyStanding> {
        let now = Instant::now();
        let standing = |(key, state): (&Key, &State)| KeyStanding {
            name: key.known.name.clone(),
            out_for: state.out.map(|out| out.until - now.min(out.until)).filter(|left| !left.is_zero()),
            why: state.out.map(|out| out.why),
            taken_out: state.out.map(|out| now.saturating_duration_since(out.since)),
        };
        self.0.keys.iter().zip(&**lock(&self.0.states)).map(standing).collect()
    }

    /// Whether it has these keys, in this form.
    #[cfg(any(feature = "config", test))]
    pub(crate) fn is_of(&self, form: &KeyForm, keys: &[PoolKey]) -> bool {
        self.0.form == *form && self.0.keys.iter().map(|key| &key.known).eq(keys)
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.0.keys.len()
    }

    /// The name of a key.
    pub(super) fn name(&self, key: usize) -> Arc<str> {
        self.0.keys.get(key).map_or_else(|| "".into(), |key| key.known.name.clone())
    }

    /// Whether the other one is a clone of this one.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn form(&self) -> &KeyForm {
        &self.0.form
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.0.keys.iter().map(|key| &key.known.secret)
    }

    /// Puts this key into `headers`.
    pub(super) fn apply(&self, key: usize, headers: &mut HeaderMap) {
        if let Some(key) = self.0.keys.get(key) {
            headers.insert(self.0.form.header(), key.value.clone());
        }
    }

    /// Whether a request can be sent.
    pub(super) fn check(&self) -> Result<(), Error> {
        let (now, states) = (Instant::now(), lock(&self.0.states));
        if states.iter().any(|state| state.is_in(now)) { Ok(()) } else { Err(self.all_out(&states, now)) }
    }

    /// The key for the next request: each gets its share of any few requests in a row.
    pub(super) fn next(&self) -> Result<usize, Error> {
        let (now, states) = (Instant::now(), &mut *lock(&self.0.states));
        let (mut best, mut all) = (None::<usize>, 0);
        for (index, key) in self.0.keys.iter().enumerate() {
            if !states[index].is_in(now) {
                continue;
            }
            let weight = i64::from(key.known.weight);
            states[index].owed += weight;
            all += weight;
            if best.is_none_or(|best| states[best].owed < states[index].owed) {
                best = Some(index);
            }
        }
        let best = best.ok_or_else(|| self.all_out(states, now))?;
        states[best].owed -= all;
        Ok(best)
    }

    /// Takes a key out if `error` is its fault; says whether it is.
    pub(super) fn judge(&self, key: usize, error: &Error) -> bool {
        let Some(time) = how_long(error) else { return false };
        let why = error.kind();
        let is_new = {
            let now = Instant::now();
            let states = &mut *lock(&self.0.states);
            let Some(state) = states.get_mut(key) else { return false };
            let is_new = state.is_in(now);
            // Of several requests that were under way the first one has taken it out.
            let since = state.out.filter(|_| !is_new).map_or(now, |out| out.since);
            // What it was owed while it was out isn't paid at once when it comes back.
            *state = State { owed: 0, out: Some(Out { since, until: now + time.min(LONGEST), why }) };
            is_new
        };
        if is_new {
            self.tell(key, why, time.min(LONGEST));
        }
        true
    }

    fn tell(&self, key: usize, why: Kind, out_for: Duration) {
        let key = self.name(key);
        let what =
            KeyOut { provider: self.0.name.clone(), key: key.clone(), of: self.0.keys.len(), why, out_for };
        if let Some(trail) = self.0.trail.as_ref().filter(|_| why != Kind::RateLimited) {
            let event = Event::new(EventKind::Key, "the gateway", what.text())
                .detail("provider", &*what.provider)
                .detail("key", &*key)
                .detail("action", "refused by the provider")
                .detail("why", why.as_str());
            trail.note(event);
        }
        match &self.0.alerts {
            // Limits are reached every day.
            Some(alerts) if why != Kind::RateLimited => alerts.tell(What::KeyOut(what)),
            _ => tracing::warn!(provider = &*self.0.name, %key, %why, ?out_for, "{}", what.text()),
        }
    }

    fn all_out(&self, states: &[State], now: Instant) -> Error {
        let soonest = states.iter().filter_map(|state| state.out).min_by_key(|out| out.until);
        let (left, why) = soonest
            .map_or((LIMITED, Kind::RateLimited), |out| (out.until.saturating_duration_since(now), out.why));
        let left = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
        let message = format!(
            "`{}` is passed over for {left:?} because all of its keys are out, one with {why}",
            self.0.name
        );
        Error::new(Kind::Overloaded, message).with_retry_after(left).with_elsewhere()
    }
}

impl State {
    fn is_in(&self, now: Instant) -> bool {
        self.out.is_none_or(|out| out.until <= now)
    }
}

/// For how long a key is left out after this, if it is the key's fault: what a layer of the gateway says isn't.
fn how_long(error: &Error) -> Option<Duration> {
    error.reply()?;
    match error.kind() {
        Kind::RateLimited => Some(error.retry_after().unwrap_or(LIMITED).max(SHORTEST)),
        Kind::UpstreamAuth | Kind::Billing => Some(REFUSED),
        _ => None,
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode, header};

    use super::*;
    use crate::error::Reply;

    fn pool(weights: &[u32]) -> KeyPool {
        let keys = weights.iter().enumerate().map(|(index, weight)| key(index, *weight));
        KeyPool::new("openai", KeyForm::Bearer, keys).unwrap()
    }

    fn key(index: usize, weight: u32) -> PoolKey {
        PoolKey::new(&format!("key-{index}"), Secret::new(format!("sk-{index}"))).weight(weight)
    }

    fn refused(kind: Kind) -> Error {
        let (status, headers) = (StatusCode::UNAUTHORIZED, HeaderMap::new());
        Error::new(kind, "no").with_reply(Reply {
            status,
            headers,
            body: "{}".into(),
            dialect: "openai-chat",
        })
    }

    #[test]
    fn requests_are_shared_out_by_weight_and_not_in_runs() {
        let pool = pool(&[3, 1]);

        let drawn: Vec<_> = (0..8).map(|_| pool.next().unwrap()).collect();

        assert_eq!(drawn.iter().filter(|key| **key == 0).count(), 6);
        assert!(drawn.windows(4).all(|four| four.contains(&1)), "{drawn:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_refused_is_out_until_it_may_have_been_mended() {
        let pool = pool(&[1, 1]);

        assert!(pool.judge(0, &refused(Kind::UpstreamAuth)));

        assert!((0..4).all(|_| pool.next().unwrap() == 1));
        let standing = &pool.standings()[0];
        assert_eq!(
            (&*standing.name, standing.out_for, standing.why),
            ("key-0", Some(REFUSED), Some(Kind::UpstreamAuth))
        );
        tokio::time::advance(REFUSED).await;
        let drawn: Vec<_> = (0..4).map(|_| pool.next().unwrap()).collect();
        assert_eq!(drawn.iter().filter(|key| **key == 0).count(), 2, "{drawn:?}");
        assert_eq!(pool.standings()[0].out_for, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_at_its_limit_is_out_for_as_long_as_the_provider_says() {
        for (says, out) in [(Some(7), 7), (None, 30), (Some(1_000_000), 24 * 3600)] {
            let pool = pool(&[1, 1]);
            let error = refused(Kind::RateLimited);
            let error = match says {
                Some(seconds) => error.with_retry_after(Duration::from_secs(seconds)),
                None => error,
            };

            pool.judge(1, &error);

            assert_eq!(pool.standings()[1].out_for, Some(Duration::from_secs(out)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_key_the_target_is_passed_over_and_says_for_how_long() {
        let pool = pool(&[1, 1]);
        pool.judge(0, &refused(Kind::UpstreamAuth));
        pool.judge(1, &refused(Kind::RateLimited).with_retry_after(Duration::from_millis(1500)));

        let error = pool.next().unwrap_err();

        assert_eq!(pool.check().unwrap_err().message(), error.message());
        assert_eq!(
            error.message(),
            "`openai` is passed over for 2s because all of its keys are out, one with rate_limited"
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
        assert!(error.is_failover() && !error.is_retryable() && error.has_begun_nothing());
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(pool.next().unwrap(), 1);
    }

    #[test]
    fn what_is_no_fault_of_the_key_leaves_it_in() {
        let pool = pool(&[1]);

        for kind in [Kind::Upstream, Kind::Overloaded, Kind::InvalidRequest, Kind::Timeout] {
            assert!(!pool.judge(0, &refused(kind)), "{kind}");
        }
        assert!(!pool.judge(0, &Error::new(Kind::RateLimited, "by the gateway itself")));
        assert!(pool.check().is_ok());
    }

    #[test]
    fn keys_are_not_shown() {
        let pool = pool(&[1, 2]);
        let mut headers = HeaderMap::new();

        pool.apply(1, &mut headers);

        assert_eq!(headers[header::AUTHORIZATION], "Bearer sk-1");
        assert!(!format!("{pool:?} {headers:?}").contains("sk-"), "{pool:?} {headers:?}");
        assert!(pool.is_of(&KeyForm::Bearer, &[key(0, 1), key(1, 2)]));
        assert!(!pool.is_of(&KeyForm::Bearer, &[key(0, 1), key(1, 3)]));
        assert!(!pool.is_of(&KeyForm::Bearer, &[key(0, 1)]));
        assert!(KeyPool::new("a", KeyForm::Bearer, []).is_err());
        assert!(KeyPool::new("a", KeyForm::Bearer, [PoolKey::new("a", Secret::new("sk\n"))]).is_err());
    }
}
