//! Embeddings at Amazon Bedrock: `InvokeModel`, which only providers speak. What a model takes is its
//! maker's: Amazon's Titan takes one text, Cohere's models several.
//!
//! Source: Amazon Bedrock's API reference, `InvokeModel`, and the parameters of the models.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    BEDROCK, Codec, EmbeddingsCodec, Encoded, Sibling,
    embeddings::{self, Answer, Form, Request, Task},
    json,
    lost::Lost,
    sibling::never_asked,
};
use crate::{Error, Kind, Target, percent};

/// `POST /model/{model}/invoke` with texts.
pub static BEDROCK_EMBEDDINGS: Sibling = Sibling {
    id: "bedrock-embeddings",
    chat: &BEDROCK,
    speaks: |_| false,
    path: |payload| format!("/model/{}/invoke", percent::segment(payload.model()).replace(':', "%3A")).into(),
    peek: never_asked,
    repeat_model: |payload| payload,
    read_usage: |json, tokens| {
        let counted = serde_json::from_slice::<Counted>(json).ok().and_then(|counted| counted.tokens);
        tokens.input = counted.unwrap_or(tokens.input);
        counted.is_some()
    },
    codec: Codec::Embeddings(&BedrockEmbeddingsCodec),
};

/// The most texts that Cohere's models take.
const MAX_INPUTS: usize = 96;

/// Translates the embeddings of the models at Bedrock.
#[derive(Clone, Copy, Debug)]
struct BedrockEmbeddingsCodec;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Titan<'a> {
    input_text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
}

#[derive(Serialize)]
struct Cohere<'a> {
    texts: &'a [Cow<'a, str>],
    input_type: &'static str,
    embedding_types: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u64>,
}

#[derive(Deserialize)]
struct WireAnswer {
    embedding: Option<Vec<f32>>,
    embeddings: Option<Vectors>,
    #[serde(rename = "inputTextTokenCount")]
    tokens: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vectors {
    Plain(Vec<Vec<f32>>),
    ByType { float: Vec<Vec<f32>> },
}

#[derive(Deserialize)]
struct Counted {
    #[serde(rename = "inputTextTokenCount")]
    tokens: Option<u64>,
}

impl EmbeddingsCodec for BedrockEmbeddingsCodec {
    fn decode_request<'a>(&self, _: &'a [u8]) -> Result<Request<'a>, Error> {
        Err(Error::new(Kind::NotFound, "there is no such endpoint"))
    }

    fn encode_request(&self, request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
        let mut lost = Lost::default();
        lost.push_if(request.user.is_some(), "user");
        lost.push_if(request.title.is_some(), "title");
        request.extras.iter().for_each(|extra| lost.push(&extra.field));
        let is_cohere = to.model().contains("cohere.");
        embeddings::at_most(request, if is_cohere { MAX_INPUTS } else { 1 }, to)?;
        let body = if is_cohere {
            json::written(&Cohere {
                texts: &request.inputs,
                input_type: input_type(request.task, &mut lost),
                embedding_types: ["float"],
                output_dimension: request.dimensions,
            })?
        } else {
            lost.push_if(request.task.is_some(), "taskType");
            let input_text = request.inputs.first().map_or("", |text| &**text);
            json::written(&Titan { input_text, dimensions: request.dimensions })?
        };
        Ok(Encoded { body, lost: lost.into_names(), ..Encoded::default() })
    }

    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<Answer<'a>, Error> {
        let answer: WireAnswer = json::parse(body).map_err(embeddings::unreadable)?;
        let vectors = match (answer.embeddings, answer.embedding) {
            (Some(Vectors::Plain(vectors) | Vectors::ByType { float: vectors }), _) => vectors,
            (None, Some(vector)) => vec![vector],
            (None, None) => return Err(embeddings::unreadable("there are neither one nor several")),
        };
        Ok(Answer { model: "".into(), vectors, tokens: answer.tokens })
    }

    fn encode_answer(&self, _: &Answer<'_>, _: Form) -> Bytes {
        Bytes::new()
    }
}

/// What Cohere's models insist on knowing.
fn input_type(task: Option<Task>, lost: &mut Lost) -> &'static str {
    match task {
        None | Some(Task::Document) => "search_document",
        Some(Task::Query) => "search_query",
        Some(Task::Classification) => "classification",
        Some(Task::Clustering) => "clustering",
        Some(Task::QuestionAnswering | Task::FactVerification | Task::CodeQuery) => {
            lost.push("taskType");
            "search_query"
        }
        Some(Task::Similarity) => {
            lost.push("taskType");
            "search_document"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(request: &Request<'_>, model: &str) -> Result<(String, Vec<Box<str>>), Error> {
        let encoded = BedrockEmbeddingsCodec.encode_request(request, &Target::new("p", model))?;
        Ok((String::from_utf8(encoded.body).unwrap(), encoded.lost))
    }

    #[test]
    fn each_maker_has_a_form_of_its_own() {
        let one = Request { inputs: vec!["a".into()], dimensions: Some(256), ..Request::default() };
        let two = Request {
            inputs: vec!["a".into(), "b".into()],
            task: Some(Task::Similarity),
            ..Request::default()
        };

        assert_eq!(
            encode(&one, "amazon.titan-embed-text-v2:0").unwrap().0,
            r#"{"inputText":"a","dimensions":256}"#
        );
        assert_eq!(
            encode(&two, "cohere.embed-multilingual-v3").unwrap(),
            (
                r#"{"texts":["a","b"],"input_type":"search_document","embedding_types":["float"]}"#
                    .to_owned(),
                vec!["taskType".into()]
            )
        );
        assert_eq!(encode(&two, "amazon.titan-embed-text-v2:0").unwrap_err().param(), Some("input"));
    }

    #[test]
    fn all_forms_of_an_answer_are_read() {
        let read = |body: &'static str| BedrockEmbeddingsCodec.decode_answer(body.as_bytes());

        let titan = read(r#"{"embedding":[0.5],"inputTextTokenCount":3}"#).unwrap();
        assert_eq!((titan.vectors, titan.tokens), (vec![vec![0.5]], Some(3)));
        assert_eq!(read(r#"{"embeddings":[[0.5],[1]],"id":"x"}"#).unwrap().vectors, [[0.5], [1.0]]);
        assert_eq!(read(r#"{"embeddings":{"float":[[0.5]]}}"#).unwrap().vectors, [[0.5]]);
        assert!(read("{}").is_err());
    }
}
