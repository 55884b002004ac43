//! Ids for answers and calls, where a provider gives none.

use std::borrow::Cow;

use super::names::Rule;

/// A new id with this prefix, such as `msg_`.
pub(crate) fn new(prefix: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

    let mut random = [0u8; 24];
    // Without randomness ids repeat, which clients survive better than no answer.
    let _ = getrandom::fill(&mut random);
    prefix.chars().chain(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))).collect()
}

/// A call's id as a provider takes it; the same id always becomes the same.
pub(crate) fn sendable<'a>(id: &'a str, rule: &Rule) -> Cow<'a, str> {
    const HASH: usize = 17;

    if rule.takes(id) {
        return Cow::Borrowed(id);
    }
    // FNV-1a keeps ids apart that differ only in what is replaced.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut clean = rule.cleaned(id);
    clean.truncate(rule.longest - HASH);
    Cow::Owned(format!("{clean}_{hash:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_where_they_may_be_sent_and_told_apart_where_not() {
        let rule = Rule::simple(64);
        let long = "x".repeat(65);

        assert!(matches!(sendable("call_a-1", &rule), Cow::Borrowed("call_a-1")));
        assert!(sendable("functions.f:0", &rule).starts_with("functions_f_0_"));
        assert_ne!(sendable("a.b", &rule), sendable("a:b", &rule));
        assert_eq!(sendable("a.b", &rule), sendable("a.b", &rule));
        assert!(!sendable("", &rule).is_empty());
        assert_eq!((sendable(&long, &rule).len(), sendable(&long, &Rule::simple(128)).len()), (64, 65));
    }

    #[test]
    fn made_ids_differ() {
        assert_ne!(new("msg_"), new("msg_"));
        assert_eq!(new("msg_").len(), 28);
    }
}
