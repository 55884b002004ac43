//! Percent-encoding, as the paths and queries of addresses have it.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All but what [RFC 3986](https://www.rfc-editor.org/rfc/rfc3986#section-2.3) calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// All that has a meaning inside of a path.
const NO_SEGMENT: &AsciiSet = &RESERVED.remove(b':').remove(b'@');

/// `text` without its percent-encoding; what is not a proper one stays as it is.
pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// `text` with everything but letters, digits, `-`, `_`, `.` and `~` encoded.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// `text` as one segment of a path.
pub(crate) fn segment(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, NO_SEGMENT).into()
}

/// The body of a form, or a query.
#[cfg(feature = "client")]
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    fields.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_encoding_is_taken_as_it_is() {
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
        assert_eq!(decoded("%c3%a9%ff"), "é\u{fffd}");
    }

    #[test]
    fn a_segment_has_nothing_that_means_something_in_an_address() {
        assert_eq!(segment("gemini-2.5-pro"), "gemini-2.5-pro");
        assert_eq!(segment("a/b?c#d e%é"), "a%2Fb%3Fc%23d%20e%25%C3%A9");
        assert_eq!(decoded(&segment("a/b?c#d e%é")), "a/b?c#d e%é");
        assert_eq!(segment("a@1:b"), "a@1:b");
    }

    #[cfg(feature = "client")]
    #[test]
    fn what_has_a_meaning_in_a_form_is_encoded() {
        assert_eq!(encoded("a@1:b"), "a%401%3Ab");
        assert_eq!(form(&[("a", "1&2"), ("b", "ü")]), "a=1%262&b=%C3%BC");
    }
}
