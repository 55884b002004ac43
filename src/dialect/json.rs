//! Looking into JSON without decoding it, and saying what is wrong with it.

use std::{borrow::Cow, ops::Range, sync::LazyLock};

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use serde_json::{error::Category, value::RawValue};

use super::json_writer;
use crate::{Error, Kind};

/// Reads a shallow struct; an error names the field and never repeats what the client wrote.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, Error> {
    read_member(body, "")
}

/// The same for the value of a member, which an error names.
pub(crate) fn read_member<'a, T: Deserialize<'a>>(value: &'a str, name: &str) -> Result<T, Error> {
    let no_object = || match name {
        "" => Error::new(Kind::InvalidRequest, "the body is not a JSON object"),
        name => Error::new(Kind::InvalidRequest, format!("{name}: expected an object")).with_param(name),
    };
    // The members of a struct may also stand in an array, as far as serde is concerned.
    let start = value.trim_ascii_start();
    if start.starts_with('[') {
        return Err(no_object());
    }
    serde_json::from_str(value).map_err(|error| {
        if error.classify() == Category::Data && !start.starts_with('{') {
            return no_object();
        }
        // Only now is the path worth its price.
        let mut again = serde_json::Deserializer::from_str(value);
        let path =
            serde_path_to_error::deserialize::<_, T>(&mut again).err().map(|error| error.path().to_string());
        let path = path.filter(|path| path != ".").unwrap_or_default();
        let dot = if name.is_empty() || path.is_empty() { "" } else { "." };
        invalid(&error, &format!("{name}{dot}{path}"))
    })
}

/// Reads what a provider wrote. Its characters are checked at once, which is faster than one string
/// after the other.
pub(crate) fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(json) {
        Ok(text) => serde_json::from_str(text),
        // Says where.
        Err(_) => serde_json::from_slice(json),
    }
}

/// The text of a provider's answer, if it looks like a JSON object.
pub(crate) fn object_in(body: &[u8]) -> Result<&[u8], Error> {
    let text = body.trim_ascii();
    if text.starts_with(b"{") && text.ends_with(b"}") {
        return Ok(text);
    }
    Err(Error::new(Kind::Upstream, "the provider's answer is not JSON"))
}

/// A request for a provider.
pub(crate) fn written(request: &impl Serialize) -> Result<Vec<u8>, Error> {
    /// Most requests fit without growing.
    const USUAL_SIZE: usize = 16 << 10;

    let mut json = Vec::with_capacity(USUAL_SIZE);
    json_writer::write(&mut json, request)
        .map_err(|error| Error::new(Kind::Internal, "the request can't be written").with_source(error))?;
    Ok(json)
}

/// The name of a model, as it stands in a request.
pub(crate) fn model(raw: &RawValue) -> Result<Box<str>, Error> {
    let wrong = |expected| {
        Error::new(Kind::InvalidRequest, format!("model: expected {expected}")).with_param("model")
    };
    let model: Box<str> = serde_json::from_str(raw.get()).map_err(|_| wrong("a string"))?;
    if model.is_empty() || model.len() > 256 { Err(wrong("a name")) } else { Ok(model) }
}

/// The error for JSON that can't be read; `path` is the field, if it is known.
pub(crate) fn invalid(error: &serde_json::Error, path: &str) -> Error {
    if error.classify() != Category::Data {
        return Error::new(Kind::InvalidRequest, format!("the body is not valid JSON: {error}"));
    }
    let text = error.to_string();
    // "invalid type: string \"…\", expected a boolean at line 1 column 7": the value may be a prompt.
    let message = match text.rsplit_once(", expected ") {
        Some((_, expected)) if text.starts_with("invalid ") || text.starts_with("unknown ") => {
            // serde names whole numbers by their size in Rust.
            let expected = match expected.split_once(' ') {
                Some(("u64" | "u32" | "i64", place)) => format!("a whole number {place}"),
                _ => expected.to_owned(),
            };
            format!("expected {expected}")
        }
        _ => text.clone(),
    };
    match &*whole_path(path, &text) {
        "" | "." => Error::new(Kind::InvalidRequest, message),
        path => Error::new(Kind::InvalidRequest, format!("{path}: {message}")).with_param(path),
    }
}

/// The path of a field that is missing, misspelt or stands twice goes up to what it is a member of.
fn whole_path<'a>(path: &'a str, text: &'a str) -> Cow<'a, str> {
    let rest = ["missing field `", "duplicate field `", "misspelt field `"]
        .iter()
        .find_map(|what| text.strip_prefix(what));
    let Some((field, _)) = rest.and_then(|rest| rest.split_once('`')) else { return path.into() };
    match path {
        "" | "." => field.into(),
        path if path.rsplit('.').next() == Some(field) => path.into(),
        path => format!("{path}.{field}").into(),
    }
}

