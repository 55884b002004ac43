//! [`OpenAiEmbeddingsCodec`]: embeddings to and from the canonical form.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Error, Kind, Target,
    dialect::{
        EmbeddingsCodec, Encoded,
        embeddings::{self, Answer, Form, Request, Task},
        extras::Extras,
        json, json_writer,
        lost::Lost,
        object::object,
        text::Str,
    },
};

/// The most texts that OpenAI takes at once.
const MAX_INPUTS: usize = 2_048;

/// Translates embeddings.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenAiEmbeddingsCodec;

object! {
    /// The body of a request.
    Wire {
        "model" model: &'a RawValue,
        "input" input: &'a RawValue,
        "encoding_format" encoding_format: Str<'a>,
        "dimensions" dimensions: u64,
        "user" user: Str<'a>,
        // Not OpenAI's own, but what clients add for models that want it.
        "input_type" input_type: Str<'a>,
        ..unknown
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [Cow<'a, str>],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

impl EmbeddingsCodec for OpenAiEmbeddingsCodec {
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Error> {
        let text =
            str::from_utf8(body).map_err(|_| Error::new(Kind::InvalidRequest, "the body is not UTF-8"))?;
        let wire: Wire<'_> = json::read(text)?;
        let mut extras = Extras::default();
        extras.all("", wire.unknown, |_, value| value.get() != "null");
        let form = match wire.encoding_format.as_deref() {
            None | Some("float") => Form::Float,
            Some("base64") => Form::Base64,
            Some(_) => return Err(invalid("encoding_format", "expected `float` or `base64`")),
        };
        let task = wire.input_type.as_deref().and_then(task);
        if task.is_none() {
            extras.text("input_type", wire.input_type);
        }
        Ok(Request {
            inputs: inputs(wire.input.ok_or_else(|| invalid("input", "is missing"))?)?,
            task,
            dimensions: wire.dimensions,
            form,
            user: wire.user.map(Into::into),
            extras: extras.into_vec(),
            ..Request::default()
        })
    }

    fn encode_request(&self, request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
        let mut lost = Lost::default();
        embeddings::at_most(request, MAX_INPUTS, to)?;
        lost.push_if(request.task.is_some(), "taskType");
        lost.push_if(request.title.is_some(), "title");
        request.extras.iter().for_each(|extra| lost.push(&extra.field));
        let body = json::written(&Body {
            model: to.model(),
            input: &request.inputs,
            encoding_format: "float",
            dimensions: request.dimensions,
            user: request.user.as_deref(),
        })?;
        Ok(Encoded { body, lost: lost.into_names(), ..Encoded::default() })
    }

    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<Answer<'a>, Error> {
        let mut list: List<'_> = json::parse(body).map_err(embeddings::unreadable)?;
        list.data.sort_by_key(|vector| vector.index);
        let vectors = list.data.into_iter().map(|vector| vector.embedding.numbers());
        Ok(Answer {
            model: list.model.unwrap_or_default().into(),
            vectors: vectors.collect::<Result<_, _>>()?,
            tokens: list.usage.and_then(|usage| usage.prompt_tokens.or(usage.total_tokens)),
        })
    }

    fn encode_answer(&self, answer: &Answer<'_>, form: Form) -> Bytes {
        let tokens = answer.tokens.unwrap_or(0);
        let vectors = answer.vectors.iter().enumerate();
        let list = Written {
            object: "list",
            data: vectors.map(|(index, vector)| Vector::new(index, vector, form)).collect(),
            model: &answer.model,
            usage: Usage { prompt_tokens: Some(tokens), total_tokens: Some(tokens) },
        };
        json_writer::to_vec(&list).into()
    }
}

fn invalid(field: &str, what: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{field}: {what}")).with_param(field)
}

/// One text or several; what was made of texts by one model's tokenizer means nothing to another model.
fn inputs(raw: &RawValue) -> Result<Vec<Cow<'_, str>>, Error> {
    if raw.get().starts_with('"') {
        let text: Str<'_> =
            json::parse(raw.get().as_bytes()).map_err(|_| invalid("input", "expected a text or several"))?;
        return Ok(vec![text.into()]);
    }
    let raws: Vec<&RawValue> =
        json::parse(raw.get().as_bytes()).map_err(|_| invalid("input", "expected a text or several"))?;
    if raws.is_empty() {
        return Err(invalid("input", "expected at least one text"));
    }
    raws.into_iter().enumerate().map(|(index, raw)| input(index, raw)).collect()
}

fn input(index: usize, raw: &RawValue) -> Result<Cow<'_, str>, Error> {
    if raw.get().starts_with(|c: char| c == '[' || c == '-' || c.is_ascii_digit()) {
        return Err(invalid("input", "tokens can't be translated for this model, expected texts"));
    }
    let text: Result<Str<'_>, _> = json::parse(raw.get().as_bytes());
    text.map(Into::into).map_err(|_| invalid(&format!("input[{index}]"), "expected a text"))
}

