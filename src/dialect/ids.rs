//! Ids for answers and calls, where a provider gives none.

/// A new id with this prefix, such as `msg_`.
pub(crate) fn new(prefix: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

    let mut random = [0u8; 24];
    // Without randomness ids repeat, which clients survive better than no answer.
    let _ = getrandom::fill(&mut random);
    prefix.chars().chain(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_ids_differ() {
        assert_ne!(new("msg_"), new("msg_"));
        assert_eq!(new("msg_").len(), 28);
    }
}
