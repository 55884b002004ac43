use std::{ops::Range, sync::Arc};

use http::{HeaderMap, HeaderName};

use super::{Labels, Tags};
use crate::{Error, Kind, Payload, dialect::text::Str, headers, preset::Object};

/// The most tags of a request.
const MOST_TAGS: usize = 16;
/// The longest name of a tag.
const LONGEST_NAME: usize = 64;
/// The longest value, and the longest name of a user or a session; OpenAI's `metadata` has as much.
const LONGEST_VALUE: usize = 512;

impl Labels {
    /// What the headers and the body of a request say.
    pub(crate) fn read(headers: &HeaderMap, payload: &Payload) -> Result<Self, Error> {
        let mut labels = Self {
            user: named(headers, &headers::USER)?,
            session: named(headers, &headers::SESSION)?,
            tags: tags(headers)?,
        };
        labels.fill(payload);
        labels.tags.sort_unstable();
        Ok(labels)
    }

    /// Adds what the body says where the headers are silent. What would be too long in a header is
    /// passed over: it may be meant for the provider.
    fn fill(&mut self, payload: &Payload) {
        let head = payload.head();
        let at = |at: &Option<Range<usize>>| {
            let text = payload.source().get(at.clone()?)?;
            std::str::from_utf8(text).ok()
        };
        if self.user.is_none() {
            let user = at(&head.user_at).and_then(|text| match head.content_type {
                None => serde_json::from_str::<Str<'_>>(text).ok(),
                Some(_) => Some(text.into()),
            });
            self.user = user.filter(|user| is_value(user)).map(|user| (&*user).into());
        }
        let Some(metadata) = at(&head.metadata_at).and_then(Object::read) else { return };
        for (name, value) in metadata.texts().filter(|(_, value)| is_value(value)) {
            match name {
                "user_id" if self.user.is_none() => self.user = Some((&*value).into()),
                "session_id" if self.session.is_none() => self.session = Some((&*value).into()),
                _ => {}
            }
            let is_new = self.tags.iter().all(|(other, _)| **other != *name);
            if is_new && is_name(name) && self.tags.len() < MOST_TAGS {
                self.tags.push((name.into(), (&*value).into()));
            }
        }
    }
}

fn named(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Arc<str>>, Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str().ok().map(str::trim).filter(|text| is_value(text)) {
        Some(text) => Ok(Some(text.into())),
        None => Err(wrong(name, &format!("expected a name of at most {LONGEST_VALUE} characters"))),
    }
}

/// Reads `feature=search,env=prod`, over as many headers as there are.
fn tags(headers: &HeaderMap) -> Result<Tags, Error> {
    let mut tags = Tags::new();
    let wrong = |what: &str| Err(wrong(&headers::TAGS, what));
    for header in headers.get_all(&headers::TAGS) {
        let Ok(text) = header.to_str() else { return wrong("expected tags such as feature=search,env=prod") };
        for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            let Some((name, value)) = tag.split_once('=') else {
                return wrong("expected tags such as feature=search,env=prod");
            };
            let (name, value) = (name.trim(), value.trim());
            if !is_name(name) || !is_value(value) {
                return wrong(&format!(
                    "a tag is a name of at most {LONGEST_NAME} letters, digits, `-`, `_` or `.`, and a value of \
                     at most {LONGEST_VALUE} characters"
                ));
            }
            if tags.iter().any(|(other, _)| **other == *name) {
                return wrong("has a tag twice");
            }
            if tags.len() == MOST_TAGS {
                return wrong(&format!("has more than {MOST_TAGS} tags"));
            }
            tags.push((name.into(), value.into()));
        }
    }
    Ok(tags)
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(is_plain)
}

fn is_value(value: &str) -> bool {
    !value.is_empty() && value.len() <= LONGEST_VALUE && !value.chars().any(char::is_control)
}

