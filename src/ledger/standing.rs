use std::time::Duration;

use super::Measure;

/// How a caller stands with one of its limits once its request is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is counted.
    pub measure: Measure,
    /// The most of it.
    pub limit: u64,
    /// What is left.
    pub left: u64,
    /// In what time the limit is whole again if nothing else is asked for; `None` is never.
    pub resets_in: Option<Duration>,
}

/// How a caller stands with its limits: of each measure with the one that has least left. Money and
/// requests at a time are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standings([Option<Standing>; 4]);

impl Standings {
    /// Adds a limit.
    pub fn note(&mut self, standing: Standing) {
        let Some(place) = place(standing.measure).and_then(|index| self.0.get_mut(index)) else { return };
        if place.is_none_or(|tightest| standing.left < tightest.left) {
            *place = Some(standing);
        }
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        other.0.iter().flatten().for_each(|standing| self.note(*standing));
    }

    /// The tightest limit of `measure`.
    pub fn of(&self, measure: Measure) -> Option<&Standing> {
        self.0.get(place(measure)?)?.as_ref()
    }
}

const fn place(measure: Measure) -> Option<usize> {
    match measure {
        Measure::Requests => Some(0),
        Measure::Tokens => Some(1),
        Measure::Input => Some(2),
        Measure::Output => Some(3),
        Measure::Usd | Measure::Concurrent => None,
    }
}
