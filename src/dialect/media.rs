//! Pictures and documents: data URLs, and the media types that clients get wrong.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::dialect::canonical::{Content, Media, Text};

/// The picture at `url`, which may be a data URL; `None` if nobody can tell what it is.
pub(crate) fn image(url: Text<'_>) -> Option<Media<'_>> {
    match split(url) {
        Err(url) => Some(Media::Url(url)),
        Ok((declared, data)) => {
            let media_type = sniffed(&data).map_or(declared, Cow::Borrowed);
            (!media_type.is_empty()).then_some(Media::Base64 { media_type, data })
        }
    }
}

/// The document in `data`, a data URL or bare base64; `None` if nobody can tell what it is.
pub(crate) fn document<'a>(data: Text<'a>, title: Option<Text<'a>>) -> Option<Content<'a>> {
    let (declared, data) = split(data).unwrap_or_else(|data| (Cow::Borrowed(""), data));
    let media_type = sniffed(&data).map_or(declared, Cow::Borrowed);
    if media_type.is_empty() {
        return None;
    }
    if media_type.starts_with("image/") {
        return Some(Content::Image(Media::Base64 { media_type, data }));
    }
    if media_type.starts_with("text/") {
        let text = STANDARD.decode(data.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok())?;
        return Some(Content::Document { media: Media::Text(text.into()), title });
    }
    Some(Content::Document { media: Media::Base64 { media_type, data }, title })
}

/// A data URL of these bytes.
pub(crate) fn data_url(media_type: &str, data: &str) -> String {
    ["data:", media_type, ";base64,", data].concat()
}

/// The media type, without its parameters, and the base64 of a data URL; anything else comes back.
fn split(url: Text<'_>) -> Result<(Text<'_>, Text<'_>), Text<'_>> {
    let Some((head, _)) = url.strip_prefix("data:").and_then(|rest| rest.split_once(',')) else {
        return Err(url);
    };
    let start = "data:".len() + head.len() + 1;
    let is_base64 = head.ends_with(";base64");
    let essence = head.split(';').next().unwrap_or_default();
    let media_type = match essence {
        "image/jpg" => Cow::Borrowed("image/jpeg"),
        other => Cow::Owned(other.to_owned()),
    };
    let data =
        if is_base64 { tail(url, start) } else { STANDARD.encode(percent_decoded(&url[start..])).into() };
    Ok((media_type, data))
}

fn tail(text: Text<'_>, start: usize) -> Text<'_> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[start..]),
        Cow::Owned(mut text) => Cow::Owned(text.split_off(start)),
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        match digits.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => bytes.push(byte),
        }
    }
    bytes
}

/// What the first bytes say, which is more often right than what clients say.
pub(crate) fn sniffed(base64: &str) -> Option<&'static str> {
    const BEGINNINGS: [(&str, &str); 5] = [
        ("/9j/", "image/jpeg"),
        ("iVBORw0KGgo", "image/png"),
        ("R0lGOD", "image/gif"),
        // RIFF, of which there are others; what tells them apart stands further behind.
        ("UklGR", "image/webp"),
        ("JVBERi0", "application/pdf"),
    ];

    let begins = |(beginning, _): &&(&str, &str)| base64.starts_with(beginning);
    let is_other_riff = base64.starts_with("UklGR") && base64.get(12..16).is_some_and(|kind| kind != "RUJQ");
    BEGINNINGS.iter().find(begins).filter(|_| !is_other_riff).map(|(_, seen)| *seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAA";

    fn base64(media: Option<Media<'_>>) -> (String, String) {
        match media {
            Some(Media::Base64 { media_type, data }) => (media_type.into_owned(), data.into_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wrong_media_types_are_put_right() {
        // C120
        let missing = base64(image(format!("data:;base64,{PNG}").into()));
        let wrong = base64(image(format!("data:image/webp;charset=x;base64,{PNG}").into()));
        let misnamed = base64(image("data:image/jpg;base64,/9j/4AAQ".into()));

        assert_eq!(missing, ("image/png".into(), PNG.into()));
        assert_eq!(wrong.0, "image/png");
        assert_eq!(misnamed, ("image/jpeg".into(), "/9j/4AAQ".into()));
        assert!(image("data:;base64,AAAA".into()).is_none());
    }

    #[test]
    fn a_data_url_that_is_not_base64_is_encoded() {
        // C120
        let (media_type, data) = base64(image("data:image/svg+xml,%3Csvg%3E%zz".into()));

        assert_eq!(media_type, "image/svg+xml");
        assert_eq!(STANDARD.decode(data).unwrap(), b"<svg>%zz");
    }

    #[test]
    fn an_address_stays_an_address() {
        assert!(
            matches!(image("https://e.x/a.png".into()), Some(Media::Url(url)) if url == "https://e.x/a.png")
        );
    }

    #[test]
    fn a_document_is_what_its_bytes_say() {
        // C122
        let pdf = document("JVBERi0xLjcKJcfsj6IK".into(), Some("a.pdf".into()));
        let text = document("data:text/plain;base64,aGk=".into(), None);
        let picture = document(format!("data:image/png;base64,{PNG}").into(), None);

        assert!(
            matches!(pdf, Some(Content::Document { media: Media::Base64 { media_type, .. }, .. }) if media_type == "application/pdf")
        );
        assert!(matches!(text, Some(Content::Document { media: Media::Text(text), .. }) if text == "hi"));
        assert!(matches!(picture, Some(Content::Image(_))));
        assert!(document("AAAA".into(), None).is_none());
    }
}
