//! [`Extras`]: the fields that only the client's dialect knows.

use std::{borrow::Cow, collections::HashSet};

use serde_json::value::RawValue;

use crate::dialect::{
    canonical::{Extra, Text},
    object::Unknown,
    text::Str,
};

/// The fields that only the client's dialect knows, each of them once.
#[derive(Debug, Default)]
pub(crate) struct Extras<'a> {
    extras: Vec<Extra<'a>>,
    known: HashSet<Text<'a>>,
}

impl<'a> Extras<'a> {
    /// Keeps `members`, that stand below `path`, as far as `says_something` of their name and value.
    pub(crate) fn all(
        &mut self,
        path: &str,
        members: Unknown<'a>,
        says_something: impl Fn(&str, &RawValue) -> bool,
    ) {
        for (member, value) in members {
            if says_something(&member, value) {
                let field =
                    if path.is_empty() { member.into() } else { format!("{path}{}", &*member).into() };
                self.push(field, Cow::Borrowed(value));
            }
        }
    }

    /// Keeps a text that has no place in the canonical form.
    pub(crate) fn text(&mut self, field: &'static str, text: Option<Str<'a>>) {
        let Some(text) = text else { return };
        if !self.known.contains(field)
            && let Ok(raw) = serde_json::value::to_raw_value(&text)
        {
            self.push(field.into(), Cow::Owned(raw));
        }
    }

    /// Keeps `value`, unless there is one for `field` already.
    pub(crate) fn push(&mut self, field: Text<'a>, value: Cow<'a, RawValue>) {
        if self.known.insert(field.clone()) {
            self.extras.push(Extra { field, value });
        }
    }

    /// All of them, in the order in which they came up.
    pub(crate) fn into_vec(self) -> Vec<Extra<'a>> {
        self.extras
    }
}
