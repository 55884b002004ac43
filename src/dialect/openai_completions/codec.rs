//! [`OpenAiCompletionsCodec`]: completions of clients, as chats.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    USUAL_OUTPUT,
    stream_out::{Choice, Completion, Encoder},
};
use crate::{
    Error, Kind, Payload, Target,
    dialect::{
        ChatCodec, Decode, Encode, Encoded,
        canonical::{Answer, Content, Request, Role, Turn},
        extras::Extras,
        json, json_writer,
        object::object,
        openai_chat::{answer::now, finish},
        text::Str,
        text_or::TextOr,
    },
};

/// Translates completions of clients; no provider is asked for them in place of a chat.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenAiCompletionsCodec;

object! {
    /// The body of a request.
    Wire {
        "model" model: &'a RawValue,
        "prompt" prompt: TextOr<'a, Vec<&'a RawValue>>,
        "max_tokens" max_tokens: u64,
        "temperature" temperature: f64,
        "top_p" top_p: f64,
        "n" n: u32,
        "stream" stream: bool,
        "stream_options" stream_options: &'a RawValue,
        "stop" stop: TextOr<'a, Vec<Str<'a>>>,
        "presence_penalty" presence_penalty: f64,
        "frequency_penalty" frequency_penalty: f64,
        "seed" seed: i64,
        "user" user: Str<'a>,
        "suffix" suffix: Str<'a>,
        "echo" echo: &'a RawValue,
        "logprobs" logprobs: u64,
        "best_of" best_of: &'a RawValue,
        ..unknown
    }
}

impl ChatCodec for OpenAiCompletionsCodec {
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Error> {
        let text =
            str::from_utf8(body).map_err(|_| Error::new(Kind::InvalidRequest, "the body is not UTF-8"))?;
        let wire: Wire<'_> = json::read(text)?;
        if wire.suffix.is_some_and(|suffix| !suffix.is_empty()) {
            return Err(invalid("suffix", "this model can't write what stands before a text"));
        }
        if wire.logprobs.is_some_and(|count| count > 0) {
            return Err(invalid("logprobs", "can't be had of this model for a completion"));
        }
        let mut extras = Extras::default();
        let says_something = |_: &str, value: &RawValue| !matches!(value.get(), "null" | "false" | "{}");
        extras.all("", wire.unknown, says_something);
        let choices = wire.n.unwrap_or(1);
        let unusual = [
            ("echo", wire.echo.filter(|echo| echo.get() == "true")),
            ("best_of", wire.best_of.filter(|best| best.get().parse() != Ok(choices))),
        ];
        for (field, value) in unusual {
            if let Some(value) = value {
                extras.push(field.into(), Cow::Borrowed(value));
            }
        }
        let prompt = prompt(wire.prompt)?;
        Ok(Request {
            turns: vec![Turn { role: Role::User, parts: vec![Content::Text(prompt.into()).into()] }],
            max_output: Some(wire.max_tokens.unwrap_or(USUAL_OUTPUT)),
            temperature: wire.temperature,
            top_p: wire.top_p,
            presence_penalty: wire.presence_penalty,
            frequency_penalty: wire.frequency_penalty,
            seed: wire.seed,
            stop: match wire.stop {
                Some(TextOr::Text(stop)) => vec![stop.into()],
                Some(TextOr::Other(stops)) => stops.into_iter().map(Into::into).collect(),
                Some(TextOr::Null) | None => Vec::new(),
            },
            choices: wire.n,
            user: wire.user.map(Into::into),
            stream: wire.stream.unwrap_or(false),
            extras: extras.into_vec(),
            ..Request::default()
        })
    }

    fn encode_request(&self, _: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
        Err(Error::new(Kind::InvalidRequest, format!("{to} can't be asked for a chat")).with_param("model"))
    }

    fn decode_answer<'a>(&self, _: &'a [u8]) -> Result<Answer<'a>, Error> {
        Err(never_asked())
    }

    fn encode_answer(&self, answer: &Answer<'_>, _: &Payload) -> Bytes {
        let texts: Vec<String> = answer
            .choices
            .iter()
            .map(|choice| {
                let text = |content: &Content<'_>| match content {
                    Content::Text(text) | Content::Refusal(text) => text.clone().into_owned(),
                    _ => String::new(),
                };
                choice.parts.iter().map(|part| text(&part.content)).collect()
            })
            .collect();
        let choices = answer.choices.iter().zip(&texts).map(|(choice, text)| Choice {
            text,
            index: choice.index,
            logprobs: None,
            finish_reason: Some(finish::word(&choice.finish)),
        });
        let completion = Completion {
            id: &answer.id,
            object: "text_completion",
            created: answer.created.unwrap_or_else(now),
            model: &answer.model,
            choices: choices.collect(),
            usage: Some((&answer.tokens).into()),
        };
        json_writer::to_vec(&completion).into()
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(NeverAsked)
    }

    fn encoder(&self, asked: &Payload) -> Box<dyn Encode> {
        Box::new(Encoder::new(asked.head().include_usage))
    }
}

fn invalid(field: &str, what: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{field}: {what}")).with_param(field)
}

