//! Requests of Azure's clients, who name the model in the path, as a deployment: the name is written into
//! the body, where everything further in looks for it. Azure doesn't read the one that stands there.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    Dialect, Error, Kind,
    dialect::{exact, json, prefix},
    percent,
};

/// The body of a request to `path`, with the deployment for its model if the path names one.
pub(super) fn named(
    path: &str,
    dialect: &dyn Dialect,
    form: Option<&HeaderValue>,
    body: Bytes,
) -> Result<Bytes, Error> {
    let Some(deployment) = prefix::deployment(path).map(percent::decoded) else { return Ok(body) };
    if deployment.chars().any(char::is_control) {
        return Err(Error::new(Kind::InvalidRequest, "the deployment in the path is not a name"));
    }
    match form {
        Some(content_type) => in_form(dialect, content_type, body, &deployment),
        None => in_json(body, &deployment),
    }
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

fn in_json(body: Bytes, model: &str) -> Result<Bytes, Error> {
    // What isn't text is refused further on.
    let Ok(text) = std::str::from_utf8(&body) else { return Ok(body) };
    let Named { model: said } = exact::read(text)?;
    let model = Value::from(model).to_string();
    Ok(match said {
        Some(said) if said.get() == model => body,
        Some(said) => spliced(&body, json::span(text, said.get()), &model),
        None => {
            // Behind everything else, so that what is wrong is told where the client has written it.
            let end = text.rfind('}').unwrap_or(text.len());
            let comma = if text[..end].trim_ascii_end().ends_with('{') { "" } else { "," };
            spliced(&body, end..end, &format!("{comma}\"model\":{model}"))
        }
    })
}

fn in_form(
    dialect: &dyn Dialect,
    content_type: &HeaderValue,
    body: Bytes,
    model: &str,
) -> Result<Bytes, Error> {
    let head = dialect.peek_form(content_type, &body)?;
    Ok(match head.model_at {
        Some(at) if *head.model != *model => spliced(&body, at, model),
        _ => body,
    })
}

fn spliced(body: &Bytes, at: Range<usize>, with: &str) -> Bytes {
    let mut whole = BytesMut::with_capacity(body.len() + with.len());
    whole.extend_from_slice(&body[..at.start]);
    whole.extend_from_slice(with.as_bytes());
    whole.extend_from_slice(&body[at.end..]);
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{OPENAI_CHAT, OPENAI_TRANSCRIPTIONS};

    fn in_chat(deployment: &str, body: &'static str) -> Result<Bytes, Error> {
        let path = format!("/openai/deployments/{deployment}/chat/completions");
        named(&path, &OPENAI_CHAT, None, body.into())
    }

    #[test]
    fn the_deployment_is_the_model_whatever_the_body_says() {
        let written = r#"{"model":"a/b","messages":[]}"#;

        assert_eq!(in_chat("a/b", written).unwrap(), written);
        assert_eq!(in_chat("a%2Fb", r#"{"model":"dear","messages":[]}"#).unwrap(), written);
        let quoted = in_chat("a%22b", r#"{"messages":[]}"#).unwrap();
        assert_eq!(quoted, r#"{"messages":[],"model":"a\"b"}"#);
        assert_eq!(in_chat("a", "{\"user\":\"{\"}\n").unwrap(), "{\"user\":\"{\",\"model\":\"a\"}\n");
        assert_eq!(in_chat("a", " { } ").unwrap(), r#" { "model":"a"} "#);
        let elsewhere = named("/v1/chat/completions", &OPENAI_CHAT, None, "{".into());
        assert_eq!(elsewhere.unwrap(), "{");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for body in [r#"{"model":"a","model":"b"}"#, r#"{"Model":"b"}"#, "[]", "{", "\"{\"", "null"] {
            assert_eq!(in_chat("a", body).unwrap_err().kind(), Kind::InvalidRequest, "{body}");
        }
        for body in ["[]", "\"{\"", "null"] {
            assert_eq!(in_chat("a", body).unwrap_err().message(), "the body is not a JSON object");
        }
        assert_eq!(in_chat("a%0d%0a", "{}").unwrap_err().kind(), Kind::InvalidRequest);
    }

    #[test]
    fn a_form_is_for_the_deployment_too() {
        let form = |model: &str| {
            let field = |name: &str, value: &str| {
                format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"{value}\r\n")
            };
            let file = field("file", "; filename=\"a\"\r\n\r\nx");
            Bytes::from([&*field("model", &format!("\r\n\r\n{model}")), &file, "--b--"].concat())
        };
        let content_type = HeaderValue::from_static("multipart/form-data; boundary=b");
        let path = "/openai/deployments/whisper/audio/transcriptions";

        for model in ["whisper", "dear"] {
            let body = named(path, &OPENAI_TRANSCRIPTIONS, Some(&content_type), form(model));

            assert_eq!(body.unwrap(), form("whisper"));
        }
    }
}
