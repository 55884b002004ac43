//! Which model a request asks for.

use serde_json::value::RawValue;

use super::json;
use crate::{
    Error, Kind,
    payload::{Head, ModelForm},
};

/// A head with the model that is named, or with the first of the `models` that are to be asked one after the other,
/// where none is.
pub(crate) fn head(body: &str, model: Option<&RawValue>, models: Option<&RawValue>) -> Result<Head, Error> {
    if let Some(model) = model {
        let at = json::span(body, model.get());
        return Ok(Head { model: json::model(model)?, model_at: Some(at), ..Head::default() });
    }
    let models = models.and_then(|models| serde_json::from_str::<Vec<&RawValue>>(models.get()).ok());
    let Some(first) = models.and_then(|models| models.first().copied()) else {
        return Err(Error::new(Kind::InvalidRequest, "model: missing field `model`").with_param("model"));
    };
    let beginning = memchr::memchr(b'{', body.as_bytes()).map_or(0, |at| at + 1);
    Ok(Head {
        model: json::model(first)?,
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
        dialect::{ANTHROPIC, OPENAI_CHAT, OPENAI_RESPONSES},
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
