//! [`GeminiCodec`]: translation of generated content to and from the canonical form.

use bytes::Bytes;

use super::{answer, decode, encode, grounding, stream_in::Decoder, stream_out::Encoder};
use crate::{
    Error, Payload, Target,
    dialect::{ChatCodec, Decode, Encode, Encoded, canonical},
};

/// The [id](crate::dialect::Dialect::id) of the dialect, as parts that only it knows bear it.
pub(super) const ID: &str = "gemini";

/// Translates Gemini's `generateContent`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GeminiCodec;

impl ChatCodec for GeminiCodec {
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<canonical::Request<'a>, Error> {
        decode::request(body)
    }

    fn encode_request(&self, request: &canonical::Request<'_>, to: &Target) -> Result<Encoded, Error> {
        encode::request(request, to)
    }

    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<canonical::Answer<'a>, Error> {
        answer::decode(body)
    }

    fn encode_answer(&self, answer: &canonical::Answer<'_>, _: &Payload) -> Bytes {
        answer::encode(answer)
    }

    fn cites(&self, citation: &canonical::Citation<'_>) -> bool {
        grounding::is_said(citation)
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn encoder(&self, asked: &Payload) -> Box<dyn Encode> {
        Box::new(Encoder::new(&asked.head().model))
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use serde_json::Value;

    use super::{super::testing::model, *};
    use crate::{body::sse, dialect::testing::payload, payload::Head};

    /// What comes from a client of this dialect and goes to a provider of it, by way of the canonical
    /// form, loses nothing that the form has a place for.
    #[test]
    fn a_request_survives_the_way_through_the_canonical_form() {
        let request = r#"{"systemInstruction":{"parts":[{"text":"S"}]},
            "contents":[
                {"role":"user","parts":[{"text":"q"},{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgoA"}},
                    {"fileData":{"mimeType":"application/pdf","fileUri":"gs://b/a.pdf"}}]},
                {"role":"model","parts":[{"text":"t","thought":true},
                    {"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"UzE="},
                    {"functionCall":{"name":"f","args":{}}},
                    {"executableCode":{"language":"PYTHON","code":"1"}}]},
                {"role":"user","parts":[
                    {"functionResponse":{"name":"f","response":{"output":"1"}}},
                    {"functionResponse":{"name":"f","response":{"error":"bad"}}}]},
                {"role":"model","parts":[{"text":"ok"},{"text":"","thoughtSignature":"UzI="}]},
                {"role":"user","parts":[{"text":"go"}]}],
            "tools":[{"functionDeclarations":[{"name":"f","description":"d",
                "parametersJsonSchema":{"type":"object","properties":{"a":{"type":"integer"}}}}]},{"googleSearch":{}}],
            "toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}},
            "generationConfig":{"temperature":0.5,"topP":0.9,"topK":40,"maxOutputTokens":900,"stopSequences":["X"],
                "seed":7,
                "thinkingConfig":{"includeThoughts":true,"thinkingBudget":2048},
                "mediaResolution":"MEDIA_RESOLUTION_LOW"},
            "serviceTier":"flex","safetySettings":[{"category":"c","threshold":"OFF"}]}"#;

        let canonical = GeminiCodec.decode_request(request.as_bytes()).unwrap();
        let encoded = GeminiCodec.encode_request(&canonical, &model("gemini-2.5-pro")).unwrap();

        let written: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(request).unwrap());
        assert!(encoded.lost.is_empty(), "{:?}", encoded.lost);
    }

    #[test]
    fn a_stream_survives_the_way_through_the_canonical_form() {
        let data = [
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true}]},"index":0}],"modelVersion":"m","responseId":"r"}"#,
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"a \"b\"\n"}]},"index":0}],"modelVersion":"m","responseId":"r"}"#,
            r#"{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"id":"c1","name":"f","args":{"a":1}},"thoughtSignature":"UzE="},{"functionCall":{"id":"c2","name":"g","args":{}}}]},"index":0}],"modelVersion":"m","responseId":"r"}"#,
            r#"{"candidates":[{"content":{"role":"model","parts":[]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":5,"thoughtsTokenCount":2,"totalTokenCount":15},"modelVersion":"m","responseId":"r"}"#,
        ];
        let (mut decoder, mut encoder) =
            (GeminiCodec.decoder(), GeminiCodec.encoder(&payload(Head::default())));

        let mut out = BytesMut::new();
        for data in data {
            let event = sse::Event { raw: Bytes::new(), name: Bytes::new(), data: data.into() };
            decoder.event(&event, &mut |event| encoder.event(event, &mut out)).unwrap();
        }
        decoder.finish(&mut |event| encoder.event(event, &mut out)).unwrap();

        let written = std::str::from_utf8(&out).unwrap().split_terminator("\n\n");
        let written: Vec<_> = written.map(|event| event.strip_prefix("data: ").unwrap()).collect();
        assert_eq!(written, data);
    }
}
