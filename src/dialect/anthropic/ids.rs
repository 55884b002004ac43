//! Ids of calls, changed where Anthropic would refuse them.

use std::borrow::Cow;

/// A call's id in the characters that Anthropic takes; the same id always becomes the same.
pub(super) fn sendable(id: &str) -> Cow<'_, str> {
    let is_allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    if !id.is_empty() && id.chars().all(is_allowed) {
        return Cow::Borrowed(id);
    }
    // FNV-1a keeps ids apart that differ only in what is replaced.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let clean: String = id.chars().map(|char| if is_allowed(char) { char } else { '_' }).collect();
    Cow::Owned(format!("{clean}_{hash:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_where_they_may_be_sent_and_told_apart_where_not() {
        assert!(matches!(sendable("call_a-1"), Cow::Borrowed("call_a-1")));
        assert!(sendable("functions.f:0").starts_with("functions_f_0_"));
        assert_ne!(sendable("a.b"), sendable("a:b"));
        assert_eq!(sendable("a.b"), sendable("a.b"));
        assert!(!sendable("").is_empty());
    }
}
