use crate::{Kind, Target};

/// What came of second attempts at requests whose first one took long.
pub const HEDGES: &str = "bartizan_hedges_total";
/// What came of streams that broke in the middle, where somebody else is to go on with them.
pub const RESUMES: &str = "bartizan_resumes_total";
/// What came of copies of requests.
pub const MIRRORS: &str = "bartizan_mirrors_total";

/// What came of a second attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hedged {
    /// The target was asked.
    Sent,
    /// And has answered first.
    Won,
    /// There was no second attempt at what the target is slow to answer, because no more were allowed or what was
    /// reserved didn't bear it.
    Refused,
}

/// Notes what became of a second attempt.
pub(crate) fn hedged(target: &Target, hedged: Hedged) {
    let outcome = match hedged {
        Hedged::Sent => "sent",
        Hedged::Won => "won",
        Hedged::Refused => "refused",
    };
    count(HEDGES, target, outcome);
}

/// Notes whether somebody goes on with a stream of `target` that broke.
pub(crate) fn resumed(target: &Target, is_done: bool) {
    let outcome = if is_done { "done" } else { "impossible" };
    count(RESUMES, target, outcome);
}

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mirrored {
    /// The target was asked.
    Sent,
    /// There was no room for it.
    Skipped,
    /// It was refused before the target was asked: by its budget, its breaker or because it is full.
    Refused(Kind),
}

/// Notes what became of a copy for `target`.
pub(crate) fn mirrored(target: &Target, mirrored: Mirrored) {
    let outcome = match mirrored {
        Mirrored::Sent => "sent",
        Mirrored::Skipped => "skipped",
        Mirrored::Refused(kind) => kind.as_str(),
    };
    count(MIRRORS, target, outcome);
}

#[cfg(feature = "metrics")]
fn count(name: &'static str, target: &Target, outcome: &'static str) {
    ::metrics::counter!(name, "target" => target.name().clone(), "outcome" => outcome).increment(1);
}

#[cfg(not(feature = "metrics"))]
fn count(_: &'static str, _: &Target, _: &'static str) {}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use ::metrics::with_local_recorder;

    use super::*;
    use crate::testing::Counted;

    #[test]
    fn each_is_counted_by_what_came_of_it() {
        let (counted, target) = (Counted::default(), Target::new("openai", "gpt-4o"));

        with_local_recorder(&counted, || {
            hedged(&target, Hedged::Won);
            resumed(&target, false);
            mirrored(&target, Mirrored::Refused(Kind::Billing));
        });

        let expected = [
            "bartizan_hedges_total target=openai/gpt-4o,outcome=won",
            "bartizan_resumes_total target=openai/gpt-4o,outcome=impossible",
            "bartizan_mirrors_total target=openai/gpt-4o,outcome=billing",
        ];
        assert_eq!(counted.lines(), expected);
    }
}
