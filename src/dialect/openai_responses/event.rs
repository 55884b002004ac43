//! The events of a response, as they are written.

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    open::Place,
    response::Response,
    wire::{self, Item},
};
use crate::dialect::json_writer;

/// An event; which members it has depends on its type.
#[derive(Default, Serialize)]
pub(super) struct Written<'a> {
    pub(super) r#type: &'static str,
    pub(super) sequence_number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<&'a [Box<RawValue>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotation_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotation: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<wire::Part<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<&'a Item<'a>>,
}

impl<'a> Written<'a> {
    /// An event of this type about an item.
    pub(super) fn of(r#type: &'static str, place: &'a Place) -> Self {
        Self { r#type, item_id: Some(&place.id), output_index: Some(place.index), ..Self::default() }
    }
}

/// An event with the whole response.
#[derive(Serialize)]
pub(super) struct Lifecycle<'a> {
    pub(super) r#type: &'static str,
    pub(super) sequence_number: u64,
    pub(super) response: Response<'a, Vec<&'a RawValue>>,
}

/// Writes what can't fail: neither can the memory it is written to, nor these values.
pub(super) fn send(name: &str, event: &impl Serialize, out: &mut BytesMut) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    let _ = json_writer::write(out, event);
    out.put_slice(b"\n\n");
}
