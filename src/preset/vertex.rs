//! How Claude at Google's Vertex AI deviates from Anthropic's messages.

use super::{Changes, Deviations, Object, Rule};

/// Claude at Vertex: the model stands in the [address](crate::upstream::Address::predict) only, and in its
/// place the version of the API stands in the body. That is Vertex' own, unless a client of Anthropic asks for
/// a newer one.
pub const CLAUDE_AT_VERTEX: Deviations =
    Deviations::new("anthropic-messages", &[Rule::omitted("anthropic_version")]).quirk(envelope);

fn envelope(request: &Object<'_>, changes: &mut Changes<'_>) {
    let version = match changes.header("anthropic-version") {
        Some("2026-10-21") => r#""2026-10-21""#,
        _ => r#""vertex-2023-10-16""#,
    };
    changes.rewrite(request, "model", "anthropic_version", version);
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::{
        Dialect, Exchange, Payload, Target, dialect::ANTHROPIC, payload::ModelName, preset::adapted,
    };

    fn sent(source: &'static str, version: Option<&'static str>) -> String {
        let mut headers = HeaderMap::new();
        headers.extend(version.map(|version| {
            (http::HeaderName::from_static("anthropic-version"), HeaderValue::from_static(version))
        }));
        let (parts, ()) = http::Request::post("/v1/messages").body(()).unwrap().into_parts();
        let head = ANTHROPIC.peek(&parts, source).unwrap();
        let payload = Payload::new(&ANTHROPIC, head, source.into(), Exchange::default());
        let payload = payload.with_model(&ModelName::new("claude-opus-5"));
        let (payload, lost) =
            adapted(payload, &headers, &CLAUDE_AT_VERTEX, &Target::new("v", "claude-opus-5"));
        assert!(lost.is_empty());
        String::from_utf8(payload.to_bytes().into()).unwrap()
    }

    #[test]
    fn the_version_stands_where_the_model_stood() {
        let vertex = r#"{"max_tokens":9,"anthropic_version":"vertex-2023-10-16","messages":[]}"#;

        let source = r#"{"max_tokens":9,"model":"chat","messages":[]}"#;
        assert_eq!(sent(source, None), vertex);
        assert_eq!(sent(source, Some("2023-06-01")), vertex);
        assert_eq!(sent(source, Some("2026-10-21")), vertex.replace("vertex-2023-10-16", "2026-10-21"));
        assert_eq!(sent(r#"{"model":"chat"}"#, None), r#"{"anthropic_version":"vertex-2023-10-16"}"#);
    }

    #[test]
    fn a_version_in_the_body_of_a_client_is_not_written_twice() {
        let source = r#"{"anthropic_version":"x","model":"chat","max_tokens":9}"#;

        assert_eq!(sent(source, None), r#"{"anthropic_version":"vertex-2023-10-16","max_tokens":9}"#);
        let source = r#"{"model":"chat","anthropic_version":"x"}"#;
        assert_eq!(sent(source, None), r#"{"anthropic_version":"vertex-2023-10-16"}"#);
    }
}
