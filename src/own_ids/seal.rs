use std::fmt;

use aes_siv::{KeyInit, siv::Aes128Siv};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Extensions;
use sha2::{Digest, Sha256};

use crate::{
    Error, Kind,
    auth::{Caller, KeyDigest},
};

/// Seals texts with a client's key, so that only the same key opens them again. The same text always
/// makes the same seal ([RFC 5297](https://www.rfc-editor.org/rfc/rfc5297), without a nonce).
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
#[derive(Clone)]
pub struct Seal([u8; 32]);

impl Seal {
    /// The seal of the key with this digest.
    pub fn new(digest: &KeyDigest) -> Self {
        // A key of its own, so that the digest is used for nothing else.
        Self(
            Sha256::new().chain_update(b"bartizan own ids").chain_update(digest.as_bytes()).finalize().into(),
        )
    }

    /// The seal of whoever has sent a request.
    ///
    /// # Errors
    ///
    /// [`Kind::Unauthenticated`] if no [`Auth`](crate::auth::Auth) stands outside.
    pub fn of(extensions: &Extensions) -> Result<Self, Error> {
        let caller = extensions.get::<Caller>().ok_or_else(|| {
            Error::new(Kind::Unauthenticated, "the request came in without a check of its key")
        })?;
        Ok(Self::new(&caller.digest()))
    }

    /// A seal that nobody knows outside of the gateway, made of a secret.
    pub(super) fn secret(secret: &[u8]) -> Self {
        Self(Sha256::new().chain_update(b"bartizan proofs").chain_update(secret).finalize().into())
    }

    /// Seals `text`, as letters, digits, `-` and `_`.
    pub fn close(&self, text: &str) -> String {
        let sealed = self.cipher().encrypt([[]; 0], text.as_bytes());
        // Only a text of more bytes than there is memory can't be sealed.
        URL_SAFE_NO_PAD.encode(sealed.unwrap_or_default())
    }

    /// What only this seal makes of `text`, to prove later that nobody has changed it.
    pub(super) fn proof(&self, text: &str) -> String {
        // The tag of an empty text that comes with this one.
        let tag = self.cipher().encrypt([text.as_bytes()], b"");
        URL_SAFE_NO_PAD.encode(tag.unwrap_or_default())
    }

    /// The text that was sealed; `None` if this isn't the seal.
    pub fn open(&self, sealed: &str) -> Option<String> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        String::from_utf8(self.cipher().decrypt([[]; 0], &sealed).ok()?).ok()
    }

    fn cipher(&self) -> Aes128Siv {
        Aes128Siv::new(&self.0.into())
    }
}

/// Shows nothing of the key.
impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
