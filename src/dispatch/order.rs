//! Which target is asked first: [`Strategy`].

use std::cell::Cell;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{
    Candidate, Conversations, Route, candidate::short, conversation::conversation, needs::Needs, pace::Pace,
};
use crate::{Exchange, Payload, Target, exchange::Learnt, price::Likely};

/// By what the target is chosen that is asked first. What comes after it, where it fails, is the same order
/// continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Strategy {
    /// As they are listed.
    #[default]
    Priority,
    /// By chance, in proportion to their weights, or always the same for the same [`Sticky`] value.
    Weighted,
    /// The fewest requests under way for its weight.
    LeastBusy,
    /// The quicker one of two that are drawn, as far as its answers have told, and the less busy.
    Latency,
    /// The lowest price for this request's likely tokens.
    Cheapest,
    /// The most tokens of output per second, as far as its answers have told.
    Throughput,
}

impl Strategy {
    /// The name used in headers, records and configurations, such as `least-busy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Weighted => "weighted",
            Self::LeastBusy => "least-busy",
            Self::Latency => "latency",
            Self::Cheapest => "cheapest",
            Self::Throughput => "throughput",
        }
    }
}

/// What keeps its target, where the strategy is [`Weighted`](Strategy::Weighted): the same value leads to the
/// same target in every process, and when a target comes or goes, only that one's share moves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sticky {
    /// The end user.
    User,
    /// The session.
    Session,
    /// The key.
    Key,
    /// The value of this tag.
    Tag(Box<str>),
}

impl Sticky {
    fn value<'a>(&self, learnt: &'a Learnt) -> Option<&'a str> {
        match self {
            Self::User => learnt.labels.user.as_deref(),
            Self::Session => learnt.labels.session.as_deref(),
            Self::Key => learnt.caller.as_ref().map(|caller| &*caller.name),
            Self::Tag(name) => learnt.labels.tag(name),
        }
    }

    /// Of the route's name and the value; `None` if the request has none.
    fn digest(&self, route: &str, exchange: &Exchange) -> Option<u64> {
        exchange.learn(|learnt| {
            let value = self.value(learnt)?;
            let route = Sha256::new_with_prefix(route.as_bytes()).chain_update([0]);
            Some(short(route.chain_update(value.as_bytes())))
        })
    }
}

/// A candidate's place in the order: the least comes first.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    candidate: &'a Candidate,
    /// What somebody has said goes before all that is found out.
    rank: u32,
    /// Whether it isn't known to take what the request needs, where that is known of others.
    is_doubtful: bool,
    tier: u8,
    score: f64,
    tie: u64,
}

impl Place<'_> {
    fn is_before(&self, other: &Self) -> bool {
        let by_score = || self.score.total_cmp(&other.score).then(self.tie.cmp(&other.tie));
        let place = |place: &Self| (place.rank, place.is_doubtful, place.tier);
        place(self).cmp(&place(other)).then_with(by_score).is_lt()
    }
}

/// What comes before and after everything that has a score of its own.
const KEPT: u8 = 0;
const FIRST: u8 = 1;
const USUAL: u8 = 2;
const LAST: u8 = 3;
const SLOW: u8 = 4;

/// The candidates in the order in which they are asked.
#[derive(Debug)]
pub(super) enum Order<'a, L> {
    /// As they come.
    Listed(L),
    /// Most requests need the first one only, so nothing is sorted.
    Ranked(Ranked<'a>),
}

impl<'a, L: Iterator<Item = &'a Candidate>> Iterator for Order<'a, L> {
    type Item = &'a Candidate;

    fn next(&mut self) -> Option<&'a Candidate> {
        match self {
            Self::Listed(listed) => listed.next(),
            Self::Ranked(ranked) => ranked.next(),
        }
    }
}

/// The candidates that have not been asked yet.
#[derive(Debug)]
pub(super) struct Ranked<'a> {
    places: Vec<Place<'a>>,
    /// The latencies are looked up when the first one has failed: it is one of two, whatever the others are.
    unmeasured: Option<Instant>,
    has_begun: bool,
}

impl<'a> Ranked<'a> {
    fn next(&mut self) -> Option<&'a Candidate> {
        if std::mem::replace(&mut self.has_begun, true)
            && let Some(now) = self.unmeasured.take()
        {
            self.places.iter_mut().for_each(|place| place.score = quickness(place.candidate, now));
        }
        let places = &self.places;
        let first = (0..places.len()).reduce(|a, b| if places[b].is_before(&places[a]) { b } else { a })?;
        Some(self.places.swap_remove(first).candidate)
    }
}

