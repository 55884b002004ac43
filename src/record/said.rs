use std::{borrow::Cow, time::Duration};

use serde::Serialize;

use super::{
    Answered, Content, Mask, across,
    whole::{Whole, is_in_pieces, without_likelihoods},
};

/// The most steps of a stream that are told apart.
const MOST_PIECES: usize = 256;

/// What of content is kept.
#[derive(Clone, Debug)]
pub struct ContentRules {
    most: usize,
    mask: Mask,
}

impl Default for ContentRules {
    fn default() -> Self {
        Self { most: 64 << 10, mask: Mask::default() }
    }
}

impl ContentRules {
    /// Sets how many bytes of a request, and of an answer, are kept at the most.
    #[must_use]
    pub fn most(self, bytes: usize) -> Self {
        Self { most: bytes, ..self }
    }

    /// Sets what is taken for a secret.
    #[must_use]
    pub fn mask(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    /// A text as it is kept; `is_cut` says whether its end is missing.
    fn text(&self, bytes: &[u8], is_cut: &mut bool) -> Box<str> {
        // Most of it is text, which is checked faster than it is mended.
        let text = str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed);
        // What is cut off could be the end by which a secret is known.
        let masked = if *is_cut { self.mask.apply_to_cut(&text) } else { self.mask.apply(&text) };
        let mut text = masked.into_owned();
        if text.len() > self.most {
            *is_cut = true;
            let end = (0..=self.most).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or_default());
        }
        text.into()
    }

    /// An answer as it is kept, whether its end is missing, and when how much of it was there. What came in pieces and
    /// can't be put together is not kept: a secret could be cut by them.
    fn answer(
        &self,
        answered: &Answered,
        dialect: Option<&str>,
    ) -> (Option<Box<str>>, bool, Vec<(Duration, u64)>) {
        if !is_in_pieces(answered, dialect) {
            let mut is_cut = answered.is_cut;
            let json = without_likelihoods(answered.bytes.clone());
            let json = across::masked_in_messages(&json, &self.mask).unwrap_or(json);
            return (Some(self.text(&json, &mut is_cut)), is_cut, Vec::new());
        }
        let Some(Whole { json, times, mut is_cut }) = Whole::of(answered, dialect) else {
            return (None, true, Vec::new());
        };
        let json = without_likelihoods(json);
        let json = across::masked(&json, &self.mask).unwrap_or(json);
        let json = across::unended(&json, &self.mask, is_cut).unwrap_or(json);
        // It is whole JSON, whatever is missing of the answer.
        let mut is_long = false;
        let text = self.text(&json, &mut is_long);
        is_cut |= is_long;
        (Some(text), is_cut, times)
    }

    /// What is taken for a secret.
    pub(super) fn secrets(&self) -> &Mask {
        &self.mask
    }
}

/// What was asked and answered, as it is kept: without secrets, an answer that was a stream put together.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct Said {
    /// The client's JSON.
    pub request: Box<str>,
    /// The answer in the client's dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Box<str>>,
    /// How the answer came, if it was a stream: milliseconds after the request's arrival, and how many bytes of what the
    /// model wrote there were then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<(u64, u64)>,
    /// Whether the end of the request or of the answer is missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

impl Said {
    /// What is kept of what passed. It takes some work; `dialect` is the client's.
    pub(crate) fn new(content: &Content, dialect: Option<&str>, rules: &ContentRules) -> Self {
        let mut is_cut = content.is_cut;
        let request = match across::masked_in_messages(&content.request, &rules.mask) {
            Some(request) => rules.text(&request, &mut is_cut),
            None => rules.text(&content.request, &mut is_cut),
        };
        let (mut answer, mut pieces) = (None, Vec::new());
        if let Some(answered) = &content.answer {
            let (kept, is_answer_cut, times) = rules.answer(answered, dialect);
            answer = kept;
            is_cut |= is_answer_cut;
            pieces = few(&times);
        }
        Self { request, answer, pieces, is_cut }
    }

    /// About how much memory it takes.
    pub(crate) fn size(&self) -> usize {
        self.request.len() + self.answer.as_ref().map_or(0, |answer| answer.len()) + 16 * self.pieces.len()
    }
}

