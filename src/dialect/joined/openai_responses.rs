use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Join, open_response::OpenResponse, read, unreadable, written};
use crate::{Error, Kind, dialect::schema::Members};

/// The events of a response, the last of which has all of it.
#[derive(Default)]
pub(super) struct Responses {
    last: Option<Box<RawValue>>,
    /// Some servers leave them out of the response at the end.
    items: Vec<Box<RawValue>>,
    /// What its pieces say until its end comes, if anybody wants to know.
    open: Option<OpenResponse>,
}

impl Responses {
    pub(super) fn that_may_break_off() -> Self {
        Self { open: Some(OpenResponse::default()), ..Self::default() }
    }
}

#[derive(Deserialize)]
struct Said {
    r#type: String,
    response: Option<Box<RawValue>>,
    item: Option<Box<RawValue>>,
}

fn read_members(response: &RawValue) -> Result<Members<'_>, Error> {
    serde_json::from_str(response.get()).map_err(unreadable)
}

fn has_output(response: &Members<'_>) -> bool {
    let output = response.get("output").map_or("[]", RawValue::get);
    output != "null" && !output.trim_matches(['[', ']']).trim_ascii().is_empty()
}

impl Join for Responses {
    fn event(&mut self, _: &[u8], data: &[u8]) -> Result<usize, Error> {
        let grown = self.open.as_mut().map_or(Ok(0), |open| open.event(data))?;
        let said: Said = read(data)?;
        match (&*said.r#type, said.response, said.item) {
            ("response.completed" | "response.incomplete" | "response.failed", Some(response), _) => {
                // One that failed may say nothing of what came before.
                if has_output(&read_members(&response)?) {
                    self.open = None;
                }
                self.last = Some(response);
            }
            ("response.output_item.done", _, Some(item)) => {
                let size = item.get().len() + size_of::<Box<RawValue>>();
                self.items.push(item);
                return Ok(grown + size);
            }
            _ => {}
        }
        Ok(grown)
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, Error> {
        let ended = || Error::new(Kind::Upstream, "the provider's stream ended before its answer did");
        let last = self.last.ok_or_else(ended)?;
        let members = read_members(&last)?;
        if has_output(&members) || self.items.is_empty() {
            return Ok(last.get().into());
        }
        let mut all = serde_json::Map::new();
        for (name, value) in members.0 {
            all.insert(name.to_string(), serde_json::from_str(value.get()).map_err(unreadable)?);
        }
        all.insert("output".into(), serde_json::to_value(&self.items).map_err(unreadable)?);
        written(&all)
    }

    fn so_far(mut self: Box<Self>) -> Result<Vec<u8>, Error> {
        match self.open.take() {
            Some(open) => open.finish(),
            None => self.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::joined;
    use crate::dialect::OPENAI_RESPONSES;
    use serde_json::json;

    const ITEM: &str = r#"{"type":"web_search_call","id":"ws_1","status":"completed"}"#;

    #[test]
    fn the_response_at_the_end_is_the_answer() {
        for end in ["completed", "incomplete", "failed"] {
            let response = format!(
                r#"{{"id":"resp_1","status":"{end}","output":[{ITEM}],"metadata":{{"a":"b"}},"store":true,"service_tier":"flex"}}"#
            );
            let last = format!(r#"{{"type":"response.{end}","sequence_number":3,"response":{response}}}"#);

            let answer = joined(
                &OPENAI_RESPONSES,
                &[r#"{"type":"response.created","response":{"id":"resp_1","output":[]}}"#, &last],
            );

            assert_eq!(answer, serde_json::from_str::<serde_json::Value>(&response).unwrap());
        }
    }

    #[test]
    fn items_that_the_end_leaves_out_are_put_in() {
        let done = format!(r#"{{"type":"response.output_item.done","output_index":0,"item":{ITEM}}}"#);

        let answer = joined(
            &OPENAI_RESPONSES,
            &[&done, r#"{"type":"response.completed","response":{"id":"r","output":[]}}"#],
        );

        let item: serde_json::Value = serde_json::from_str(ITEM).unwrap();
        assert_eq!(answer, json!({"id": "r", "output": [item]}));
    }
}
