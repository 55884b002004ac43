//! Gemini's `:countTokens`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    GEMINI, decode, encode,
    path::{self, Method},
    repeat,
};
use crate::{
    Error, Kind, Target,
    dialect::{
        Codec, CountCodec, Encoded, Sibling,
        canonical::Request,
        count::{Only, question, unreadable},
        json,
    },
    payload::Head,
};

/// `POST /v1beta/models/{model}:countTokens`.
pub static GEMINI_COUNT: Sibling = Sibling {
    id: "gemini-count",
    chat: &GEMINI,
    speaks: |path| path::asked(path).is_some_and(|asked| asked.method == Method::Count),
    path: |payload| path::of(payload.model(), Method::Count).into(),
    peek: |parts, body| {
        let model = path::model(parts)?;
        json::read::<Wrapped<'_>>(body)?;
        Ok(Head { model, ..Head::default() })
    },
    repeat_model: repeat::repeated,
    read_usage: |_, _| false,
    codec: Codec::Count(&GeminiCountCodec),
};

/// The members of a chat's request that are counted.
const COUNTED: [&str; 5] = ["contents", "systemInstruction", "tools", "toolConfig", "generationConfig"];

/// Translates Gemini's counting.
#[derive(Clone, Copy, Debug)]
struct GeminiCountCodec;

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow, rename = "generateContentRequest", alias = "generate_content_request")]
    request: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Wrap<'a> {
    #[serde(rename = "generateContentRequest")]
    request: Only<'a>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "totalTokens", default)]
    total_tokens: Option<u64>,
}

impl CountCodec for GeminiCountCodec {
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Error> {
        let wrapped: Wrapped<'_> = json::parse(body).map_err(|error| json::invalid(&error, ""))?;
        let request = wrapped.request.map_or(body, |request| request.get().as_bytes());
        Ok(question(decode::request(request)?))
    }

    fn encode_request(&self, request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
        let chat = encode::request(request, to)?;
        let model = to_raw_value(&repeat::name(to.model()))
            .map_err(|error| Error::new(Kind::Internal, "the request can't be written").with_source(error))?;
        let request = Only::of(&chat.body, &COUNTED)?.with_first("model", &model);
        let body = json::written(&Wrap { request })?;
        Ok(Encoded { body, lost: chat.lost, ..Encoded::default() })
    }

    fn decode_answer(&self, body: &[u8]) -> Result<u64, Error> {
        let answer: Answer = json::parse(body).map_err(unreadable)?;
        answer.total_tokens.ok_or_else(|| unreadable("there is no totalTokens"))
    }

    fn encode_answer(&self, tokens: u64) -> Bytes {
        format!(r#"{{"totalTokens":{tokens}}}"#).into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Exchange, Payload, dialect::Dialect, payload::ModelName};

    fn payload(body: &'static str) -> Payload {
        let req = http::Request::post("/v1beta/models/alias:countTokens").body(()).unwrap();
        let head = GEMINI_COUNT.peek(&req.into_parts().0, body).unwrap();
        Payload::new(&GEMINI_COUNT, head, body.into(), Exchange::default())
    }

    #[test]
    fn both_forms_of_a_question_are_read() {
        let contents = r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#;
        let wrapped = r#"{"generateContentRequest":{"model":"models/m","contents":[{"parts":[{"text":"Hi"}]}],
            "systemInstruction":{"parts":[{"text":"S"}]}}}"#;

        let bare = GeminiCountCodec.decode_request(contents.as_bytes()).unwrap();
        let whole = GeminiCountCodec.decode_request(wrapped.as_bytes()).unwrap();

        assert_eq!((bare.turns.len(), bare.system.len()), (1, 0));
        assert_eq!((whole.turns.len(), whole.system.len()), (1, 1));
    }

    #[test]
    fn a_provider_is_asked_to_count_all_of_it() {
        let body = r#"{"systemInstruction":{"parts":[{"text":"S"}]},"contents":[{"parts":[{"text":"Hi"}]}]}"#;
        let request = GeminiCountCodec.decode_request(body.as_bytes()).unwrap();

        let encoded = GeminiCountCodec.encode_request(&request, &Target::new("p", "gemini-x")).unwrap();

        let written: Value = serde_json::from_slice(&encoded.body).unwrap();
        let request = &written["generateContentRequest"];
        assert_eq!(request["model"], "models/gemini-x");
        assert_eq!(request["systemInstruction"], json!({"parts": [{"text": "S"}]}));
        assert_eq!(request["contents"][0]["parts"], json!([{"text": "Hi"}]));
    }

    #[test]
    fn the_model_is_named_alike_in_path_and_body() {
        let asked = payload(r#"{"generateContentRequest":{"model":"models/alias","contents":[]}}"#);

        let sent = GEMINI_COUNT.repeat_model(asked.with_model(&ModelName::new("gemini-x")));

        assert_eq!(
            sent.to_bytes(),
            r#"{"generateContentRequest":{"model":"models/gemini-x","contents":[]}}"#
        );
        assert_eq!(GEMINI_COUNT.path(&sent), "/models/gemini-x:countTokens");
    }
}