/// Prompts don't belong into logs.
impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Said").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// Of the moments in which something came as many as can be shown.
fn few(times: &[(Duration, u64)]) -> Vec<(u64, u64)> {
    let every = times.len().div_ceil(MOST_PIECES).max(1);
    let last = times.len().saturating_sub(1);
    let chosen = times.iter().enumerate().filter(|(index, _)| index % every == 0 || *index == last);
    let mut few: Vec<_> = chosen.map(|(_, (at, said))| (at.as_millis() as u64, *said)).collect();
    few.dedup_by_key(|(_, said)| *said);
    few
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(request: &str, stream: &[&str]) -> Content {
        let mut answered = Answered { is_stream: true, bytes: Vec::new(), pieces: Vec::new(), is_cut: false };
        for (chunk, at) in stream.iter().zip(1..) {
            answered.push(Duration::from_millis(10 * at), chunk.as_bytes());
        }
        Content::new(request.to_owned().into(), Some(answered))
    }

    const STREAM: [&str; 4] = [
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Your key is \"}}]}\n\nda",
        "ta: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"sk-01234\"}}]}\n\n",
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"56789abcdef\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: [DONE]\n\n",
    ];

    #[test]
    fn a_stream_is_put_together_and_secrets_are_masked_across_its_events() {
        let content = content(r#"{"messages":[{"content":"AKIAIOSFODNN7EXAMPLE"}]}"#, &STREAM);

        let said = Said::new(&content, Some("openai-chat"), &ContentRules::default());

        assert_eq!(&*said.request, r#"{"messages":[{"content":"AKIA[masked]"}]}"#);
        let answer: serde_json::Value = serde_json::from_str(said.answer.as_deref().unwrap()).unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], "Your key is sk-[masked]");
        assert_eq!(said.pieces, [(10, 12), (20, 20), (30, 31)]);
        assert!(!said.is_cut);
    }

    #[test]
    fn a_secret_over_two_parts_of_a_message_is_masked_in_what_was_asked_and_answered() {
        let parts = r#"[{"text":"It is sk-01234"},{"text":"56789abcdef now"}]"#;
        let mut answered =
            Answered { is_stream: false, bytes: Vec::new(), pieces: Vec::new(), is_cut: false };
        answered.push(Duration::ZERO, format!(r#"{{"content":{parts}}}"#).as_bytes());
        let content =
            Content::new(format!(r#"{{"messages":[{{"content":{parts}}}]}}"#).into(), Some(answered));

        let said = Said::new(&content, Some("anthropic-messages"), &ContentRules::default());

        let masked = r#"[{"text":"It is sk-[masked]"},{"text":" now"}]"#;
        assert!(said.request.contains(masked), "{}", said.request);
        assert_eq!(said.answer.as_deref(), Some(&*format!(r#"{{"content":{masked}}}"#)));
    }

    #[test]
    fn what_can_not_be_put_together_is_not_kept() {
        for dialect in [None, Some("bedrock")] {
            let said = Said::new(&content("{}", &STREAM), dialect, &ContentRules::default());

            assert_eq!((said.answer, said.is_cut), (None, true));
        }
    }

    #[test]
    fn what_broke_off_is_kept_with_its_error() {
        let error = r#"data: {"error":{"message":"it broke off","type":"upstream"}}"#;
        let stream = [STREAM[0], STREAM[1], &format!("{error}\n\n")];

        let said = Said::new(&content("{}", &stream), Some("openai-chat"), &ContentRules::default());

        let answer: serde_json::Value = serde_json::from_str(said.answer.as_deref().unwrap()).unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], "Your key is sk-[masked]");
        assert_eq!(answer["error"]["message"], "it broke off");
        assert_eq!(said.pieces, [(10, 12), (20, 20)]);
    }

    #[test]
    fn of_a_known_secret_that_breaks_off_nothing_is_kept() {
        let known = super::super::KnownSecrets::new([crate::secret::Secret::new("correct horse")]);
        let rules = ContentRules::default().mask(Mask::default().known(known));
        let first = STREAM[0].replace("Your key is ", "It is a correct ho");
        let stream = [first.as_str(), "ta: [DONE]\n\n"];

        let said = Said::new(&content("{}", &stream), Some("openai-chat"), &rules);

        assert!(said.answer.unwrap().contains(r#""It is a [masked]""#));
    }

    #[test]
    fn behind_what_can_not_be_read_nothing_is_put() {
        let stream = [STREAM[0], STREAM[1], "data: {\"choices\":[{\n\n", STREAM[2]];

        let said = Said::new(&content("{}", &stream), Some("openai-chat"), &ContentRules::default());

        assert!(said.is_cut && !said.answer.unwrap().contains("56789"));
    }

    /// How each endpoint streams a text, one piece in each event.
    fn streamed(dialect: &str, pieces: &[&str]) -> Vec<String> {
        use serde_json::json;

        let event = |data: serde_json::Value| format!("data: {data}\n\n");
        let each = |of: &dyn Fn(&str) -> serde_json::Value| {
            pieces.iter().map(|piece| event(of(piece))).collect::<Vec<_>>()
        };
        match dialect {
            "openai-chat" => each(&|text| {
                let likely =
                    json!({"content": [{"token": text, "logprob": -1, "top_logprobs": [{"token": text}]}]});
                json!({"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "logprobs": likely}]})
            }),
            "openai-chat-parts" => each(&|text| {
                let thinking = json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]});
                json!({"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": text}]}, "x": [thinking]}]})
            }),
            "openai-completions" => each(
                &|text| json!({"choices": [{"index": 0, "text": text, "logprobs": {"tokens": [text]}, "finish_reason": null}]}),
            ),
            "anthropic-messages" => {
                let start = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
                let mut events = vec![event(start)];
                events.extend(each(&|text| {
                    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
                }));
                events
            }
            "openai-responses" => {
                let mut events = vec![event(json!({"type": "response.created", "response": {"id": "r"}}))];
                let item = json!({"type": "message", "content": []});
                events.push(event(
                    json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
                ));
                events.extend(each(&|text| {
                    json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text,
                        "logprobs": [{"token": text}]})
                }));
                events
            }
            "gemini" => each(&|text| {
                json!({"candidates": [{"content": {"parts": [{"text": text, "thoughtSignature": "x"}]},
                    "logprobsResult": {"chosenCandidates": [{"token": text}]}}]})
            }),
            other => panic!("{other}"),
        }
    }

    proptest::proptest! {
        #[test]
        fn a_secret_is_masked_however_a_stream_cuts_it(
            cuts in proptest::collection::vec(0_usize..60, 0..6),
            chunk in 1_usize..300,
            is_array in proptest::bool::ANY,
        ) {
            let (key, end) = ("0123456789abcdefABCD", "ghp_abcdefghijklmnopqrstuvwxyz");
            let text = format!("Take sk-{key} and {end}");
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            for dialect in
                ["openai-chat", "openai-chat-parts", "openai-completions", "anthropic-messages", "openai-responses", "gemini"]
            {
                let mut stream = streamed(dialect, &pieces).concat();
                let is_array = is_array && dialect == "gemini";
                if is_array {
                    stream = format!("[{}]", stream.replace("data: ", "").trim().replace("\n\n", ",\r\n"));
                }
                let mut answered =
                    Answered { is_stream: !is_array, bytes: Vec::new(), pieces: Vec::new(), is_cut: false };
                for (chunk, at) in stream.as_bytes().chunks(chunk).zip(1..) {
                    answered.push(Duration::from_millis(at), chunk);
                }
                let content = Content::new("{}".into(), Some(answered));

                let said = Said::new(&content, Some(dialect.trim_end_matches("-parts")), &ContentRules::default());

                let answer = said.answer.unwrap();
                let parsed: serde_json::Value = serde_json::from_str(&answer).unwrap();
                let said_so = texts(&parsed).concat();
                proptest::prop_assert!(said_so.contains("Take sk-[masked] and ghp_[masked]"), "{answer}");
                proptest::prop_assert!(!said_so.contains(key) && !said_so.contains(&end[4..]), "{answer}");
                proptest::prop_assert!(!answer.contains("\"token") && !said.is_cut, "{answer}");
            }
        }
    }

    /// What is said in a whole answer, in order.
    fn texts(value: &serde_json::Value) -> Vec<&str> {
        match value {
            serde_json::Value::Array(values) => values.iter().flat_map(texts).collect(),
            serde_json::Value::Object(members) => {
                let mut said = Vec::new();
                for (name, value) in members {
                    match value.as_str().filter(|_| name == "text" || name == "content") {
                        Some(text) => said.push(text),
                        None => said.extend(texts(value)),
                    }
                }
                said
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        let rules = ContentRules::default().most(10);

        let said = Said::new(&content("größe größe", &[]), None, &rules);

        assert_eq!((&*said.request, said.is_cut), ("größe gr", true));
    }

    #[test]
    fn of_many_pieces_some_are_kept_and_the_last_one() {
        let times: Vec<_> = (0..1_000).map(|number| (Duration::from_millis(number), number)).collect();

        let few = few(&times);

        assert!(few.len() <= MOST_PIECES + 1);
        assert_eq!((few[0], few[few.len() - 1]), ((0, 0), (999, 999)));
    }
}
