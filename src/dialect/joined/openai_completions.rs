use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Join,
    merge::{Object, merge, replace, size},
    read, written,
};
use crate::{
    Error,
    dialect::buffer::{MAX_CHOICES, too_many},
};

/// The chunks of a legacy completion.
#[derive(Default)]
pub(super) struct Completions {
    whole: Object,
    choices: BTreeMap<u64, Object>,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<Piece>>,
    #[serde(flatten)]
    rest: Object,
}

#[derive(Deserialize)]
struct Piece {
    #[serde(default)]
    index: u64,
    #[serde(flatten)]
    rest: Object,
}

impl Join for Completions {
    fn event(&mut self, _: &[u8], data: &[u8]) -> Result<usize, Error> {
        let Chunk { choices, rest } = read(data)?;
        let is_new = |(name, _): &(&String, &Value)| !self.whole.contains_key(*name);
        let mut grown = rest.iter().filter(is_new).map(|(_, value)| size(value)).sum();
        replace(&mut self.whole, rest);
        for piece in choices.into_iter().flatten() {
            if !self.choices.contains_key(&piece.index) && self.choices.len() >= MAX_CHOICES {
                return Err(too_many("choices"));
            }
            grown += merge(self.choices.entry(piece.index).or_default(), piece.rest);
        }
        Ok(grown)
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<u8>, Error> {
        let choices = std::mem::take(&mut self.choices).into_iter().map(|(index, mut choice)| {
            choice.insert("index".into(), index.into());
            choice.entry("finish_reason").or_insert(Value::Null);
            Value::from(choice)
        });
        let choices = choices.collect();
        self.whole.insert("object".into(), "text_completion".into());
        self.whole.insert("choices".into(), choices);
        written(&self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::super::joined;
    use crate::dialect::OPENAI_COMPLETIONS;
    use serde_json::json;

    #[test]
    fn the_pieces_of_each_text_are_one() {
        let answer = joined(
            &OPENAI_COMPLETIONS,
            &[
                r#"{"id":"c","object":"text_completion","created":7,"model":"m","choices":[{"index":1,"text":"b","logprobs":null,"finish_reason":null}]}"#,
                r#"{"id":"c","choices":[{"index":0,"text":"He","logprobs":{"tokens":["He"],"token_logprobs":[-1]},"finish_reason":null}]}"#,
                r#"{"id":"c","choices":[{"index":0,"text":"llo","logprobs":{"tokens":["llo"],"token_logprobs":[-2]},"finish_reason":"stop"}],"usage":null}"#,
                r#"{"id":"c","choices":[],"usage":{"prompt_tokens":1}}"#,
            ],
        );

        let expected = json!({"id": "c", "object": "text_completion", "created": 7, "model": "m",
            "usage": {"prompt_tokens": 1}, "choices": [
                {"index": 0, "text": "Hello", "logprobs": {"tokens": ["He", "llo"], "token_logprobs": [-1, -2]},
                    "finish_reason": "stop"},
                {"index": 1, "text": "b", "logprobs": null, "finish_reason": null}]});
        assert_eq!(answer, expected);
    }
}
