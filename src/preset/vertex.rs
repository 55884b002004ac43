//! How models at Google's Vertex AI deviate from what their makers have elsewhere.

use super::{Changes, Deviations, Object, Rule};

/// Claude at Vertex: the model stands in the [address](crate::upstream::Address::predict) only, and in its
/// place the version of the API stands in the body. That is Vertex' own, unless a client of Anthropic asks for
/// a newer one.
pub const CLAUDE_AT_VERTEX: Deviations =
    Deviations::new("anthropic-messages", &[Rule::omitted("anthropic_version")]).quirk(envelope);

/// Gemini at Vertex, which wants to know who says something, and hasn't all that Google's other API has.
pub const GEMINI_AT_VERTEX: Deviations = Deviations::new(
    "gemini",
    &[
        Rule::refused("store"),
        Rule::refused("generationConfig.enableEnhancedCivicAnswers"),
        Rule::refused("toolConfig.includeServerSideToolInvocations"),
        Rule::refused("contents[].parts[].partMetadata").where_there_is("partMetadata"),
    ],
)
.quirk(roles);

/// What has no role is the user's.
fn roles(request: &Object<'_>, changes: &mut Changes<'_>) {
    for content in request.objects("contents") {
        if content.get("role").is_none() {
            changes.add(&content, "role", "\"user\"");
        }
    }
}

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
        Dialect, Exchange, Payload, Target,
        dialect::{ANTHROPIC, GEMINI},
        payload::ModelName,
        preset::apply::tests::adapted,
    };

    fn sent(source: &'static str, version: Option<&'static str>) -> String {
        let mut headers = HeaderMap::new();
        headers.extend(version.map(|version| {
            (http::HeaderName::from_static("anthropic-version"), HeaderValue::from_static(version))
        }));
        let (sent, lost) = adapt(&ANTHROPIC, "/v1/messages", source, &headers, &CLAUDE_AT_VERTEX);
        assert!(lost.is_empty());
        sent
    }

    fn adapt(
        dialect: &'static dyn Dialect,
        path: &str,
        source: &'static str,
        headers: &HeaderMap,
        deviations: &Deviations,
    ) -> (String, Vec<Box<str>>) {
        let (parts, ()) = http::Request::post(path).body(()).unwrap().into_parts();
        let head = dialect.peek(&parts, source).unwrap();
        let payload = Payload::new(dialect, head, source.into(), Exchange::default());
        let payload = payload.with_model(&ModelName::new("claude-opus-5"));
        let (payload, lost) = adapted(payload, headers, deviations, &Target::new("v", "claude-opus-5"));
        (String::from_utf8(payload.to_bytes().into()).unwrap(), lost)
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

    #[test]
    fn vertex_is_told_who_speaks() {
        let gemini = |source| {
            let path = "/v1beta/models/m:generateContent";
            adapt(&GEMINI, path, source, &HeaderMap::new(), &GEMINI_AT_VERTEX)
        };
        let good = r#"{"contents":[{"role":"user","parts":[{"text":"role"}]}],"labels":{}}"#;

        assert_eq!(gemini(good), (good.to_owned(), vec![]));
        assert_eq!(
            gemini(
                r#"{"contents":[{"parts":[{"text":"q","partMetadata":{"a":1}}]},{"role":"model","parts":[]}],"store":true}"#
            ),
            (
                r#"{"contents":[{"role":"user","parts":[{"text":"q"}]},{"role":"model","parts":[]}]}"#
                    .to_owned(),
                vec!["contents[].parts[].partMetadata".into(), "store".into()]
            )
        );
    }
}
