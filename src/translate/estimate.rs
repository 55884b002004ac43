//! The gateway's own count of tokens, for providers that don't count.

use crate::dialect::canonical::{Content, Format, Media, Part, Request, ToolInput};

/// What a turn or a tool takes beside its texts.
const AROUND: u64 = 4;
/// A picture of usual size; providers take from 85 to 1,600.
const IMAGE: u64 = 1_000;
/// A page or two.
const DOCUMENT: u64 = 2_000;
/// Some seconds of speech.
const AUDIO: u64 = 500;

/// About how many tokens `request` has: rather too many than too few.
pub(super) fn tokens(request: &Request<'_>) -> u64 {
    let system = parts(&request.system);
    let turns: u64 = request.turns.iter().map(|turn| AROUND + parts(&turn.parts)).sum();
    let tools = request.tools.iter().map(|tool| {
        let input = match &tool.input {
            ToolInput::Schema(raw) | ToolInput::Text(raw) => raw.as_ref().map_or(0, |raw| text(raw.get())),
            ToolInput::Opaque { raw, .. } => text(raw.get()),
        };
        AROUND + text(&tool.name) + tool.description.as_deref().map_or(0, text) + input
    });
    let format = match &request.format {
        Some(Format::Schema { schema, .. }) => text(schema.get()),
        _ => 0,
    };
    system + turns + tools.sum::<u64>() + format
}

fn parts(parts: &[Part<'_>]) -> u64 {
    parts.iter().map(|part| content(&part.content)).sum()
}

fn content(content: &Content<'_>) -> u64 {
    match content {
        Content::Text(said) | Content::Refusal(said) | Content::RedactedReasoning(said) => text(said),
        Content::Reasoning { text: said, .. } => text(said),
        Content::Image(_) => IMAGE,
        Content::Document { media: Media::Text(said), .. } => text(said),
        Content::Document { .. } => DOCUMENT,
        Content::Audio { .. } => AUDIO,
        Content::ToolCall(call) => AROUND + text(&call.name) + text(&call.arguments),
        Content::ToolResult { parts: said, .. } => AROUND + parts(said),
        Content::Opaque { raw, .. } => text(raw.get()),
    }
}

/// Four letters of English make a token, and about as many characters of other scripts make three.
fn text(text: &str) -> u64 {
    let (mut ascii, mut others) = (0_u64, 0_u64);
    for character in text.chars() {
        if character.is_ascii() { ascii += 1 } else { others += 1 }
    }
    (ascii + 3 * others).div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{ANTHROPIC_COUNT, Codec, Dialect};

    fn count(body: &str) -> u64 {
        let Some(Codec::Count(codec)) = ANTHROPIC_COUNT.codec() else { unreachable!() };
        tokens(&codec.decode_request(body.as_bytes()).unwrap())
    }

    #[test]
    fn everything_that_a_model_reads_is_counted() {
        let asking = |content: &str, rest: &str| {
            count(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":{content}}}]{rest}}}"#))
        };
        let hi = asking("\"12345678\"", "");
        let image = r#"[{"type":"image","source":{"type":"url","url":"https://e.x/a.png"}}]"#;

        assert_eq!(hi, 4 + 2);
        assert_eq!(asking("\"漢字漢字\"", ""), 4 + 3);
        assert_eq!(asking("\"12345678\"", r#","system":"1234""#), hi + 1);
        assert_eq!(asking(image, ""), 4 + 1_000);
        assert!(
            asking("\"12345678\"", r#","tools":[{"name":"find","input_schema":{"type":"object"}}]"#) > hi + 8
        );
    }
}
