//! Proofs of what a model has thought, which only the provider that made them takes back.
//!
//! In the canonical form Anthropic's stand as they are, and those of others behind the name of their family
//! and a colon, which no proof has in itself. Clients of all dialects return them as they got them.

use memchr::memmem;

const GEMINI: &str = "gemini:";
const OPENAI: &str = "openai:";

/// Gemini's `thoughtSignature` as a canonical proof.
pub(crate) fn of_gemini(signature: &str) -> String {
    [GEMINI, signature].concat()
}

/// The `thoughtSignature` in a canonical proof, if it is Gemini's.
pub(crate) fn gemini(proof: &str) -> Option<&str> {
    proof.strip_prefix(GEMINI)
}

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

/// Whether there is a string in `json` that begins so, quote included, as a member with one of these names.
///
/// A look at the bytes: what a client escapes is not found.
pub(crate) fn is_given(json: &[u8], names: &[&str], beginning: &str) -> bool {
    memmem::find_iter(json, beginning).any(|at| {
        let name = json[..at].trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
        let name = name.and_then(|before| before.strip_suffix(b"\""));
        name.is_some_and(|before| names.iter().any(|name| before.ends_with(name.as_bytes())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_found_as_the_value_of_its_member_only() {
        let is_given = |json: &str| is_given(json.as_bytes(), &["signature", "data"], "\"gemini:");

        assert!(is_given(r#"{"signature":"gemini:U0lH"}"#));
        assert!(is_given(r#"[{"text":"gemini:"},{"data" : "gemini:U0lH"}]"#));
        assert!(!is_given(r#"{"text":"gemini:U0lH","signature":"EqoB"}"#));
        assert!(!is_given(r#""gemini:"#));
    }

    /// C68
    #[test]
    fn a_proof_is_known_by_those_who_made_it() {
        let openais = of_openai("rs_1", "gAAA_-=");
        let geminis = of_gemini("U0lH");

        assert_eq!((openai(&openais), openai("EqoB+/==")), (Some(("rs_1", "gAAA_-=")), None));
        assert_eq!((gemini(&geminis), gemini("EqoB+/==")), (Some("U0lH"), None));
        assert!(openai(&geminis).is_none() && gemini(&openais).is_none());
        assert!(is_anthropic("EqoB+/==") && !is_anthropic(&openais) && !is_anthropic(&geminis));
    }
}
