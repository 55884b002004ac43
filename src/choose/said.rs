//! What stands in the body of a request, in whatever dialect, as far as it matters for a choice.

use std::borrow::Cow;

use crate::{
    dialect::text::Str,
    preset::{Object, items},
};

/// The most of a text that is looked at.
const LONGEST_TEXT: usize = 16 << 10;
/// The longest parameter, its name and that of a tool.
const LONGEST_PARAMETER: usize = 256;
const MOST_PARAMETERS: usize = 64;
const MOST_TOOLS: usize = 128;

/// What the user has said last; its beginning if it is long.
pub(super) fn last_text<'a>(body: &Object<'a>) -> Option<Cow<'a, str>> {
    #[cfg(test)]
    READ.set(READ.get() + 1);
    let turns = ["messages", "contents", "input"].into_iter().find_map(|name| Some((name, body.get(name)?)));
    let text = match turns {
        Some((_, turns)) if turns.starts_with('[') => {
            items(turns).into_iter().rev().find_map(|turn| match Object::read(turn) {
                Some(turn) => is_of_user(&turn).then(|| text_of_turn(&turn)).flatten(),
                None => string(turn),
            })
        }
        Some((_, text)) => string(text),
        None => ["prompt", "query"].into_iter().find_map(|name| string(body.get(name)?)),
    };
    text.map(|text| beginning(text, LONGEST_TEXT))
}

/// Gemini need not say whose a turn is.
fn is_of_user(turn: &Object<'_>) -> bool {
    match turn.text("role") {
        Some(role) => role == "user",
        None => turn.get("parts").is_some(),
    }
}

fn text_of_turn<'a>(turn: &Object<'a>) -> Option<Cow<'a, str>> {
    let content = turn.get("content").or_else(|| turn.get("parts"))?;
    if !content.starts_with('[') {
        return string(content);
    }
    let mut whole = Cow::Borrowed("");
    for part in items(content).into_iter().filter_map(Object::read) {
        let Some(text) = part.text("text") else { continue };
        if whole.is_empty() {
            whole = text;
        } else if whole.len() < LONGEST_TEXT {
            whole.to_mut().push('\n');
            whole.to_mut().push_str(&text);
        }
    }
    // Results of tools are turns of the user too, and have no text.
    (!whole.is_empty()).then_some(whole)
}

fn string(json: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Str<'_>>(json).ok().map(Into::into)
}

fn beginning(text: Cow<'_, str>, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return text;
    }
    let end = (0..=longest).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        // With no more room than it needs: it may have been a megabyte.
        Cow::Owned(text) => Cow::Owned(text[..end].to_owned()),
    }
}

/// The names of the tools, or their types where they have no name.
pub(super) fn tools<'a>(body: &Object<'a>) -> Vec<Cow<'a, str>> {
    let mut names = Vec::new();
    for tool in body.objects("tools") {
        let declared = tool.objects("functionDeclarations");
        names.extend(declared.iter().filter_map(|function| function.text("name")));
        let function = tool.get("function").and_then(Object::read);
        let name = function.and_then(|function| function.text("name"));
        names.extend(name.or_else(|| tool.text("name")).or_else(|| tool.text("type")));
        if names.len() >= MOST_TOOLS {
            names.truncate(MOST_TOOLS);
            break;
        }
    }
    names.into_iter().map(|name| beginning(name, LONGEST_PARAMETER)).collect()
}

/// What is said beside the contents: numbers, short texts, yes and no.
pub(super) fn parameters(body: &Object<'_>) -> Vec<(Box<str>, serde_json::Value)> {
    let inner = body.get("generationConfig").and_then(Object::read);
    scalars(body).chain(inner.iter().flat_map(scalars)).take(MOST_PARAMETERS).collect()
}

fn scalars(object: &Object<'_>) -> impl Iterator<Item = (Box<str>, serde_json::Value)> {
    let is_short = |name: &str, value: &str| name.len().max(value.len()) <= LONGEST_PARAMETER;
    let short = object.all().filter(move |(name, value)| is_short(name, value));
    let scalar = short.filter(|(_, value)| !value.starts_with(['[', '{', 'n']));
    scalar.filter_map(|(name, value)| Some((name.into(), serde_json::from_str(value).ok()?)))
}

#[cfg(test)]
thread_local! {
    /// How often a text was looked for.
    pub(crate) static READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &str) -> String {
        last_text(&Object::read(body).unwrap()).unwrap_or_default().into_owned()
    }

    #[test]
    fn the_last_text_of_the_user_is_found_in_every_dialect() {
        for body in [
            r#"{"messages":[{"role":"user","content":"old"},{"role":"user","content":"hi"},{"role":"assistant","content":"x"}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image"}]}]}"#,
            r#"{"messages":[{"role":"user","content":"hi"},{"role":"user","content":[{"type":"tool_result"}]}]}"#,
            r#"{"input":"hi"}"#,
            r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]},{"type":"function_call"}]}"#,
            r#"{"contents":[{"parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"x"}]}]}"#,
            r#"{"prompt":"hi"}"#,
            r#"{"input":["old","hi"]}"#,
        ] {
            assert_eq!(text(body), "hi", "{body}");
        }
        assert_eq!(text(r#"{"messages":5}"#), "");
        let parts = r#"{"messages":[{"role":"user","content":[{"text":"a"},{"text":"b"}]}]}"#;
        assert_eq!(text(parts), "a\nb");
    }

    #[test]
    fn no_more_of_a_text_is_read_than_its_beginning() {
        let body = format!(r#"{{"prompt":"{}"}}"#, "é".repeat(LONGEST_TEXT));

        assert_eq!(text(&body).len(), LONGEST_TEXT);
    }

    #[test]
    fn tools_and_parameters_are_found() {
        let body = Object::read(
            r#"{"tools":[{"type":"function","function":{"name":"a"}},{"name":"b"},{"type":"web_search"},
                {"functionDeclarations":[{"name":"c"}]}],"temperature":0.5,"n":2,"messages":[],"x":null,
                "generationConfig":{"topK":3}}"#,
        )
        .unwrap();

        assert_eq!(tools(&body), ["a", "b", "web_search", "c"]);
        let said: Vec<_> = parameters(&body).iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(said, ["temperature=0.5", "n=2", "topK=3"]);
    }

    #[test]
    fn names_have_a_longest_length_too() {
        let long = "x".repeat(LONGEST_PARAMETER + 1);
        let body = format!(r#"{{"tools":[{{"name":"{long}"}}],"{long}":1,"n":2}}"#);
        let body = Object::read(&body).unwrap();

        assert_eq!(tools(&body)[0].len(), LONGEST_PARAMETER);
        assert_eq!(parameters(&body), [("n".into(), 2.into())]);
    }
}