impl Route {
    /// In which order `candidates` are asked for a request that `needs` something in which they differ.
    pub(super) fn order<'a, L>(&self, candidates: L, payload: &Payload, needs: &Needs) -> Order<'a, L>
    where
        L: Iterator<Item = &'a Candidate>,
    {
        let is_plain = !self.is_ranked && !self.has_pace && self.kept.is_none() && needs.is_nothing();
        // What a provider keeps only one target has.
        if self.strategy == Strategy::Priority && is_plain || payload.head().resource.is_some() {
            return Order::Listed(candidates);
        }
        let sticky = self.sticky.as_ref().and_then(|sticky| sticky.digest(&self.name, payload.exchange()));
        let now = Instant::now();
        let mut likely = None;
        let mut places = Vec::with_capacity(self.candidates.len());
        for (index, candidate) in candidates.enumerate() {
            let (rank, tie) = (candidate.rank(), index as u64);
            let is_doubtful = needs.leave_doubt_of(candidate);
            let usual = Place { candidate, rank, is_doubtful, tier: USUAL, score: 0.0, tie };
            places.push(match self.strategy {
                Strategy::Priority => usual,
                Strategy::Weighted => weighted(usual, sticky),
                Strategy::LeastBusy => least_busy(usual),
                Strategy::Latency => by_what_is_known(usual),
                Strategy::Cheapest => {
                    cheapest(usual, likely.get_or_insert_with(|| Likely::of(payload, self.assume_output)))
                }
                Strategy::Throughput => most_productive(usual, now),
            });
        }
        let mut unmeasured = (self.strategy == Strategy::Latency).then_some(now);
        if unmeasured.is_some() {
            choose_of_two(&mut places, now);
        }
        // Another one than the better of the two may be first then.
        if !is_plain && unmeasured.take().is_some() {
            places.iter_mut().for_each(|place| place.score = quickness(place.candidate, now));
        }
        self.prefer(&mut places, payload, now);
        Order::Ranked(Ranked { places, unmeasured, has_begun: false })
    }
}