/// One text; a chat can't answer several at once, and the tokens of one model mean nothing to another.
fn prompt<'a>(prompt: Option<TextOr<'a, Vec<&'a RawValue>>>) -> Result<Str<'a>, Error> {
    match prompt {
        Some(TextOr::Text(text)) => Ok(text),
        Some(TextOr::Other(prompts)) => match prompts[..] {
            [prompt] if prompt.get().starts_with('"') => {
                json::parse(prompt.get().as_bytes()).map_err(|_| invalid("prompt", "expected a text"))
            }
            [first, ..] if first.get().starts_with('"') => {
                Err(invalid("prompt", "this model takes one text at a time"))
            }
            _ => Err(invalid("prompt", "tokens can't be translated for this model, expected a text")),
        },
        None | Some(TextOr::Null) => Err(invalid("prompt", "is missing")),
    }
}

fn never_asked() -> Error {
    Error::new(Kind::Internal, "no provider is asked for completions in place of a chat")
}

struct NeverAsked;

impl Decode for NeverAsked {
    fn event(&mut self, _: &crate::body::sse::Event, _: crate::dialect::Emit<'_>) -> Result<(), Error> {
        Err(never_asked())
    }

    fn finish(&mut self, _: crate::dialect::Emit<'_>) -> Result<(), Error> {
        Err(never_asked())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::{
        Tokens,
        dialect::{
            canonical::{self, Event, Finish},
            testing::payload,
        },
        payload::Head,
    };

    fn decode(body: &str) -> Result<Request<'_>, Error> {
        OpenAiCompletionsCodec.decode_request(body.as_bytes())
    }

    #[test]
    fn the_prompt_is_what_the_user_says() {
        let request = decode(
            r#"{"model":"m","prompt":["Once \"upon\""],"stop":"X","n":2,"best_of":3,"echo":true,"logit_bias":{"1":2},"suffix":null,"logprobs":0}"#,
        )
        .unwrap();

        assert_eq!((request.turns.len(), request.turns[0].role), (1, Role::User));
        assert!(matches!(&request.turns[0].parts[0].content, Content::Text(text) if text == "Once \"upon\""));
        assert_eq!((request.max_output, request.choices), (Some(16), Some(2)));
        assert_eq!(request.stop, ["X"]);
        let extras: Vec<_> = request.extras.iter().map(|extra| &*extra.field).collect();
        assert_eq!(extras, ["logit_bias", "echo", "best_of"]);
    }

    #[test]
    fn what_a_chat_can_not_do_is_refused_by_name() {
        for (body, param) in [
            (r#"{"model":"m","prompt":["a","b"]}"#, "prompt"),
            (r#"{"model":"m","prompt":[1,2]}"#, "prompt"),
            (r#"{"model":"m","prompt":[[1]]}"#, "prompt"),
            (r#"{"model":"m"}"#, "prompt"),
            (r#"{"model":"m","prompt":"a","suffix":"b"}"#, "suffix"),
            (r#"{"model":"m","prompt":"a","logprobs":2}"#, "logprobs"),
        ] {
            let error = decode(body).unwrap_err();
            assert_eq!((error.kind(), error.param()), (Kind::InvalidRequest, Some(param)), "{body}");
        }
    }

    #[test]
    fn an_answer_is_a_text() {
        let choice = canonical::Choice {
            index: 0,
            parts: vec![Content::Text("a".into()).into(), Content::Text("b".into()).into()],
            finish: Finish::Length,
            logprobs: None,
        };
        let answer = Answer {
            id: "i".into(),
            model: "m".into(),
            created: Some(1),
            choices: vec![choice],
            tokens: Tokens { input: 1, output: 2, ..Tokens::default() },
            ..Answer::default()
        };

        let written = OpenAiCompletionsCodec.encode_answer(&answer, &payload(Head::default()));

        let begin = r#"{"id":"i","object":"text_completion","created":1,"model":"m","choices":[{"text":"ab","index":0,"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"#;
        assert!(written.starts_with(begin.as_bytes()), "{written:?}");
    }

    #[test]
    fn a_stream_is_written_piece_by_piece() {
        let mut encoder =
            OpenAiCompletionsCodec.encoder(&payload(Head { include_usage: true, ..Head::default() }));
        let mut out = BytesMut::new();

        for event in [
            Event::Start { id: "i".into(), model: "m".into(), created: Some(1) },
            Event::Reasoning { choice: 0, text: "hm".into() },
            Event::Text { choice: 0, text: "a".into() },
            Event::Finish { choice: 0, finish: Finish::Stop },
            Event::End,
        ] {
            encoder.event(event, &mut out);
        }

        let written = std::str::from_utf8(&out).unwrap();
        let data: Vec<_> = written.split_terminator("\n\n").collect();
        let head = r#"data: {"id":"i","object":"text_completion","created":1,"model":"m","choices":"#;
        assert_eq!(
            data[0],
            format!(r#"{head}[{{"text":"a","index":0,"logprobs":null,"finish_reason":null}}]}}"#)
        );
        assert!(data[1].contains(r#""finish_reason":"stop""#));
        assert!(data[2].contains(r#""choices":[],"usage":{"#));
        assert_eq!(data[3], "data: [DONE]");
        assert_eq!(data.len(), 4);
    }
}
