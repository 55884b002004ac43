//! The requests in a file: a JSON object on each line.
//!
//! Strict, because a provider reads the same file with another parser, and because what is wrong with a
//! line is told at once here and hours later there.

use std::{collections::HashSet, ops::Range, sync::LazyLock};

use http::request::Parts;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Dialect, Error, Kind,
    batch::Requests,
    dialect::{
        OPENAI_CHAT, OPENAI_COMPLETIONS, OPENAI_EMBEDDINGS, OPENAI_RESPONSES, exact,
        json::{self, span},
        text::Str,
    },
    payload::Head,
};

/// The most requests of a batch: the limit of OpenAI.
const MAX_LINES: usize = 50_000;

/// What can be asked in a batch: providers read no other form of a path than this one.
static ENDPOINTS: [(&str, &'static dyn Dialect); 4] = [
    ("/v1/chat/completions", &OPENAI_CHAT),
    ("/v1/responses", &OPENAI_RESPONSES),
    ("/v1/embeddings", &OPENAI_EMBEDDINGS),
    ("/v1/completions", &OPENAI_COMPLETIONS),
];

/// What was read of a file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) model: Box<str>,
    /// Where its name stands in each line.
    pub(super) models_at: Vec<Range<usize>>,
    pub(super) requests: Requests,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    custom_id: Str<'a>,
    #[serde(borrow)]
    method: Str<'a>,
    #[serde(borrow)]
    url: Str<'a>,
    #[serde(borrow)]
    body: &'a RawValue,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidRequest, message).with_param("file")
}

/// Reads all lines of `file`.
///
/// # Errors
///
/// [`Kind::InvalidRequest`] names the line.
pub(super) fn read(file: &[u8]) -> Result<File, Error> {
    let text = std::str::from_utf8(file).map_err(|_| invalid("file: not valid UTF-8"))?;
    let mut read = File { model: "".into(), models_at: Vec::new(), requests: Requests::default() };
    let mut ids = HashSet::new();
    for (index, line) in text.trim_ascii_end().split('\n').enumerate() {
        let at = |message: &str| invalid(format!("line {}: {message}", index + 1));
        if index == MAX_LINES {
            return Err(at("a batch has no more than 50000 requests"));
        }
        let told = |error: Error| {
            let message = error.message().replacen("the body is", "it is", 1);
            at(&message.replacen(" at line 1 column ", " at column ", 1))
        };
        let line = read_line(line).map_err(told)?;
        if !ids.insert(line.custom_id.0.clone()) {
            return Err(at("custom_id: another line has the same"));
        }
        let head = peek(&line).map_err(told)?;
        read.add(&line, head, text).map_err(at)?;
    }
    Ok(read)
}

fn read_line(line: &str) -> Result<Line<'_>, Error> {
    // Some parsers would see the end of a line there.
    if line.trim_ascii_end().contains('\r') {
        return Err(invalid("it has an unusual line end"));
    }
    if json::is_too_deep(line.as_bytes()) {
        return Err(invalid("it is nested deeper than 128 levels"));
    }
    let line: Line<'_> = exact::read(line)?;
    if line.custom_id.is_empty() {
        return Err(invalid("custom_id: expected a text"));
    }
    if &*line.method != "POST" {
        return Err(invalid("method: expected `POST`"));
    }
    Ok(line)
}

/// Looks into the request of a line as if it had come alone.
fn peek(line: &Line<'_>) -> Result<Head, Error> {
    static PARTS: LazyLock<Parts> = LazyLock::new(|| http::Request::new(()).into_parts().0);

    let Some((_, dialect)) = ENDPOINTS.iter().find(|(url, _)| *url == &*line.url) else {
        return Err(invalid(
            "url: expected `/v1/chat/completions`, `/v1/responses`, `/v1/embeddings` or `/v1/completions`",
        ));
    };
    let head = dialect.peek(&PARTS, line.body.get())?;
    if head.has_wishes {
        return Err(invalid("models, provider: who answers can't be chosen in a batch"));
    }
    if head.stream {
        return Err(invalid("stream: the answers of a batch are not streamed"));
    }
    Ok(head)
}

