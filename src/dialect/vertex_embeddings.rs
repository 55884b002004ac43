//! Embeddings of Google's models at Vertex: `:predict`, which only providers speak.
//!
//! Source: Vertex AI's API reference, text embeddings.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Codec, EmbeddingsCodec, Encoded, GEMINI, Sibling,
    embeddings::{self, Answer, Form, Request},
    gemini::embed::task_type,
    json,
    lost::Lost,
    sibling::never_asked,
};
use crate::{Error, Kind, Target, percent};

/// `:predict` of a model of Google's, below `…/locations/{location}/publishers/google`.
pub static VERTEX_EMBEDDINGS: Sibling = Sibling {
    id: "vertex-embeddings",
    chat: &GEMINI,
    speaks: |_| false,
    path: |payload| format!("/models/{}:predict", percent::segment(payload.model())).into(),
    peek: never_asked,
    repeat_model: |payload| payload,
    read_usage: |json, tokens| {
        let counted = serde_json::from_slice::<Predictions<Counted>>(json).ok().and_then(|all| all.tokens());
        tokens.input = counted.unwrap_or(tokens.input);
        counted.is_some()
    },
    codec: Codec::Embeddings(&VertexEmbeddingsCodec),
};

/// Translates `:predict`.
#[derive(Clone, Copy, Debug)]
struct VertexEmbeddingsCodec;

#[derive(Serialize)]
struct Body<'a> {
    instances: Vec<Instance<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
}

#[derive(Serialize)]
struct Instance<'a> {
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    output_dimensionality: u64,
}

#[derive(Deserialize)]
struct Predictions<T> {
    predictions: Vec<Prediction<T>>,
}

#[derive(Deserialize)]
struct Prediction<T> {
    embeddings: T,
}

#[derive(Deserialize)]
struct Vector {
    values: Vec<f32>,
    statistics: Option<Statistics>,
}

/// The same without the numbers.
#[derive(Deserialize)]
struct Counted {
    statistics: Option<Statistics>,
}

#[derive(Clone, Copy, Deserialize)]
struct Statistics {
    token_count: Option<f64>,
}

impl Predictions<Counted> {
    fn tokens(&self) -> Option<u64> {
        sum(self.predictions.iter().map(|prediction| prediction.embeddings.statistics))
    }
}

/// All of them, if each is known.
fn sum(statistics: impl Iterator<Item = Option<Statistics>>) -> Option<u64> {
    statistics.map(|statistics| Some(statistics?.token_count? as u64)).sum()
}

/// How many texts a model takes at once.
fn most(model: &str) -> usize {
    if model.contains("gemini-embedding") { 1 } else { 250 }
}

impl EmbeddingsCodec for VertexEmbeddingsCodec {
    fn decode_request<'a>(&self, _: &'a [u8]) -> Result<Request<'a>, Error> {
        Err(Error::new(Kind::NotFound, "there is no such endpoint"))
    }

    fn encode_request(&self, request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
        embeddings::at_most(request, most(to.model()), to)?;
        let mut lost = Lost::default();
        lost.push_if(request.user.is_some(), "user");
        request.extras.iter().for_each(|extra| lost.push(&extra.field));
        let instance = |content| Instance {
            content,
            task_type: request.task.map(task_type),
            title: request.title.as_deref(),
        };
        let body = json::written(&Body {
            instances: request.inputs.iter().map(|text| instance(&**text)).collect(),
            parameters: request.dimensions.map(|output_dimensionality| Parameters { output_dimensionality }),
        })?;
        Ok(Encoded { body, lost: lost.into_names(), ..Encoded::default() })
    }

    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<Answer<'a>, Error> {
        let Predictions { predictions } =
            json::parse::<Predictions<Vector>>(body).map_err(embeddings::unreadable)?;
        let tokens = sum(predictions.iter().map(|prediction| prediction.embeddings.statistics));
        let vectors = predictions.into_iter().map(|prediction| prediction.embeddings.values).collect();
        Ok(Answer { model: "".into(), vectors, tokens })
    }

    fn encode_answer(&self, _: &Answer<'_>, _: Form) -> Bytes {
        Bytes::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Tokens,
        dialect::{Dialect, embeddings::Task},
    };

    #[test]
    fn a_text_is_an_instance() {
        let request = Request {
            inputs: vec!["a".into(), "b".into()],
            task: Some(Task::Document),
            title: Some("t".into()),
            dimensions: Some(8),
            ..Request::default()
        };
        let encode = |model| VertexEmbeddingsCodec.encode_request(&request, &Target::new("p", model));

        assert_eq!(
            str::from_utf8(&encode("text-embedding-005").unwrap().body).unwrap(),
            r#"{"instances":[{"content":"a","task_type":"RETRIEVAL_DOCUMENT","title":"t"},{"content":"b","task_type":"RETRIEVAL_DOCUMENT","title":"t"}],"parameters":{"outputDimensionality":8}}"#
        );
        assert_eq!(encode("gemini-embedding-001").unwrap_err().param(), Some("input"));
    }

    #[test]
    fn the_tokens_of_all_texts_are_added_up() {
        let body = br#"{"predictions":[{"embeddings":{"values":[0.5],"statistics":{"token_count":2,"truncated":false}}},{"embeddings":{"values":[1],"statistics":{"token_count":3.0}}}]}"#;
        let mut tokens = Tokens::default();

        let answer = VertexEmbeddingsCodec.decode_answer(body).unwrap();

        assert_eq!((answer.vectors, answer.tokens), (vec![vec![0.5], vec![1.0]], Some(5)));
        assert!(VERTEX_EMBEDDINGS.read_usage(body, &mut tokens));
        assert_eq!(tokens.input, 5);
        assert!(
            !VERTEX_EMBEDDINGS.read_usage(br#"{"predictions":[{"embeddings":{"values":[1]}}]}"#, &mut tokens)
        );
    }
}
