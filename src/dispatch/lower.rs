//! A lower cap on the output, so that a request doesn't use more than one may.

use http::request::Parts;

use crate::{
    Dialect, Error, Kind, Payload,
    dialect::json::{self, span},
    preset::Object,
};

/// The request with its cap lowered to what its exchange has learnt, and the member in which it stands. As it was,
/// if it has none: that is told in the dialect of the provider, as [`AssumeOutput`](crate::exchange::AssumeOutput).
pub(super) fn lowered(parts: &Parts, payload: Payload) -> Result<(Payload, Option<&'static str>), Error> {
    let lowered = payload.exchange().learn(|learnt| learnt.lowered);
    let Some(most) = lowered.filter(|_| payload.head().max_output.is_some()) else {
        return Ok((payload, None));
    };
    let (dialect, bytes) = (payload.dialect(), payload.to_bytes());
    let written = std::str::from_utf8(&bytes).ok().and_then(|text| with_cap(dialect, text, most));
    let Some((text, member)) = written else {
        let message = "the request can't be given the cap on its output that it needs";
        return Err(Error::new(Kind::TooExpensive, message));
    };
    // Whoever looks at it from here on, in whatever dialect, is to find the cap as if the client had set it.
    let head = dialect.peek(parts, &text)?;
    Ok((payload.rewritten(head, text.into()), Some(member)))
}

/// The request with its cap lowered to `most`, and the member in which it stands; `None` if it has none.
pub(super) fn with_cap(dialect: &dyn Dialect, text: &str, most: u64) -> Option<(String, &'static str)> {
    let request = Object::read(text.trim_ascii())?;
    let caps = dialect.output_caps();
    let mut edits: Vec<_> = caps.iter().filter_map(|cap| Some((*cap, value(&request, cap)?))).collect();
    let (member, _) = *edits.first()?;
    // From the last to the first, so that places stay where they are.
    edits.sort_unstable_by_key(|(_, said)| std::cmp::Reverse(said.as_ptr()));
    let mut text_with_cap = text.to_owned();
    for (_, said) in edits {
        let lower = json::parse::<u64>(said.as_bytes()).map_or(most, |said| said.min(most));
        text_with_cap.replace_range(span(text, said), &lower.to_string());
    }
    Some((text_with_cap, member))
}

fn value<'a>(request: &Object<'a>, member: &str) -> Option<&'a str> {
    match member.split_once('.') {
        Some((outer, inner)) => Object::read(request.get(outer)?)?.get(inner),
        None => request.get(member),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Exchange,
        dialect::{ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_MODERATIONS},
    };

    fn capped(
        dialect: &'static dyn Dialect,
        text: &str,
        most: u64,
    ) -> Result<(Payload, &'static str), Error> {
        let path = if dialect.id() == "gemini" { "/v1beta/models/m:generateContent" } else { "/" };
        let (parts, ()) = http::Request::post(path).body(()).unwrap().into_parts();
        let head = dialect.peek(&parts, text)?;
        let payload = Payload::new(dialect, head, text.to_owned().into(), Exchange::default());
        payload.exchange().learn(|learnt| learnt.lowered = Some(most));
        lowered(&parts, payload).map(|(payload, member)| (payload, member.unwrap()))
    }

    fn text(dialect: &'static dyn Dialect, text: &str) -> String {
        let (payload, _) = capped(dialect, text, 7).unwrap();
        assert_eq!(payload.head().max_output, Some(7), "{text}");
        String::from_utf8(payload.to_bytes().into()).unwrap()
    }

    #[test]
    fn each_dialect_has_its_cap_lowered_where_it_stands() {
        assert_eq!(
            text(&ANTHROPIC, r#"{"model":"m", "max_tokens": 99}"#),
            r#"{"model":"m", "max_tokens": 7}"#
        );
        assert_eq!(text(&OPENAI_CHAT, r#"{"max_tokens":99,"model":"m"}"#), r#"{"max_tokens":7,"model":"m"}"#);
        assert_eq!(
            text(&OPENAI_CHAT, r#"{"max_tokens":5,"model":"m","max_completion_tokens":99}"#),
            r#"{"max_tokens":5,"model":"m","max_completion_tokens":7}"#
        );
        for (from, to) in [
            (
                r#"{"generationConfig":{"maxOutputTokens":"99"}}"#,
                r#"{"generationConfig":{"maxOutputTokens":7}}"#,
            ),
            (
                r#"{"generation_config":{"max_output_tokens":99}}"#,
                r#"{"generation_config":{"max_output_tokens":7}}"#,
            ),
        ] {
            assert_eq!(text(&GEMINI, from), to);
        }
    }

    #[test]
    fn one_that_is_missing_is_left_to_the_dialect_of_the_provider() {
        let text = r#"{"model":"m"}"#;
        let (parts, ()) = http::Request::post("/").body(()).unwrap().into_parts();
        let head = OPENAI_CHAT.peek(&parts, text).unwrap();
        let payload = Payload::new(&OPENAI_CHAT, head, text.into(), Exchange::default());
        payload.exchange().learn(|learnt| learnt.lowered = Some(7));

        let (payload, member) = lowered(&parts, payload).unwrap();

        assert_eq!((&*payload.to_bytes(), member), (text.as_bytes(), None));
    }

    #[test]
    fn what_has_no_cap_is_not_sent_without_one() {
        let error = capped(&OPENAI_MODERATIONS, r#"{"model":"m","input":"x"}"#, 7).unwrap_err();

        assert_eq!(error.kind(), Kind::TooExpensive);
    }

    #[test]
    fn the_model_is_found_where_it_stands_now() {
        let (payload, member) = capped(&OPENAI_CHAT, r#"{"max_tokens":99999,"model":"m"}"#, 7).unwrap();

        let renamed = payload.with_model(&crate::payload::ModelName::new("other"));

        assert_eq!(renamed.to_bytes(), r#"{"max_tokens":7,"model":"other"}"#);
        assert_eq!(member, "max_tokens");
    }
}
