//! Forms (`multipart/form-data`): where their fields stand in a body that is here as a whole.
//!
//! Strict, because a provider reads the same bytes with another parser: what could be understood in
//! two ways is refused, so that nobody gets another model than the one that was looked at.

use std::ops::Range;

use http::HeaderValue;
use memchr::memmem;

use crate::{Error, Kind};

/// The most fields of a form, and the most bytes before the content of one.
const MAX_PARTS: usize = 128;
const MAX_HEADERS: usize = 4 << 10;

/// A field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) is_file: bool,
    /// Where its content stands.
    pub(super) at: Range<usize>,
}

fn invalid(message: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("the form can't be read: {message}"))
}

/// What separates the fields, as the type of the body says.
pub(super) fn boundary(content_type: &HeaderValue) -> Result<&str, Error> {
    let missing = || invalid("its content-type has no boundary");
    let parameters = content_type.to_str().map_err(|_| missing())?.split(';').skip(1);
    // Any way of saying it counts, `boundary*` too, which some parsers prefer.
    let is_boundary = |parameter: &&str| {
        parameter.trim_start().get(..8).is_some_and(|name| name.eq_ignore_ascii_case("boundary"))
    };
    let mut boundaries = parameters.filter(is_boundary);
    let value = boundaries.next().and_then(|parameter| parameter.trim()[8..].strip_prefix('='));
    let value = value.ok_or_else(missing)?;
    let quoted = value.strip_prefix('"').map(|value| value.strip_suffix('"').unwrap_or_default());
    let boundary = quoted.unwrap_or(value);
    // RFC 2046, section 5.1.1, without the space.
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    if boundaries.next().is_some() || !(1..=70).contains(&boundary.len()) || !boundary.bytes().all(is_usual) {
        return Err(missing());
    }
    Ok(boundary)
}

/// The fields of the form in `body`.
pub(super) fn parts<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<Part<'a>>, Error> {
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(&delimiter);
    // The first one has no line end before it.
    let first = &delimiter.as_bytes()[2..];
    if !body.starts_with(first) {
        return Err(invalid("it does not begin with its boundary"));
    }
    let mut at = first.len();
    let mut parts = Vec::new();
    loop {
        let rest = &body[at..];
        if let Some(end) = rest.strip_prefix(b"--") {
            return if end.trim_ascii().is_empty() {
                Ok(parts)
            } else {
                Err(invalid("something follows its last field"))
            };
        }
        if !rest.starts_with(b"\r\n") {
            return Err(invalid("a boundary is not on a line of its own"));
        }
        if parts.len() == MAX_PARTS {
            return Err(invalid("it has more than 128 fields"));
        }
        let headers = &rest[2..rest.len().min(MAX_HEADERS)];
        let length = memmem::find(headers, b"\r\n\r\n").ok_or_else(|| invalid("a field has no content"))?;
        let (name, is_file) = describe(&headers[..length])?;
        let from = at + 2 + length + 4;
        // An empty field ends with the line end that is also the end of its headers.
        let to = finder.find(&body[from..]).ok_or_else(|| invalid("its last boundary is missing"))?;
        if has_odd_line_end(&body[from..from + to], &delimiter[2..]) {
            return Err(invalid("a boundary has an unusual line end"));
        }
        parts.push(Part { name, is_file, at: from..from + to });
        at = from + to + delimiter.len();
    }
}

/// Whether something in a content is a boundary for parsers that take any line end.
fn has_odd_line_end(content: &[u8], boundary: &str) -> bool {
    let follows_line = |at: usize| at.checked_sub(1).is_some_and(|before| b"\r\n".contains(&content[before]));
    memmem::find_iter(content, boundary).any(|at| at == 0 || follows_line(at))
}