impl File {
    fn add(&mut self, line: &Line<'_>, head: Head, text: &str) -> Result<(), &'static str> {
        if self.requests.lines == 0 {
            (self.model, self.requests.url) = (head.model.clone(), (&*line.url).into());
        }
        if self.model != head.model {
            return Err("model: all requests of a batch are for the same model");
        }
        if *self.requests.url != *line.url {
            return Err("url: all requests of a batch are for the same endpoint");
        }
        let body = span(text, line.body.get());
        self.requests.add(&head, line.body.get().as_bytes());
        let model = head.model_at.unwrap_or_default();
        self.models_at.push(body.start + model.start..body.start + model.end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHAT: &str = "/v1/chat/completions";

    fn line(id: &str, url: &str, body: &str) -> String {
        format!(r#"{{"custom_id":"{id}","method":"POST","url":"{url}","body":{body}}}"#)
    }

    fn chat(id: &str, more: &str) -> String {
        line(id, CHAT, &format!(r#"{{"model":"m","messages":[{{"role":"user","content":"Hi"}}]{more}}}"#))
    }

    fn refused(file: &str) -> String {
        let error = read(file.as_bytes()).expect_err(file);
        assert_eq!((error.kind(), error.param()), (Kind::InvalidRequest, Some("file")));
        error.message().to_owned()
    }

    #[test]
    fn each_line_is_counted_like_a_request_of_its_own() {
        let file = [chat("a", r#","max_tokens":100,"n":2"#), chat("b", "")].join("\r\n") + "\n\n";

        let read = read(file.as_bytes()).unwrap();

        assert_eq!((&*read.model, &*read.requests.url), ("m", CHAT));
        assert_eq!((read.requests.lines, read.requests.output, read.requests.open), (2, 200, 1));
        assert_eq!((read.requests.input, read.requests.longest), (2_102, 20));
        assert_eq!(read.models_at.len(), 2);
        for at in read.models_at {
            assert_eq!(&file[at], "\"m\"");
        }
    }

    #[test]
    fn other_endpoints_have_their_own_counts() {
        let of = |url: &str, body: &str| read(line("a", url, body).as_bytes()).unwrap().requests;

        assert_eq!(of("/v1/embeddings", r#"{"model":"m","input":"x"}"#).output, 0);
        assert_eq!(of("/v1/completions", r#"{"model":"m","prompt":["x","y"]}"#).output, 32);
        assert_eq!(of("/v1/responses", r#"{"model":"m","input":"x","max_output_tokens":9}"#).output, 9);
        assert_eq!(of(CHAT, r#"{"model":"m","messages":[]}"#).open, 1);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let good = chat("a", "");
        let after = |second: &str| refused(&format!("{good}\n{second}\n"));

        assert!(after("{").starts_with("line 2: it is not valid JSON"), "{}", after("{"));
        assert_eq!(after("[1]"), "line 2: it is not a JSON object");
        assert_eq!(after(&chat("a", "")), "line 2: custom_id: another line has the same");
        assert_eq!(after(&chat("", "")), "line 2: custom_id: expected a text");
        assert!(
            after(&chat("b", "").replace("custom_id", "id"))
                .starts_with("line 2: custom_id: missing field `custom_id` at column")
        );
        assert_eq!(after(&chat("b", "").replace("POST", "GET")), "line 2: method: expected `POST`");
        for url in ["/v1/images/generations", "/chat/completions", "/openai/v1/embeddings"] {
            let other = line("b", url, r#"{"model":"m","messages":[],"input":"x"}"#);
            assert!(after(&other).starts_with("line 2: url: expected `/v1/chat"), "{url}");
        }
        let other = chat("b", "").replace(r#""m""#, r#""dear""#);
        assert_eq!(after(&other), "line 2: model: all requests of a batch are for the same model");
        let other = line("b", "/v1/embeddings", r#"{"model":"m"}"#);
        assert_eq!(after(&other), "line 2: url: all requests of a batch are for the same endpoint");
        assert_eq!(
            after(&chat("b", r#","stream":true"#)),
            "line 2: stream: the answers of a batch are not streamed"
        );
        assert!(after(&chat("b", r#","model":"dear""#)).starts_with("line 2: model: duplicate field"));
        assert!(
            after(&chat("b", "").replace(r#""url""#, r#""body":{},"url""#))
                .starts_with("line 2: body: duplicate")
        );
        assert!(
            after(&chat("b", "").replace(r#""url""#, r#""Body":{},"url""#)).starts_with("line 2: body: ")
        );
        assert_eq!(after(&chat("b", "").replace(",", ",\r")), "line 2: it has an unusual line end");
        assert!(after(&format!("\n{good}")).starts_with("line 2: "));
        let deep = chat("b", &format!(r#","x":{}{}"#, "[".repeat(200), "]".repeat(200)));
        assert_eq!(after(&deep), "line 2: it is nested deeper than 128 levels");
        assert!(refused("").starts_with("line 1: "));
    }

    #[test]
    fn a_batch_has_an_end() {
        let file: Vec<_> = (0..=MAX_LINES).map(|n| chat(&n.to_string(), "")).collect();

        assert!(read(file[1..].join("\n").as_bytes()).is_ok());
        assert_eq!(refused(&file.join("\n")), "line 50001: a batch has no more than 50000 requests");
    }

    proptest! {
        #[test]
        fn where_the_models_stand_is_right_however_the_lines_are_written(
            before in prop::collection::vec("( |\t|\r){0,2}", 1..6),
            name in "[a-z\u{e9}/.-]{1,8}",
        ) {
            let lines = before.iter().enumerate().map(|(n, space)| {
                let space = space.trim_matches('\r');
                format!(r#"{space}{{"body":{{{space}"model"{space}:"{name}","input":"é{n}"}},"custom_id":"{n}","method":"POST","url":"/v1/embeddings"}}"#)
            });
            let file = lines.collect::<Vec<_>>().join("\n");

            let read = read(file.as_bytes()).unwrap();

            prop_assert_eq!(&*read.model, &*name);
            prop_assert_eq!(read.models_at.len(), before.len());
            for at in read.models_at {
                prop_assert_eq!(&file[at], format!("\"{name}\""));
            }
        }

        #[test]
        fn no_file_makes_it_panic(file in r#"(\{|\}|"custom_id":|"a"|"body":|"url":|"/v1/embeddings"|"method":"POST"|"model":|,|:|\n|\r|é|\[|1| ){0,40}"#) {
            let _ = read(file.as_bytes());
        }
    }
}
