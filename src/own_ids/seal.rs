use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Extensions;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{Error, Kind, auth::KeyDigest};

const TAG: usize = 16;

/// Seals texts with a client's key, so that only the same key opens them again. The same text always
/// makes the same seal. Put into the request's extensions by [`Auth`](crate::auth::Auth).
///
/// ```
/// use bartizan::{auth::KeyDigest, own_ids::Seal};
///
/// let (one, other) = (Seal::new(&KeyDigest::of("vk-1")), Seal::new(&KeyDigest::of("vk-2")));
/// let sealed = one.close("video_123");
///
/// assert_eq!(one.open(&sealed).as_deref(), Some("video_123"));
/// assert_eq!(other.open(&sealed), None);
/// ```
// A synthetic initialization vector: the tag is a keyed hash of the text, and what hides the text is
// made of the tag, so that no random number is needed and none can repeat.
#[derive(Clone)]
pub struct Seal([u8; 32]);

impl Seal {
    /// The seal of the key with this digest.
    pub fn new(digest: &KeyDigest) -> Self {
        // A key of its own, so that the digest is used for nothing else.
        Self(keyed_hash(digest.as_bytes(), &[b"bartizan own ids"]))
    }

    /// The seal of whoever has sent a request.
    ///
    /// # Errors
    ///
    /// [`Kind::Unauthenticated`] if no [`Auth`](crate::auth::Auth) stands outside.
    pub fn of(extensions: &Extensions) -> Result<&Self, Error> {
        extensions.get().ok_or_else(|| {
            Error::new(Kind::Unauthenticated, "the request came in without a check of its key")
        })
    }

    /// Seals `text`, as letters, digits, `-` and `_`.
    pub fn close(&self, text: &str) -> String {
        let tag = self.tag(text.as_bytes());
        let mut sealed = tag.to_vec();
        sealed.extend_from_slice(text.as_bytes());
        self.hide(&tag, &mut sealed[TAG..]);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// The text that was sealed; `None` if this isn't the seal.
    pub fn open(&self, sealed: &str) -> Option<String> {
        let mut sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (tag, text) = sealed.split_first_chunk_mut::<TAG>()?;
        self.hide(tag, text);
        let is_ours: bool = self.tag(text).ct_eq(tag).into();
        is_ours.then(|| String::from_utf8(text.to_vec()).ok())?
    }

    fn tag(&self, text: &[u8]) -> [u8; TAG] {
        let mut tag = [0; TAG];
        tag.copy_from_slice(&keyed_hash(&self.0, &[b"tag", text])[..TAG]);
        tag
    }

    fn hide(&self, tag: &[u8; TAG], text: &mut [u8]) {
        for (index, block) in text.chunks_mut(32).enumerate() {
            let mask = keyed_hash(&self.0, &[b"text", tag, &(index as u64).to_be_bytes()]);
            block.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
    }
}

/// Shows nothing of the key.
impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// HMAC-SHA-256 (RFC 2104) of the parts, one after the other.
fn keyed_hash(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner =
        parts.iter().fold(Sha256::new().chain_update(padded(0x36)), |hash, part| hash.chain_update(part));
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner.finalize()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyed_hash_is_that_of_the_standard() {
        // RFC 4231, test case 4: a key of 25 bytes, which is the same as one filled up with zeros.
        let mut key = [0; 32];
        (0..25).for_each(|at| key[at] = at as u8 + 1);

        let hash = keyed_hash(&key, &[&[0xcd; 50]]);

        assert_eq!(
            KeyDigest::from(hash).to_string(),
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"
        );
    }

    #[test]
    fn only_the_seal_itself_opens_what_it_has_closed() {
        let (one, other) = (Seal::new(&KeyDigest::of("a")), Seal::new(&KeyDigest::of("b")));
        for text in ["", "x", "a text that is longer than one block of the hash, and then some"] {
            let sealed = one.close(text);

            assert_eq!(one.open(&sealed).as_deref(), Some(text));
            assert_eq!((other.open(&sealed), sealed == one.close(text)), (None, true));
            for at in 0..sealed.len() {
                let mut changed = sealed.clone().into_bytes();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).unwrap();
                assert_ne!(one.open(&changed).as_deref(), Some(text), "{changed}");
            }
        }
        assert_eq!((one.open(""), one.open("AAAA"), one.open("é")), (None, None, None));
    }
}