/// The name of a field, and whether it is a file.
fn describe(headers: &[u8]) -> Result<(&str, bool), Error> {
    let headers = std::str::from_utf8(headers).map_err(|_| invalid("a field's name is not UTF-8"))?;
    let mut described = None;
    for line in headers.split("\r\n") {
        let header = line.split_once(':').filter(|(name, _)| is_token(name) && !line.contains(['\r', '\n']));
        let (name, value) = header.ok_or_else(|| invalid("a field has a broken header"))?;
        if name.eq_ignore_ascii_case("content-transfer-encoding") && !is_plain(value.trim()) {
            return Err(invalid("a field has an encoding"));
        }
        if name.eq_ignore_ascii_case("content-disposition")
            && described.replace(disposition(value.trim())?).is_some()
        {
            return Err(invalid("a field has two names"));
        }
    }
    described.ok_or_else(|| invalid("a field has no name"))
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_plain(encoding: &str) -> bool {
    ["binary", "7bit", "8bit"].iter().any(|plain| encoding.eq_ignore_ascii_case(plain))
}

/// Reads `form-data; name="file"; filename="a.mp3"`, where the file's name may be said once more as
/// `filename*=UTF-8''a.mp3`. Nothing else may follow.
fn disposition(value: &str) -> Result<(&str, bool), Error> {
    let strange = || invalid("a field's name is written in an unusual way");
    let rest = value.strip_prefix("form-data").ok_or_else(strange)?.trim_start();
    let rest = rest.strip_prefix(';').ok_or_else(strange)?.trim_start();
    let (name, rest) =
        rest.strip_prefix("name=\"").and_then(|rest| rest.split_once('"')).ok_or_else(strange)?;
    if name.is_empty() || name.contains(['\\', '%']) {
        return Err(strange());
    }
    let Some(rest) = next_parameter(rest) else {
        return if rest.trim().is_empty() { Ok((name, false)) } else { Err(strange()) };
    };
    let rest = match rest.strip_prefix("filename=\"") {
        // Parsers don't agree on what a backslash before a quote means.
        Some(rest) => rest.split_once('"').filter(|(file, _)| !file.ends_with('\\')).ok_or_else(strange)?.1,
        None => return extended(rest).then_some((name, true)).ok_or_else(strange),
    };
    match next_parameter(rest) {
        Some(rest) if !extended(rest) => Err(strange()),
        None if !rest.trim().is_empty() => Err(strange()),
        _ => Ok((name, true)),
    }
}

fn next_parameter(rest: &str) -> Option<&str> {
    Some(rest.trim_start().strip_prefix(';')?.trim_start())
}

/// Whether this is `filename*=…` (RFC 5987) and nothing else.
fn extended(rest: &str) -> bool {
    rest.strip_prefix("filename*=").is_some_and(|value| !value.contains([';', '"', '\\', ' ']))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Result<Vec<(String, bool, String)>, Error> {
        let parts = parts(body.as_bytes(), "b")?;
        let own = |part: Part<'_>| (part.name.to_owned(), part.is_file, body[part.at].to_owned());
        Ok(parts.into_iter().map(own).collect())
    }

    fn field(name: &str, content: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
    }

    #[test]
    fn fields_and_files_are_found_where_they_stand() {
        let file = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a; name=model.mp3\"; filename*=UTF-8''a%3B\r\nContent-Type: audio/mpeg\r\n\r\n\r\n--c\r\n\r\n";
        let form = [&field("model", "whisper-1"), file, &field("empty", ""), "--b--\r\n"].concat();

        let own = |name: &str, is_file, content: &str| (name.to_owned(), is_file, content.to_owned());
        assert_eq!(
            read(&form).unwrap(),
            [own("model", false, "whisper-1"), own("file", true, "\r\n--c\r\n"), own("empty", false, "")]
        );
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let good = field("a", "x");
        for broken in [
            String::new(),
            "--b--x".to_owned(),
            good.clone(),
            format!("preamble\r\n{good}--b--"),
            format!("{good}--b--\r\nepilogue"),
            format!("{good}--bb\r\n--b--"),
            format!("{good}--b \r\n--b--"),
            "--b\r\n\r\nx\r\n--b--".to_owned(),
            "--b\r\nx: y\r\n\r\nx\r\n--b--".to_owned(),
            good.replace("name=\"a\"", "name=a") + "--b--",
            good.replace("name=\"a\"", "name=\"a%22\"") + "--b--",
            good.replace("name=\"a\"", "name=\"a\"; filenamex=\"x\"; name=\"model\"") + "--b--",
            good.replace("name=\"a\"", "name=\"a\"; filename=\"x\"; name=\"model\"") + "--b--",
            good.replace("name=\"a\"", "name=\"a\"; filename=\"x\\\"; name=\"model\"") + "--b--",
            good.replace("Content-D", "X: y\nContent-Disposition: form-data; name=\"model\"\r\nContent-D")
                + "--b--",
            good.replace("Content-D", " Content-D") + "--b--",
            field("a", "x\n--b\nContent-Disposition: form-data; name=\"model\"\n\ny") + "--b--",
            field("a", "--b\r\nx") + "--b--",
            good.replace("name=\"a\"", "name=\"a\"; name=\"model\"") + "--b--",
            good.replace("name=\"a\"", "filename=\"x\"; name=\"a\"") + "--b--",
            good.replace("\r\n\r\n", "\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n") + "--b--",
            good.replace("\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n") + "--b--",
            field("a", "x").repeat(129) + "--b--",
        ] {
            let error = read(&broken).expect_err(&broken);

            assert_eq!(error.kind(), Kind::InvalidRequest);
        }
    }

    #[test]
    fn the_boundary_is_a_parameter_of_the_type() {
        let of = |text: &'static str| {
            boundary(&HeaderValue::from_static(text)).map(str::to_owned).map_err(|error| error.kind())
        };

        assert_eq!(of("multipart/form-data; boundary=x-1"), Ok("x-1".to_owned()));
        assert_eq!(of("multipart/form-data; charset=utf-8; BOUNDARY=\"x:1\""), Ok("x:1".to_owned()));
        assert!(of("multipart/form-data").is_err() && of("multipart/form-data; boundary=").is_err());
        assert!(of("multipart/form-data; boundary=a; boundary=b").is_err());
        assert!(of("multipart/form-data; boundary=a; boundary*=us-ascii''b").is_err());
        assert!(of("multipart/form-data; boundary=\"a;b\"").is_err());
    }

    proptest! {
        #[test]
        fn no_form_makes_it_panic(body in "(--b|\r\n|--|Content-Disposition: form-data; name=\"|\"|a|:|;| ){0,40}") {
            let _ = parts(body.as_bytes(), "b");
        }
    }
}
