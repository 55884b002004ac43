use std::fmt;

use ::metrics::{Counter, Histogram, Label};

use super::{OVERFLOW, names::OTHER};
use crate::hashing::Map;

/// A label that one of a few words is the value of.
pub(super) type Word = (&'static str, &'static str);

/// The series that there are, so that none is looked up by all of its labels each time, and not more than so many
/// are ever made.
pub(super) struct Series {
    most: usize,
    made: usize,
    places: Map<Box<str>, usize>,
    groups: Vec<Group>,
    /// The name of a group, where it is put together.
    name: String,
}

/// A label with any value.
type Labelled<'a> = (&'static str, &'a str);

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(usize);

/// The series that have some labels in common.
struct Group {
    names: Vec<&'static str>,
    labels: Vec<Label>,
    counters: Vec<Counted>,
    histograms: Vec<(&'static str, Histogram)>,
    /// Whether it stands for those that there is no room for.
    is_other: bool,
}

impl Series {
    /// Room for `most` series; a histogram is one.
    pub(super) fn new(most: usize) -> Self {
        Self { most, made: 0, places: Map::default(), groups: Vec::new(), name: String::new() }
    }

    /// The group with these labels, or the one of all others if there is no room for it.
    pub(super) fn group(&mut self, labels: &[Labelled<'_>]) -> At {
        self.name.clear();
        for (name, value) in labels {
            self.name.extend([name, "=", value, "\0"]);
        }
        match self.places.get(&*self.name) {
            Some(at) => At(*at),
            None if self.made >= self.most && !is_other(labels) => {
                ::metrics::counter!(OVERFLOW).increment(1);
                self.others(labels.iter().map(|(name, _)| *name))
            }
            None => self.make(labels),
        }
    }

    fn others(&mut self, names: impl Iterator<Item = &'static str>) -> At {
        let labels: Vec<_> = names.map(|name| (name, OTHER)).collect();
        self.group(&labels)
    }

    fn make(&mut self, labels: &[Labelled<'_>]) -> At {
        self.groups.push(Group {
            names: labels.iter().map(|(name, _)| *name).collect(),
            labels: labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect(),
            counters: Vec::new(),
            histograms: Vec::new(),
            is_other: is_other(labels),
        });
        let at = self.groups.len() - 1;
        self.places.insert(self.name.as_str().into(), at);
        At(at)
    }

    /// Counts `by` more, in the series of the group with these words beside its labels.
    pub(super) fn count(&mut self, at: At, metric: &'static str, words: &[Word], by: u64) {
        let at = self.with_room(at, |group| group.counters.iter().any(|known| is(known, metric, words)));
        let Some(group) = self.groups.get_mut(at.0) else { return };
        match group.counters.iter().find(|known| is(known, metric, words)) {
            Some((_, _, counter)) => counter.increment(by),
            None => {
                let mut labels = group.labels.clone();
                labels.extend(words.iter().map(|(name, value)| Label::from_static_parts(name, value)));
                let counter = ::metrics::counter!(metric, labels);
                counter.increment(by);
                group.counters.push((metric, words.to_vec(), counter));
                self.made += 1;
            }
        }
    }

    /// Notes a value in a histogram of the group.
    pub(super) fn note(&mut self, at: At, metric: &'static str, value: f64) {
        let at = self.with_room(at, |group| group.histograms.iter().any(|(known, _)| *known == metric));
        let Some(group) = self.groups.get_mut(at.0) else { return };
        match group.histograms.iter().find(|(known, _)| *known == metric) {
            Some((_, histogram)) => histogram.record(value),
            None => {
                let histogram = ::metrics::histogram!(metric, group.labels.clone());
                histogram.record(value);
                group.histograms.push((metric, histogram));
                self.made += 1;
            }
        }
    }

    /// The group itself if it has such a series or room for one, otherwise the one of all others.
    fn with_room(&mut self, at: At, has: impl Fn(&Group) -> bool) -> At {
        let Some(group) = self.groups.get(at.0) else { return at };
        if self.made < self.most || group.is_other || has(group) {
            return at;
        }
        ::metrics::counter!(OVERFLOW).increment(1);
        let names = group.names.clone();
        self.others(names.into_iter())
    }
}

/// One of a group's counters, and the words that it has beside the labels of the group.
type Counted = (&'static str, Vec<Word>, Counter);

fn is((known, with, _): &Counted, metric: &str, words: &[Word]) -> bool {
    *known == metric && with == words
}

fn is_other(labels: &[Labelled<'_>]) -> bool {
    labels.iter().all(|(_, value)| *value == OTHER)
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("made", &self.made).field("most", &self.most).finish_non_exhaustive()
    }
}
