//! Proofs of what a model has thought, which only the provider that made them takes back.
//!
//! In the canonical form Anthropic's stand as they are, and those of others behind the name of their family
//! and a colon, which no proof has in itself. Clients of all dialects return them as they got them.

const OPENAI: &str = "openai:";

/// OpenAI's `encrypted_content` as a canonical proof, with the id of the item it came in.
pub(crate) fn of_openai(id: &str, encrypted: &str) -> String {
    [OPENAI, id, ":", encrypted].concat()
}

/// The id and the `encrypted_content` in a canonical proof, if it is OpenAI's.
pub(crate) fn openai(proof: &str) -> Option<(&str, &str)> {
    proof.strip_prefix(OPENAI)?.split_once(':')
}

/// Whether a canonical proof is Anthropic's.
pub(crate) fn is_anthropic(proof: &str) -> bool {
    !proof.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C68
    #[test]
    fn a_proof_is_known_by_those_who_made_it() {
        let proof = of_openai("rs_1", "gAAA_-=");

        assert_eq!((openai(&proof), openai("EqoB+/==")), (Some(("rs_1", "gAAA_-=")), None));
        assert!(is_anthropic("EqoB+/==") && !is_anthropic(&proof));
    }
}