impl Route {
    /// Puts the target to the front that has the conversation in its cache, and those to the end that are too slow.
    fn prefer(&self, places: &mut [Place<'_>], payload: &Payload, now: Instant) {
        if self.has_pace {
            for place in &mut *places {
                let is_slow = |pace: &Pace| pace.is_too_slow(now, 1.0 - fraction(random()));
                if place.candidate.known_pace().is_some_and(is_slow) {
                    place.tier = SLOW;
                }
            }
        }
        let Some(kept) = &self.kept else { return };
        let target = conversation(&self.name, payload).and_then(|conversation| kept.find(conversation));
        for place in places.iter_mut().filter(|place| Some(place.candidate.digest()) == target) {
            if place.tier != SLOW && is_cheaper_again(place.candidate.target()) {
                place.tier = KEPT;
            }
        }
    }

    /// Whether the conversation of a request was at a target before.
    pub(super) fn is_kept_at(&self, candidate: &Candidate, payload: &Payload) -> bool {
        let kept = self.kept.as_ref().filter(|_| is_cheaper_again(candidate.target()));
        let find = |kept: &Conversations| kept.find(conversation(&self.name, payload)?);
        kept.and_then(find) == Some(candidate.digest())
    }

    /// Notes that `candidate` has answered.
    pub(super) fn answered(&self, candidate: &Candidate, payload: &Payload) {
        if let Some(kept) = &self.kept
            && is_cheaper_again(candidate.target())
            && let Some(conversation) = conversation(&self.name, payload)
        {
            kept.keep(conversation, candidate.digest());
        }
    }
}

/// Whether what its cache has costs less, as far as the price is known.
fn is_cheaper_again(target: &Target) -> bool {
    target.known_price().is_none_or(|price| price.scale.rates.cached < price.scale.rates.input)
}

/// Whoever has the shortest of exponentially distributed times has been drawn in proportion to its weight.
fn weighted(place: Place<'_>, sticky: Option<u64>) -> Place<'_> {
    let bits = match sticky {
        Some(digest) => mixed(digest ^ place.candidate.digest()),
        None => random(),
    };
    let time = -fraction(bits).ln();
    match place.candidate.share() {
        0 => Place { tier: LAST, score: time, ..place },
        weight => Place { score: time / f64::from(weight), ..place },
    }
}

fn least_busy(place: Place<'_>) -> Place<'_> {
    let busy = f64::from(place.candidate.known_load().in_flight());
    match place.candidate.share() {
        0 => Place { tier: LAST, score: busy, tie: random(), ..place },
        weight => Place { score: busy / f64::from(weight), tie: random(), ..place },
    }
}

fn by_what_is_known(place: Place<'_>) -> Place<'_> {
    let load = place.candidate.known_load();
    let tier = match load.is_measured() {
        true => USUAL,
        false if load.waiting() == 0 => FIRST,
        // The first one that tries it will tell.
        false => LAST,
    };
    Place { tier, tie: random(), ..place }
}

/// The less the better: how long it takes until an answer begins, times those who ask at the same time.
fn quickness(candidate: &Candidate, now: Instant) -> f64 {
    let load = candidate.known_load();
    let busy = f64::from(load.in_flight());
    load.latency_at(now).map_or(busy, |latency| latency.as_secs_f64() * (busy + 1.0))
}

/// Moves the better one of two that are known to the front: if everybody took the best, it would be overrun
/// before it has told so.
fn choose_of_two(places: &mut [Place<'_>], now: Instant) {
    let known = places.iter().filter(|place| place.tier == USUAL).count();
    if known < 2 || known < places.len() && places.iter().any(|place| place.tier == FIRST) {
        return;
    }
    let one = (random() % known as u64) as usize;
    let other = (one + 1 + (random() % (known as u64 - 1)) as usize) % known;
    let mut drawn = places.iter_mut().filter(|place| place.tier == USUAL).enumerate();
    let mut drawn = drawn.by_ref().filter(|(index, _)| *index == one || *index == other);
    if let (Some((_, one)), Some((_, other))) = (drawn.next(), drawn.next()) {
        for place in [&mut *one, &mut *other] {
            place.score = quickness(place.candidate, now);
        }
        let better = if other.is_before(one) { other } else { one };
        better.tier = FIRST;
    }
}

fn cheapest<'a>(place: Place<'a>, likely: &Likely) -> Place<'a> {
    match likely.score_at(place.candidate.target(), place.candidate.flat_price()) {
        Some(score) => Place { score, ..place },
        None => Place { tier: LAST, ..place },
    }
}

fn most_productive(place: Place<'_>, now: Instant) -> Place<'_> {
    let load = place.candidate.known_load();
    match load.throughput_at(now) {
        Some(tokens) => Place { score: -tokens, ..place },
        None if load.in_flight() == 0 => Place { tier: FIRST, tie: random(), ..place },
        None => Place { tier: LAST, score: f64::from(load.in_flight()), ..place },
    }
}

/// More than 0, and 1 at the most.
pub(super) fn fraction(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// Numbers that nobody has to be unable to guess, without asking the system for each.
pub(super) fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(getrandom::u64().unwrap_or_default());
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        mixed(next)
    })
}

/// The last steps of SplitMix64, after which all bits depend on all.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc, time::Duration};

    use http::Request;

    use super::*;
    use crate::{
        price::{NanoUsd, Rates},
        testing::{Ending, ask},
    };

    fn candidate(name: &str) -> Candidate {
        of(Target::new("demo", name))
    }

    fn of(target: Target) -> Candidate {
        Candidate::new(Arc::new(target), tower::service_fn(|_| Ending::Complete.answer()))
    }

    fn names(route: &Route, req: &Request<Payload>) -> Vec<String> {
        let order = route.order(route.candidates.iter(), req.body(), &Needs::default());
        order.map(|candidate| candidate.target().model().to_owned()).collect()
    }

    fn first(route: &Route, req: &Request<Payload>) -> String {
        names(route, req).swap_remove(0)
    }

    fn weights(weights: &[(&str, u32)]) -> Route {
        let candidates = weights.iter().map(|(name, weight)| candidate(name).weight(*weight));
        Route::new("chat", candidates).strategy(Strategy::Weighted)
    }

    fn from_user(user: &str) -> Request<Payload> {
        let req = ask("chat", None);
        req.body().exchange().learn(|learnt| learnt.labels.user = Some(user.into()));
        req
    }

    #[test]
    fn traffic_is_split_by_weight_within_a_hundredth() {
        let route = weights(&[("a", 70), ("b", 20), ("c", 9), ("d", 1), ("none", 0)]);
        let req = ask("chat", None);
        let mut counts = HashMap::<String, u32>::new();

        for _ in 0..100_000 {
            *counts.entry(first(&route, &req)).or_default() += 1;
        }

        println!("of 100,000 choices by 70:20:9:1:0: {counts:?}");
        for (name, percent) in [("a", 70.0), ("b", 20.0), ("c", 9.0), ("d", 1.0), ("none", 0.0)] {
            let share = f64::from(counts.get(name).copied().unwrap_or_default()) / 1_000.0;
            assert!((share - percent).abs() < 1.0, "{name}: {share} %");
        }
        assert_eq!(names(&route, &req)[4], "none");
    }

    #[test]
    fn who_sticks_is_split_by_weight_too() {
        let route = weights(&[("a", 3), ("b", 1)]).sticky(Sticky::User);

        let of_b = (0..20_000).filter(|user| first(&route, &from_user(&user.to_string())) == "b").count();

        assert!((of_b as f64 / 200.0 - 25.0).abs() < 1.0, "{of_b}");
    }

    #[test]
    fn a_user_keeps_its_target_and_moves_only_if_that_goes() {
        let before = weights(&[("a", 1), ("b", 1), ("c", 1)]).sticky(Sticky::User);
        let after = weights(&[("c", 1), ("a", 1)]).sticky(Sticky::User);

        for user in 0..200 {
            let req = from_user(&format!("user-{user}"));
            let order = names(&before, &req);
            assert_eq!(order, names(&before, &req));
            let left: Vec<_> = order.into_iter().filter(|name| name != "b").collect();
            assert_eq!(left, names(&after, &req));
        }
    }

    #[test]
    fn each_label_and_the_key_may_be_what_sticks() {
        let key = crate::auth::VirtualKey::new("a-key");
        let req = from_user("ann");
        req.body().exchange().learn(|learnt| {
            learnt.caller = Some(crate::auth::Caller::new(key));
            learnt.labels.session = Some("s".into());
            learnt.labels.tags = vec![("feature".into(), "search".into())];
        });
        let value = |sticky: Sticky| {
            req.body().exchange().learn(|learnt| sticky.value(learnt).map(str::to_owned)).unwrap_or_default()
        };

        let found = [Sticky::User, Sticky::Session, Sticky::Key, Sticky::Tag("feature".into())].map(value);

        assert_eq!(found, ["ann", "s", "a-key", "search"]);
        assert_eq!(value(Sticky::Tag("other".into())), "");
    }

    #[test]
    fn the_least_busy_for_its_weight_is_first() {
        let candidates = [candidate("a").weight(4), candidate("b"), candidate("spare").weight(0)];
        let req = ask("chat", None);
        let _four: Vec<_> = (0..5).map(|_| candidates[0].call(ask("chat", None))).collect();
        let _two: Vec<_> = (0..2).map(|_| candidates[1].call(ask("chat", None))).collect();
        let route = Route::new("chat", candidates).strategy(Strategy::LeastBusy);

        assert_eq!(names(&route, &req), ["a", "b", "spare"]);
    }

    #[test]
    fn ties_are_broken_by_chance() {
        let route = Route::new("chat", ["a", "b"].map(candidate)).strategy(Strategy::LeastBusy);
        let req = ask("chat", None);

        let of_a = (0..1_000).filter(|_| first(&route, &req) == "a").count();

        assert!((400..600).contains(&of_a), "{of_a}");
    }

    #[test]
    fn the_cheapest_for_the_request_is_first_and_those_without_a_price_are_last() {
        let priced = |name: &str, input, output| {
            of(Target::new("demo", name).price(Some(Rates::flat(NanoUsd(input), NanoUsd(output)).into())))
        };
        let candidates = || {
            [
                candidate("unknown"),
                priced("writes", 900, 10),
                priced("reads", 100, 1_000),
                priced("same", 100, 1_000),
            ]
        };
        let route = Route::new("chat", candidates()).strategy(Strategy::Cheapest);
        let asks = |most| {
            ask("chat", None).map(|payload| {
                let source = format!(r#"{{"model":"{}"}}"#, "x".repeat(4_000_000));
                let head = crate::payload::Head { max_output: Some(most), ..payload.head().clone() };
                Payload::new(payload.dialect(), head, source.into(), payload.exchange().clone())
            })
        };

        assert_eq!(names(&route, &asks(1)), ["reads", "same", "writes", "unknown"]);
        assert_eq!(names(&route, &asks(10_000_000)), ["writes", "reads", "same", "unknown"]);
    }

    async fn answers_after(candidate: &Candidate, time: Duration) {
        let mut asking = candidate.known_load().begin(&Exchange::default());
        tokio::time::sleep(time).await;
        asking.get_mut().unwrap().head();
        asking.finish(crate::body::End::Complete);
    }

    #[tokio::test(start_paused = true)]
    async fn the_quickest_is_first_but_for_one_of_which_nothing_is_known() {
        let candidates = ["slow", "quick", "new"].map(candidate);
        answers_after(&candidates[1], Duration::from_millis(100)).await;
        answers_after(&candidates[0], Duration::from_secs(2)).await;
        let route = Route::new("chat", candidates).strategy(Strategy::Latency);
        let req = ask("chat", None);

        assert_eq!(names(&route, &req), ["new", "quick", "slow"]);
        let _tried = route.candidates[2].call(ask("chat", None));
        assert_eq!(names(&route, &req), ["quick", "slow", "new"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_one_that_is_busy_is_not_overrun() {
        let candidates = ["quick", "slower"].map(candidate);
        answers_after(&candidates[1], Duration::from_millis(300)).await;
        answers_after(&candidates[0], Duration::from_millis(100)).await;
        let _three: Vec<_> = (0..3).map(|_| candidates[0].call(ask("chat", None))).collect();
        let route = Route::new("chat", candidates).strategy(Strategy::Latency);

        assert_eq!(names(&route, &ask("chat", None)), ["slower", "quick"]);
    }
}
