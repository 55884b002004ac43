//! The items of a streamed response that are not whole yet.

use std::{borrow::Cow, ops::Range};

use serde_json::value::RawValue;

use super::{
    answer::called,
    wire::{self, Item},
};
use crate::dialect::{extent::Extent, text::Str, text_or::TextOr};

/// The item that is being written, besides calls.
#[derive(Debug)]
pub(super) enum Open {
    Nothing,
    Thoughts { place: Place, text: String },
    Message { place: Place, before: Vec<Said>, now: Said },
}

/// Where an item stands, and its name.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) id: String,
}

/// A part of a message.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) is_refusal: bool,
    /// How much text the answer has before it, and how much it has itself, in characters.
    pub(super) extent: Range<usize>,
    pub(super) annotations: Vec<Box<RawValue>>,
    pub(super) logprobs: Vec<Box<RawValue>>,
}

impl Said {
    /// One that begins after so many characters.
    pub(super) fn new(is_refusal: bool, before: usize) -> Self {
        let (text, extent) = (String::new(), before..before);
        Self { text, is_refusal, extent, annotations: Vec::new(), logprobs: Vec::new() }
    }

    /// The part as it begins.
    pub(super) fn begun(&self) -> wire::Part<'static> {
        if self.is_refusal { wire::Part::refusal("") } else { wire::Part::output("") }
    }

    /// The part as it is now.
    pub(super) fn whole(&self) -> wire::Part<'_> {
        if self.is_refusal {
            return wire::Part::refusal(&self.text);
        }
        let logprobs = (!self.logprobs.is_empty()).then(|| self.logprobs.iter().map(|one| &**one).collect());
        let annotations = self.annotations.iter().map(|one| Cow::Borrowed(&**one)).collect();
        wire::Part { logprobs, ..wire::Part::cited(&self.text, annotations) }
    }
}

/// A call, as far as it is written.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) is_free_text: bool,
    pub(super) arguments: String,
    pub(super) extent: Extent,
}

impl Call {
    /// The item with these arguments.
    pub(super) fn item<'a>(&'a self, status: &'static str, arguments: &'a str) -> Item<'a> {
        let id = Some(Str::from(&*self.place.id));
        called(id, status, (&*self.id).into(), &self.name, arguments, self.is_free_text)
    }

    /// Whether nothing but white space can follow its arguments.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_free_text && self.extent.is_complete()
    }
}

/// A message of these parts.
pub(super) fn message<'a>(place: &'a Place, status: &'static str, said: &'a [Said]) -> Item<'a> {
    Item {
        kind: Some("message".into()),
        id: Some((&*place.id).into()),
        status: Some(status.into()),
        role: Some("assistant".into()),
        content: Some(TextOr::Other(said.iter().map(|said| said.whole()).collect())),
        ..Default::default()
    }
}
