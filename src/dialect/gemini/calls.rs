//! The ids of calls and results, where clients and providers may leave them out.

use std::collections::{HashMap, VecDeque};

use super::content::Ids;
use crate::dialect::{canonical::Text, ids};

/// The calls of a conversation: a result without an id answers the first open call of its name.
#[derive(Debug, Default)]
pub(super) struct Calls<'a> {
    /// Where the reader is: turn and part.
    place: (usize, usize),
    /// The turn of the open calls.
    turn: usize,
    /// The ids of the calls that have not been answered, in their order.
    open: Vec<Option<Text<'a>>>,
    by_id: HashMap<Text<'a>, VecDeque<usize>>,
    by_name: HashMap<Text<'a>, VecDeque<usize>>,
}

impl Calls<'_> {
    /// Goes on to a part.
    pub(super) fn go_to(&mut self, turn: usize, part: usize) {
        self.place = (turn, part);
    }

    /// An id that is always the same in the same conversation.
    fn made_up(&self) -> String {
        format!("call_{}_{}", self.place.0, self.place.1)
    }
}

impl<'a> Ids<'a> for &mut Calls<'a> {
    fn call(&mut self, id: Option<Text<'a>>, name: &Text<'a>) -> Text<'a> {
        if self.turn != self.place.0 {
            // What has not been answered by now never will be.
            self.turn = self.place.0;
            self.open.clear();
            self.by_id.clear();
            self.by_name.clear();
        }
        let id = id.unwrap_or_else(|| self.made_up().into());
        let at = self.open.len();
        self.open.push(Some(id.clone()));
        self.by_id.entry(id.clone()).or_default().push_back(at);
        self.by_name.entry(name.clone()).or_default().push_back(at);
        id
    }

    fn result(&mut self, id: Option<Text<'a>>, name: &str) -> Text<'a> {
        let known = id.as_ref().and_then(|id| self.by_id.get_mut(id));
        let places = match known {
            Some(known) => Some(known),
            // An id that no call has was made up by the client.
            None => self.by_name.get_mut(name),
        };
        let open = &mut self.open;
        let found = places
            .and_then(|places| std::iter::from_fn(|| places.pop_front()).find_map(|at| open[at].take()));
        found.or(id).unwrap_or_else(|| self.made_up().into())
    }
}

/// The calls of an answer, which are told apart by new ids.
#[derive(Debug)]
pub(super) struct NewIds;

impl<'a> Ids<'a> for NewIds {
    fn call(&mut self, id: Option<Text<'a>>, _: &Text<'a>) -> Text<'a> {
        id.unwrap_or_else(|| ids::new("call_").into())
    }

    fn result(&mut self, id: Option<Text<'a>>, _: &str) -> Text<'a> {
        id.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C34, C35
    #[test]
    fn results_without_ids_answer_the_calls_of_their_name_in_order() {
        let mut calls = Calls::default();
        let mut reader = &mut calls;

        reader.go_to(1, 0);
        let first = reader.call(None, &"f".into());
        reader.go_to(1, 1);
        let other = reader.call(None, &"g".into());
        reader.go_to(1, 2);
        let second = reader.call(None, &"f".into());
        reader.go_to(2, 0);

        assert_eq!([&*first, &*other, &*second], ["call_1_0", "call_1_1", "call_1_2"]);
        assert_eq!(reader.result(None, "f"), first);
        assert_eq!(reader.result(None, "f"), second);
        assert_eq!(reader.result(Some("unknown".into()), "g"), other);
        assert_eq!(reader.result(None, "f"), "call_2_0");
    }

    #[test]
    fn an_id_goes_before_the_order() {
        let mut calls = Calls::default();
        let mut reader = &mut calls;
        reader.go_to(1, 0);
        reader.call(Some("a".into()), &"f".into());
        reader.call(Some("b".into()), &"f".into());

        assert_eq!(reader.result(Some("b".into()), "f"), "b");
        assert_eq!(reader.result(None, "f"), "a");
    }

    #[test]
    fn what_was_not_answered_in_time_is_not_answered_later() {
        let mut calls = Calls::default();
        let mut reader = &mut calls;
        reader.go_to(1, 0);
        reader.call(None, &"f".into());
        reader.go_to(3, 0);
        let later = reader.call(None, &"f".into());

        assert_eq!(reader.result(None, "f"), later);
    }
}
