//! Which model a request asks for.

use http::request::Parts;
use serde_json::value::RawValue;

use super::json;
use crate::{
    Error, Kind, choose,
    payload::{Head, ModelForm},
};

/// A head with the model that is named, or with the first of the `models` that are to be asked one after the other,
/// where none is: of those that a header names, which goes before the body, or else of its own.
pub(crate) fn head(
    parts: &Parts,
    body: &str,
    model: Option<&RawValue>,
    models: Option<&RawValue>,
) -> Result<Head, Error> {
    if let Some(model) = model {
        let at = json::span(body, model.get());
        return Ok(Head { model: json::model(model)?, model_at: Some(at), ..Head::default() });
    }
    let models = models.and_then(|models| serde_json::from_str::<Vec<&RawValue>>(models.get()).ok());
    let of_body = models.and_then(|models| models.first().copied());
    let first = match (choose::first_model(&parts.headers), of_body) {
        (Some(name), _) => name,
        (None, Some(first)) => json::model(first)?,
        (None, None) => {
            return Err(Error::new(Kind::InvalidRequest, "model: missing field `model`").with_param("model"));
        }
    };
    let beginning = memchr::memchr(b'{', body.as_bytes()).map_or(0, |at| at + 1);
    Ok(Head {
        model: first,
        model_at: Some(beginning..beginning),
        model_form: ModelForm::Member,
        ..Head::default()
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;
    use crate::{
        Dialect, Exchange, Payload,
        dialect::{
            ANTHROPIC, OPENAI_CHAT, OPENAI_COMPLETIONS, OPENAI_EMBEDDINGS, OPENAI_RERANK, OPENAI_RESPONSES,
        },
        payload::ModelName,
    };

    const DIALECTS: [&dyn Dialect; 3] = [&OPENAI_CHAT, &OPENAI_RESPONSES, &ANTHROPIC];

    fn peek(dialect: &'static dyn Dialect, body: &str) -> Result<Head, Error> {
        let (parts, ()) = Request::new(()).into_parts();
        dialect.peek(&parts, body)
    }

    #[test]
    fn without_a_model_it_is_the_first_of_several() {
        for dialect in DIALECTS {
            let body = r#" {"models":["a/b","c"],"max_tokens":5}"#;

            let head = peek(dialect, body).unwrap();

            assert_eq!((&*head.model, head.has_wishes), ("a/b", true), "{}", dialect.id());
            let payload = Payload::new(dialect, head, Bytes::from(body), Exchange::default());
            let named = payload.with_model(&ModelName::new("d")).to_bytes();
            assert_eq!(named, r#" {"model":"d","models":["a/b","c"],"max_tokens":5}"#);
        }
    }

    #[test]
    fn a_header_that_names_several_stands_for_the_one_that_is_missing() {
        let dialects: [&'static dyn Dialect; 6] = [
            &OPENAI_CHAT,
            &OPENAI_RESPONSES,
            &ANTHROPIC,
            &OPENAI_COMPLETIONS,
            &OPENAI_EMBEDDINGS,
            &OPENAI_RERANK,
        ];
        let of = |header: &str, body: &str, dialect: &'static dyn Dialect| {
            let req = Request::post("/v1/rerank").header("x-bartizan-choose", header).body(()).unwrap();
            dialect.peek(&req.into_parts().0, body)
        };
        for dialect in dialects {
            let body = r#"{"input":"x","query":"x","documents":["x"]}"#;

            let head = of(r#"{"models":["a/b","c"]}"#, body, dialect).unwrap();

            assert_eq!(&*head.model, "a/b", "{}", dialect.id());
            let payload = Payload::new(dialect, head, Bytes::from(body), Exchange::default());
            let named = payload.with_model(&ModelName::new("d")).to_bytes();
            assert_eq!(named, body.replacen('{', r#"{"model":"d","#, 1));
            let named = of(r#"{"models":["a"]}"#, &body.replacen('{', r#"{"model":"b","#, 1), dialect);
            assert_eq!(&*named.unwrap().model, "b");
            for wrong in ["{}", r#"{"models":[]}"#, r#"{"models":[""]}"#, "nothing"] {
                assert_eq!(of(wrong, body, dialect).unwrap_err().param(), Some("model"), "{wrong}");
            }
        }
        let both = of(r#"{"models":["a"]}"#, r#"{"models":["b"]}"#, &OPENAI_CHAT).unwrap();
        assert_eq!(&*both.model, "a");
    }

    #[test]
    fn one_that_is_named_goes_before_others_and_without_any_that_is_said() {
        for dialect in DIALECTS {
            let named = peek(dialect, r#"{"models":["a"],"model":"b"}"#).unwrap();
            assert_eq!(&*named.model, "b");
            for body in
                ["{}", r#"{"models":[]}"#, r#"{"models":"a"}"#, r#"{"models":[5]}"#, r#"{"models":[""]}"#]
            {
                assert_eq!(peek(dialect, body).unwrap_err().param(), Some("model"), "{body}");
            }
        }
    }
}