fn wrong(header: &HeaderName, what: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{header}: {what}")).with_param(header.as_str())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        Dialect, Exchange,
        dialect::{Dialects, OPENAI_IMAGE_EDITS},
    };

    fn read(path: &str, body: &str, headers: &[(HeaderName, &str)]) -> Labels {
        let (mut parts, ()) = http::Request::post(path).body(()).unwrap().into_parts();
        for (name, value) in headers {
            parts.headers.insert(name, value.parse().unwrap());
        }
        let dialect = Dialects::default().detect(&parts).unwrap();
        let head = dialect.peek(&parts, body).unwrap();
        let payload =
            Payload::new(dialect, head, Bytes::copy_from_slice(body.as_bytes()), Exchange::default());
        Labels::read(&parts.headers, &payload).unwrap()
    }

    fn shown(labels: &Labels) -> String {
        let tags: Vec<_> = labels.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let name = |name: &Option<Arc<str>>| name.as_deref().unwrap_or("-").to_owned();
        format!("{} {} {}", name(&labels.user), name(&labels.session), tags.join(","))
    }

    #[test]
    fn bodies_name_users_sessions_and_tags() {
        for (path, body, labels) in [
            (
                "/v1/chat/completions",
                r#"{"model":"m","user":"old","safety_identifier":"u","metadata":{"session_id":"s","feature":"search"}}"#,
                "u s feature=search,session_id=s",
            ),
            ("/v1/responses", r#"{"model":"m","user":"u","metadata":{"b":"2","a":"1"}}"#, "u - a=1,b=2"),
            ("/v1/messages", r#"{"model":"m","metadata":{"user_id":"u"}}"#, "u - user_id=u"),
            ("/v1/embeddings", r#"{"model":"m","user":"u"}"#, "u - "),
            ("/v1/completions", r#"{"model":"m","user":"u"}"#, "u - "),
            ("/v1/images/generations", r#"{"model":"m","user":"u","prompt":"p"}"#, "u - "),
            ("/v1/images/edits", r#"{"model":"m","prompt":"p","user":"\u0075"}"#, "u - "),
            ("/v1/rerank", r#"{"model":"m","query":"q","documents":[],"user":"u"}"#, "u - "),
            ("/v1/images/generations", r#"{"model":"m","prompt":"p","user":null}"#, "- - "),
            ("/v1/chat/completions", r#"{"model":"m","user":7,"metadata":[]}"#, "- - "),
            ("/v1/chat/completions", r#"{"model":"m","user":null,"metadata":{"a b":"1","c":2}}"#, "- - "),
        ] {
            assert_eq!(shown(&read(path, body, &[])), labels, "{body}");
        }
    }

    #[test]
    fn a_form_names_its_user_as_it_is() {
        let form = |user: &str| {
            let field = |name: &str, value: &str| {
                format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
            };
            [field("model", "m"), field("prompt", "p"), field("user", user), "--b--".into()].concat()
        };
        let content_type = "multipart/form-data; boundary=b".parse().unwrap();
        let dialect: &'static dyn Dialect = &OPENAI_IMAGE_EDITS;
        for (user, labels) in [("u", "u - "), ("\"7\"", "\"7\" - "), ("", "- - ")] {
            let body = Bytes::from(form(user));
            let head = dialect.peek_form(&content_type, &body).unwrap();
            let payload = Payload::new(dialect, head, body, Exchange::default());

            assert_eq!(shown(&Labels::read(&HeaderMap::new(), &payload).unwrap()), labels);
        }
    }

    #[test]
    fn headers_go_before_the_body() {
        let body = r#"{"model":"m","user":"b","metadata":{"feature":"b","env":"prod"}}"#;
        let headers = [(headers::USER, "h"), (headers::TAGS, "feature=h")];

        let labels = read("/v1/chat/completions", body, &headers);

        assert_eq!(shown(&labels), "h - env=prod,feature=h");
        assert_eq!((labels.tag("env"), labels.tag("other")), (Some("prod"), None));
    }
}