fn task(input_type: &str) -> Option<Task> {
    Some(match input_type {
        "query" | "search_query" => Task::Query,
        "document" | "passage" | "search_document" => Task::Document,
        "classification" => Task::Classification,
        "clustering" => Task::Clustering,
        _ => return None,
    })
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: Vec<ReadVector<'a>>,
    #[serde(borrow)]
    model: Option<Str<'a>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct ReadVector<'a> {
    #[serde(default)]
    index: usize,
    #[serde(borrow)]
    embedding: Numbers<'a>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers<'a> {
    Float(Vec<f32>),
    Base64(#[serde(borrow)] Cow<'a, str>),
}

impl Numbers<'_> {
    fn numbers(self) -> Result<Vec<f32>, Error> {
        match self {
            Self::Float(numbers) => Ok(numbers),
            Self::Base64(text) => {
                let bytes = BASE64_STANDARD.decode(&*text).map_err(embeddings::unreadable)?;
                let (numbers, _) = bytes.as_chunks::<4>();
                Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
            }
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    object: &'static str,
    data: Vec<Vector<'a>>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Vector<'a> {
    object: &'static str,
    index: usize,
    embedding: Embedding<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Embedding<'a> {
    Float(&'a [f32]),
    Base64(String),
}

impl<'a> Vector<'a> {
    fn new(index: usize, numbers: &'a [f32], form: Form) -> Self {
        let embedding = match form {
            Form::Float => Embedding::Float(numbers),
            Form::Base64 => {
                let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                Embedding::Base64(BASE64_STANDARD.encode(bytes))
            }
        };
        Self { object: "embedding", index, embedding }
    }
}

#[derive(Deserialize, Serialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &str) -> Result<Request<'_>, Error> {
        OpenAiEmbeddingsCodec.decode_request(body.as_bytes())
    }

    #[test]
    fn one_text_or_several_are_read() {
        let one = decode(r#"{"model":"m","input":"a \"b\""}"#).unwrap();
        let two = decode(r#"{"model":"m","input":["a","b"],"encoding_format":"base64","dimensions":8,"user":"u","input_type":"search_query","x":1}"#)
            .unwrap();

        assert_eq!((&one.inputs[..], one.form), (&["a \"b\"".into()][..], Form::Float));
        assert_eq!(two.inputs, ["a", "b"]);
        assert_eq!((two.form, two.dimensions, two.user.as_deref()), (Form::Base64, Some(8), Some("u")));
        assert_eq!((two.task, &*two.extras[0].field), (Some(Task::Query), "x"));
    }

    #[test]
    fn what_has_no_meaning_elsewhere_is_refused_by_name() {
        for (body, param) in [
            (r#"{"model":"m","input":[1,2]}"#, "input"),
            (r#"{"model":"m","input":[[1],[2]]}"#, "input"),
            (r#"{"model":"m","input":[]}"#, "input"),
            (r#"{"model":"m","input":["a",true]}"#, "input[1]"),
            (r#"{"model":"m"}"#, "input"),
            (r#"{"model":"m","input":"a","encoding_format":"hex"}"#, "encoding_format"),
        ] {
            let error = decode(body).unwrap_err();
            assert_eq!((error.kind(), error.param()), (Kind::InvalidRequest, Some(param)), "{body}");
        }
    }

    #[test]
    fn a_request_is_written_and_its_losses_named() {
        let request = Request {
            inputs: vec!["a".into()],
            task: Some(Task::Query),
            dimensions: Some(8),
            form: Form::Base64,
            ..Request::default()
        };

        let encoded = OpenAiEmbeddingsCodec.encode_request(&request, &Target::new("p", "m")).unwrap();

        assert_eq!(
            str::from_utf8(&encoded.body).unwrap(),
            r#"{"model":"m","input":["a"],"encoding_format":"float","dimensions":8}"#
        );
        assert_eq!(encoded.lost, ["taskType"].map(Box::<str>::from));
    }

    #[test]
    fn numbers_are_the_same_in_both_forms() {
        let answer =
            Answer { model: "m".into(), vectors: vec![vec![0.5, -2.25], vec![1e-7]], tokens: Some(3) };

        let float = OpenAiEmbeddingsCodec.encode_answer(&answer, Form::Float);
        let base64 = OpenAiEmbeddingsCodec.encode_answer(&answer, Form::Base64);

        assert_eq!(
            float,
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-2.25]},{"object":"embedding","index":1,"embedding":[1e-7]}],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}"#
        );
        for written in [float, base64] {
            let read = OpenAiEmbeddingsCodec.decode_answer(&written).unwrap();
            assert_eq!((&read.vectors, read.tokens), (&answer.vectors, Some(3)));
        }
    }

    #[test]
    fn vectors_stand_in_the_order_of_the_texts() {
        let body = r#"{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}]}"#;

        let answer = OpenAiEmbeddingsCodec.decode_answer(body.as_bytes()).unwrap();

        assert_eq!((answer.vectors, answer.tokens), (vec![vec![1.0], vec![2.0]], None));
        assert!(OpenAiEmbeddingsCodec.decode_answer(b"{}").is_err());
    }
}
