//! Text inside of addresses and forms.

use std::fmt::Write;

/// `text` with everything but letters, digits, `-`, `_`, `.` and `~` as `%` and two digits.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The body of a form, or a query.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    fields.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_is_written_as_digits() {
        assert_eq!(encoded("a:b/c~ü"), "a%3Ab%2Fc~%C3%BC");
        assert_eq!(form(&[("a", "1&2"), ("b", "")]), "a=1%262&b=");
    }
}
