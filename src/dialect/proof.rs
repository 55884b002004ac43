//! Proofs of what a model has thought, which only the provider that made them takes back.
//!
//! In the canonical form Anthropic's stand as they are, and Gemini's behind the name of their family and a
//! colon, which no proof has in itself. Clients of all dialects return them as they got them.

const GEMINI: &str = "gemini:";

/// Gemini's `thoughtSignature` as a canonical proof.
pub(crate) fn of_gemini(signature: &str) -> String {
    [GEMINI, signature].concat()
}

/// The `thoughtSignature` in a canonical proof, if it is Gemini's.
pub(crate) fn gemini(proof: &str) -> Option<&str> {
    proof.strip_prefix(GEMINI)
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
        let proof = of_gemini("U0lH");

        assert_eq!((gemini(&proof), gemini("EqoB+/==")), (Some("U0lH"), None));
        assert!(is_anthropic("EqoB+/==") && !is_anthropic(&proof));
    }
}