/// Finds a member by its name without parsing: a name inside a string has its quotes escaped, so
/// `"name"` with plain quotes can only be a member or a whole string.
pub(crate) struct Member(LazyLock<Finder<'static>>);

impl Member {
    /// `quoted` is the name with its quotes.
    pub(crate) const fn new(find: fn() -> Finder<'static>) -> Self {
        Self(LazyLock::new(find))
    }

    /// The first byte of the value of the first such member.
    pub(crate) fn value(&self, json: &[u8]) -> Option<u8> {
        self.rest(json)?.first().copied()
    }

    /// The length of the value of the first such member, if it is a string.
    pub(crate) fn text(&self, json: &[u8]) -> Option<usize> {
        let text = self.rest(json)?.strip_prefix(b"\"")?;
        Some(end_of_string(text, 0).saturating_sub(1))
    }

    /// The value of the first such member as it stands there, if it is a string.
    pub(crate) fn word<'a>(&self, json: &'a [u8]) -> Option<&'a str> {
        let text = self.rest(json)?.strip_prefix(b"\"")?;
        let word = text.get(..end_of_string(text, 0).saturating_sub(1))?;
        std::str::from_utf8(word).ok()
    }

    /// How many such members there are.
    pub(crate) fn members(&self, json: &[u8]) -> u32 {
        self.count(json, |rest| rest.trim_ascii_start().starts_with(b":"))
    }

    /// How many such members there are whose values are texts that are not empty.
    pub(crate) fn texts(&self, json: &[u8]) -> u32 {
        self.count(json, |rest| {
            let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
            matches!(value, Some([b'"', first, ..]) if *first != b'"')
        })
    }

    /// How many members called `type` have the name of this one for a value.
    pub(crate) fn types(&self, json: &[u8]) -> u32 {
        self.count(json, |rest| {
            let before = json[..json.len() - rest.len() - self.0.needle().len()].trim_ascii_end();
            before.strip_suffix(b":").is_some_and(|before| before.trim_ascii_end().ends_with(b"\"type\""))
        })
    }

    /// How often the name stands where `is_one` holds for what follows it.
    fn count(&self, json: &[u8], is_one: impl Fn(&[u8]) -> bool) -> u32 {
        let ends = self.0.find_iter(json).map(|at| at + self.0.needle().len());
        ends.filter(|end| is_one(&json[*end..])).count() as u32
    }

    /// The value of the only such member, if it is an object and the outermost object ends soon after it; the
    /// quick way to what stands at the end of a long answer. The text is known to be JSON or to be worthless.
    pub(crate) fn near_the_end<'a, T: Deserialize<'a>>(&self, json: &'a [u8]) -> NearTheEnd<T> {
        let Some(rest) = self.rest(json).filter(|rest| rest.starts_with(b"{")) else {
            return NearTheEnd::Nothing;
        };
        // Checked at once, which is faster than one name after the other.
        let Ok(text) = std::str::from_utf8(rest) else { return NearTheEnd::Unclear };
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<T>();
        let Some(Ok(value)) = values.next() else { return NearTheEnd::Unclear };
        let after = &rest[values.byte_offset()..];
        if ends_one_object(after) && self.rest(after).is_none() {
            NearTheEnd::Found(value)
        } else {
            NearTheEnd::Unclear
        }
    }

    /// Where the first such member stands, with one of the commas around it, if its value is null.
    pub(crate) fn null(&self, json: &[u8]) -> Option<Range<usize>> {
        let rest = self.rest(json)?.strip_prefix(b"null")?;
        let end = json.len() - rest.len();
        // Before the value there is nothing but white space and a colon.
        let start = self.0.find_iter(&json[..end]).last()?;
        let before = json[..start].trim_ascii_end();
        if let Some(before) = before.strip_suffix(b",") {
            return Some(before.len()..end);
        }
        let comma = rest.trim_ascii_start().strip_prefix(b",");
        Some(start..comma.map_or(end, |after| json.len() - after.len()))
    }

    /// What stands from the value of the first such member on.
    fn rest<'a>(&self, json: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = json;
        while let Some(at) = self.0.find(rest) {
            rest = rest[at + self.0.needle().len()..].trim_ascii_start();
            if let Some(value) = rest.strip_prefix(b":") {
                return Some(value.trim_ascii_start());
            }
        }
        None
    }
}

