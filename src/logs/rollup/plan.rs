use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    super::{Dimension, Filter, Question},
    Level, Step,
};

/// The level with the fewest groups that tells apart all that is asked for; `None` if only records do.
pub(in crate::logs) fn level(question: &Question) -> Option<Level> {
    let Filter { key, team, customer, user, session, trace, model, target, provider, tag, .. } =
        &question.filter;
    let is_feature = tag.as_ref().is_some_and(|(name, _)| **name == *"feature");
    // End users are told apart without their times.
    if user.is_some() || session.is_some() || trace.is_some() || (tag.is_some() && !is_feature) {
        return None;
    }
    let by = |dimensions: &[Dimension]| question.by.is_some_and(|by| dimensions.contains(&by));
    let who = [key, team, customer].iter().any(|name| name.is_some())
        || by(&[Dimension::Key, Dimension::Team, Dimension::Customer]);
    let what = [model, target, provider].iter().any(|name| name.is_some())
        || by(&[Dimension::Model, Dimension::Target, Dimension::Provider]);
    let of_feature = is_feature || by(&[Dimension::Feature]);
    Some(match (by(&[Dimension::User]), of_feature, who, what) {
        (true, false, _, false) => Level::User,
        (true, ..) => return None,
        (_, true, ..) => Level::Feature,
        (_, _, true, true) => Level::Full,
        (_, _, true, false) => Level::Who,
        (_, _, false, true) => Level::What,
        (_, _, false, false) => Level::All,
    })
}

/// The question for all together, and its level, where the sums of a question leave out what has no name.
pub(in crate::logs) fn whole(question: &Question) -> Option<(Question, Level)> {
    let is_named = matches!(question.by, Some(Dimension::User | Dimension::Feature));
    let whole = Question { by: None, ..question.clone() };
    let level = level(&whole).filter(|level| is_named && *level != Level::Feature)?;
    Some((whole, level))
}

/// Sums of one step within a part of a span, in seconds.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::logs) struct Piece {
    pub(in crate::logs) step: Step,
    pub(in crate::logs) from: u64,
    pub(in crate::logs) until: u64,
}

/// What a span is put together from: as many long steps as fit, and short ones at the edges.
pub(in crate::logs) fn pieces(
    from: u64,
    until: u64,
    step: Option<u64>,
    level: Level,
    now: u64,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut edge = u64::MAX;
    // What is older than the sums of a step is read from those of the next longer one.
    for finest in Step::of(level) {
        let oldest = Step::Day.floor(now.saturating_sub(finest.days() * Step::Day.seconds()));
        let (from, until) = (from.max(oldest), until.min(edge));
        if from < until {
            let until = if until == edge { until } else { finest.ceil(until) };
            cover(finest.floor(from), until, step, *finest, Step::Day, &mut pieces);
        }
        edge = oldest;
    }
    pieces
}

fn cover(from: u64, until: u64, step: Option<u64>, finest: Step, longest: Step, pieces: &mut Vec<Piece>) {
    if from >= until {
        return;
    }
    let shorter = match longest {
        _ if longest == finest => return pieces.push(Piece { step: finest, from, until }),
        Step::Day => Step::Hour,
        _ => Step::Minute,
    };
    let (begin, end) = (longest.ceil(from), longest.floor(until));
    if begin >= end || step.is_some_and(|step| !step.is_multiple_of(longest.seconds())) {
        return cover(from, until, step, finest, shorter, pieces);
    }
    cover(from, begin, step, finest, shorter, pieces);
    pieces.push(Piece { step: longest, from: begin, until: end });
    cover(end, until, step, finest, shorter, pieces);
}

/// The step of a question in seconds, in whole minutes.
pub(in crate::logs) fn step_of(question: &Question) -> Option<u64> {
    question.step.map(|step| step.as_secs().div_ceil(60).max(1) * 60)
}

/// The second of Unix time.
pub(in crate::logs) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
