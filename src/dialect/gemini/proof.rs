//! Proofs of thoughts, as the `thoughtSignature` of a client's part: base64, whoever made them.

use std::borrow::Cow;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};

use memchr::memmem;

use super::model::Traits;
use crate::{
    Target,
    dialect::{canonical::Text, proof},
};

/// Before the proofs of other providers, inside of the base64.
const FOREIGN: &str = "bartizan:proof:";
/// Before thoughts of other providers that only they can read.
const REDACTED: &str = "bartizan:redacted:";

/// Clients write base64 in either alphabet, with padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How both marks begin in base64; what decodes to them can be told without decoding.
const BEGINNING: &str = "YmFydGl6YW46";

/// What a signature stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof<'a> {
    /// A proof in its canonical form.
    Signature(Text<'a>),
    /// Thoughts that only their provider can read.
    Redacted(Text<'a>),
}

/// Reads a signature that a client sends back, or a provider gives.
pub(super) fn read<'a>(signature: &str) -> Proof<'a> {
    match foreign(signature) {
        Some(text) if text.starts_with(FOREIGN) => Proof::Signature(text[FOREIGN.len()..].to_owned().into()),
        Some(text) => Proof::Redacted(text[REDACTED.len()..].to_owned().into()),
        None => Proof::Signature(proof::of_gemini(signature).into()),
    }
}

/// Whether a client's request has proofs that other providers have made.
pub(super) fn are_foreign(json: &[u8]) -> bool {
    let beginning = format!("\"{BEGINNING}");
    proof::is_given(json, &["thoughtSignature", "thought_signature"], &beginning)
}

/// Whether a client's request has calls and no proof at all, although `model` wants them proven: another
/// provider's model has called.
pub(super) fn are_missing(json: &[u8], model: &Target) -> bool {
    let has = |names: [&str; 2]| names.iter().any(|name| memmem::find(json, name.as_bytes()).is_some());
    Traits::of(model).wants_signatures
        && has(["\"functionCall\"", "\"function_call\""])
        && !has(["\"thoughtSignature\"", "\"thought_signature\""])
}

fn foreign(signature: &str) -> Option<String> {
    if !signature.starts_with(BEGINNING) {
        return None;
    }
    let text = String::from_utf8(LENIENT.decode(standard(signature).as_bytes()).ok()?).ok()?;
    (text.starts_with(FOREIGN) || text.starts_with(REDACTED)).then_some(text)
}

/// Base64 in the usual alphabet: clients may write it in the one for addresses.
pub(super) fn standard(base64: &str) -> Cow<'_, str> {
    if !base64.contains(['-', '_']) {
        return Cow::Borrowed(base64);
    }
    Cow::Owned(base64.replace('-', "+").replace('_', "/"))
}

/// A canonical proof as the signature for a client.
pub(super) fn write(proof: &str) -> Cow<'_, str> {
    match proof::gemini(proof) {
        Some(own) => Cow::Borrowed(own),
        None => Cow::Owned(STANDARD.encode([FOREIGN, proof].concat())),
    }
}

/// Thoughts that only another provider can read, as the signature for a client.
pub(super) fn write_redacted(data: &str) -> String {
    STANDARD.encode([REDACTED, data].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C66, C69
    #[test]
    fn proofs_of_others_come_back_as_they_were() {
        for proof in ["EqoB+/==", "proof", "ü"] {
            assert_eq!(read(&write(proof)), Proof::Signature(proof.into()));
            let urlsafe = write(proof).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned();
            assert_eq!(read(&urlsafe), Proof::Signature(proof.into()));
        }
        assert_eq!(read(&write_redacted("d")), Proof::Redacted("d".into()));
    }

    /// C68, C72
    #[test]
    fn what_others_have_said_is_recognised() {
        let call = r#"{"functionCall":{"name":"f"}}"#;
        let signed =
            |signature: &str| format!(r#"{{"functionCall":{{}},"thoughtSignature": "{signature}"}}"#);
        let missing = |json: &str, model| are_missing(json.as_bytes(), &Target::new("gemini", model));

        assert!(are_foreign(signed(&write("EqoB")).as_bytes()) && !are_foreign(signed("U0lH").as_bytes()));
        assert!(missing(call, "gemini-3-flash") && !missing(call, "gemini-2.5-flash"));
        assert!(!missing(&signed("U0lH"), "gemini-3-flash") && !missing("{}", "gemini-3-flash"));
    }

    /// C68
    #[test]
    fn its_own_proofs_stay_its_own() {
        assert_eq!(read("U0lH"), Proof::Signature("gemini:U0lH".into()));
        assert_eq!(write("gemini:U0lH"), "U0lH");
        assert_eq!(read("YmFydGl6YW46"), Proof::Signature("gemini:YmFydGl6YW46".into()));
    }
}