/// What a look for a member near the end of a text has found.
pub(crate) enum NearTheEnd<T> {
    /// The value.
    Found(T),
    /// An object that may be anybody's.
    Unclear,
    /// No such member, or the first of them is no object.
    Nothing,
}

/// Whether `rest` is the rest of one object after the value of a member; not said of one in which there is
/// another bracket.
fn ends_one_object(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii();
    matches!(rest.first(), Some(b'}' | b','))
        && memchr::memchr3(b'{', b'[', b'}', rest).is_some_and(|first| first + 1 == rest.len())
        && rest.ends_with(b"}")
}

/// Where `raw`, borrowed from `whole`, stands in it.
pub(crate) fn span(whole: &str, raw: &str) -> Range<usize> {
    let start = raw.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + raw.len()
}

/// The largest depth of arrays and objects in a request: that of serde_json itself.
const MAX_DEPTH: usize = 128;

/// Whether arrays and objects are nested deeper than any honest request.
///
/// What is not parsed but passed on would otherwise reach a provider unchecked. Text that is not JSON
/// may be taken for flat: it is refused anyway.
pub(crate) fn is_too_deep(json: &[u8]) -> bool {
    // Most requests are flat, and to see that is much faster than to follow their strings.
    let at_most = memchr::memchr2_iter(b'[', b'{', json).filter(|at| may_deepen(json, *at)).count();
    at_most > MAX_DEPTH && is_deep_outside_of_strings(json)
}

/// Whether the bracket at `at` may lead one level down, by the bytes around it.
///
/// It doesn't if it stands where JSON has none, which means inside of a string, or if it comes right
/// after its elder sibling: `},{` has no quotes, so it is inside of a string as a whole or not at all.
fn may_deepen(json: &[u8], at: usize) -> bool {
    let next = json[at + 1..].trim_ascii_start().first();
    let is_followed_well = match next {
        Some(b'"') => true,
        Some(b'}') => json[at] == b'{',
        Some(b']' | b'[' | b'{' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => json[at] == b'[',
        _ => false,
    };
    is_followed_well
        && match json[..at].trim_ascii_end().split_last() {
            None | Some((b':' | b'[', _)) => true,
            Some((b',', elder)) => !matches!(elder.trim_ascii_end().last(), Some(b'}' | b']')),
            _ => false,
        }
}

fn is_deep_outside_of_strings(json: &[u8]) -> bool {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(byte) = json.get(at) {
        at += 1;
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => at = end_of_string(json, at),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// The byte after the quote that ends the string which begins at `start`, behind its first quote.
fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start;
    // Quotes are rarer than escapes in what people write.
    while let Some(length) = memchr::memchr(b'"', json.get(at..).unwrap_or_default()) {
        at += length + 1;
        let escapes = json[start..at - 1].iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 0 {
            return at;
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Shallow {
        #[serde(rename = "stream")]
        _stream: Option<bool>,
    }

    #[test]
    fn an_error_names_the_field_and_not_the_value() {
        let error = read::<Shallow>(r#"{"stream": "my secret prompt"}"#).unwrap_err();

        assert_eq!(error.param(), Some("stream"));
        assert_eq!(error.message(), "stream: expected a boolean at line 1 column 29");
    }

    #[test]
    fn broken_json_and_doubled_members_are_said_to_be_so() {
        let broken = read::<Shallow>(r#"{"stream": tru"#).unwrap_err();
        let doubled = read::<Shallow>(r#"{"stream":true,"stream":false}"#).unwrap_err();

        assert!(broken.message().starts_with("the body is not valid JSON: "), "{broken}");
        assert!(doubled.message().contains("duplicate field `stream`"), "{doubled}");
    }

    #[test]
    fn a_field_that_is_missing_or_doubled_is_named() {
        #[derive(Debug, Deserialize)]
        struct Outer {
            #[serde(rename = "inner")]
            _inner: Inner,
        }
        #[derive(Debug, Deserialize)]
        struct Inner {
            #[serde(rename = "name")]
            _name: String,
        }
        let param = |body| read::<Outer>(body).unwrap_err().param().map(str::to_owned);

        assert_eq!(param("{}").as_deref(), Some("inner"));
        assert_eq!(param(r#"{"inner":{}}"#).as_deref(), Some("inner.name"));
        assert_eq!(param(r#"{"inner":{"name":"a","name":"b"}}"#).as_deref(), Some("inner.name"));
        assert_eq!(param("[]"), None);
    }

    #[test]
    fn a_member_is_not_found_inside_of_text() {
        let usage = Member::new(|| Finder::new(b"\"usage\""));

        assert_eq!(usage.value(br#"{"content":"\"usage\":{"}"#), None);
        assert_eq!(usage.value(br#"{"content":"usage","usage" : null}"#), Some(b'n'));
        assert_eq!(usage.value(br#"{"usage":{"#), Some(b'{'));
        assert_eq!(usage.value(br#"["usage"]"#), None);
    }

    #[test]
    fn a_member_near_the_end_is_the_only_one_and_of_the_outermost_object() {
        let usage = Member::new(|| Finder::new(b"\"usage\""));
        let value = |json: &'static str| match usage.near_the_end::<&RawValue>(json.as_bytes()) {
            NearTheEnd::Found(value) => value.get(),
            NearTheEnd::Unclear => "unclear",
            NearTheEnd::Nothing => "nothing",
        };

        assert_eq!(value(r#"{"a":[{"b":"\"usage\":{"}],"usage":{"c":1}}"#), r#"{"c":1}"#);
        assert_eq!(value("{\"usage\" : {} ,\"a\":\"b\",\"c\":null } \n"), "{}");
        assert_eq!(value(r#"{"usage":[],"a":{"usage":{}}}"#), "nothing");
        assert_eq!(value(r#"{"a":"usage"}"#), "nothing");
        for unclear in [
            r#"{"a":{"usage":{}}}"#,
            r#"{"a":{"usage":{},"b":2},"c":3}"#,
            r#"{"usage":{},"a":{"usage":{}}}"#,
            r#"{"usage":{},"a":[2]}"#,
            r#"{"usage":{},"a":"}"}"#,
            r#"{"usage":{},"a":2"#,
            r#"{"usage":{"c":1"#,
        ] {
            assert_eq!(value(unclear), "unclear", "{unclear}");
        }
    }

    #[test]
    fn depth_is_counted_outside_of_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let brackets_in_text = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(1000));
        let flat = format!("[{}[]]", "[],".repeat(1000));

        assert!(!is_too_deep(nested(128).as_bytes()));
        assert!(is_too_deep(nested(129).as_bytes()));
        assert!(is_too_deep("[".repeat(100_000).as_bytes()));
        assert!(!is_too_deep(brackets_in_text.as_bytes()));
        assert!(!is_too_deep(flat.as_bytes()));
        assert!(!is_too_deep(format!("{flat}\"\\").as_bytes()));
    }

    /// Pieces of one level each, with everything around that could hide it.
    const LEVELS: [(&str, &str); 7] = [
        ("[", "]"),
        ("[ ", "\n]"),
        ("[{},", "]"),
        ("[[ ] ,\n", "]"),
        (r#"{"a":{},"b" : "#, "}"),
        (r#"[{"a":"\\"},"#, r#","},{"]"#),
        (r#"{"[\"{":"}","a":"#, r#","c":[1,{"d":2}]}"#),
    ];

    proptest! {
        #[test]
        fn depth_is_seen_whatever_stands_around(levels in prop::collection::vec(0..LEVELS.len(), 100..160)) {
            let open: String = levels.iter().map(|level| LEVELS[*level].0).collect();
            let close: String = levels.iter().rev().map(|level| LEVELS[*level].1).collect();
            let json = format!("{open}0{close}");
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok(), "{}", json);

            let is_deep = is_deep_outside_of_strings(json.as_bytes());

            prop_assert_eq!(is_too_deep(json.as_bytes()), is_deep);
            prop_assert!(is_deep || levels.len() <= MAX_DEPTH);
        }
    }

    #[test]
    fn a_member_that_is_null_is_found_with_one_of_its_commas() {
        static USAGE: Member = Member::new(|| Finder::new(b"\"usage\""));
        let cut =
            |json: &str| USAGE.null(json.as_bytes()).map(|at| [&json[..at.start], &json[at.end..]].concat());

        assert_eq!(cut(r#"{"a":1,"usage":null}"#).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(
            cut(r#"{"a":"usage" , "usage" : null, "b":2}"#).as_deref(),
            Some(r#"{"a":"usage" , "b":2}"#)
        );
        assert_eq!(cut(r#"{"usage": null , "a":1}"#).as_deref(), Some(r#"{ "a":1}"#));
        assert_eq!(cut(r#"{"usage":null}"#).as_deref(), Some("{}"));
        assert_eq!((cut(r#"{"usage":{"a":null}}"#), cut(r#"{"text":"\"usage\":null"}"#)), (None, None));
    }
}
