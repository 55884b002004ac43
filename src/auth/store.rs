use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;

use super::{KeyDigest, VirtualKey};
use crate::{BoxFuture, Error, hashing::Map};

/// Knows the gateway's keys.
pub trait KeyStore: fmt::Debug + Send + Sync + 'static {
    /// Looks for the key with this digest.
    ///
    /// Expired and disabled keys are to be returned as well: the layer refuses them, with the reason.
    fn find(&self, digest: &KeyDigest) -> Lookup;
}

/// What a [`KeyStore`] answers.
pub enum Lookup {
    /// At once: the key, or `None` if there is none.
    Known(Option<Arc<VirtualKey>>),
    /// After asking somewhere else. The future owns what it needs.
    Waiting(BoxFuture<'static, Result<Option<Arc<VirtualKey>>, Error>>),
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(key) => f.debug_tuple("Known").field(key).finish(),
            Self::Waiting(_) => f.write_str("Waiting"),
        }
    }
}

/// Keys in memory, exchangeable while requests run.
#[derive(Debug, Default)]
pub struct MemoryKeys(ArcSwap<Map<KeyDigest, Arc<VirtualKey>>>);

impl MemoryKeys {
    /// Adds a key, or puts it in the place of the one with the same digest.
    ///
    /// Copies the table; to fill it, [`replace`](Self::replace) is quicker.
    pub fn insert(&self, digest: KeyDigest, key: impl Into<Arc<VirtualKey>>) {
        let key = key.into();
        self.0.rcu(|keys| {
            let mut keys = Map::clone(keys);
            keys.insert(digest, key.clone());
            keys
        });
    }

    /// Puts these keys in the place of all that there were. A request is checked against the old
    /// keys or the new ones, never against a part.
    pub fn replace<K>(&self, keys: impl IntoIterator<Item = (KeyDigest, K)>)
    where
        K: Into<Arc<VirtualKey>>,
    {
        self.0.store(Arc::new(keys.into_iter().map(|(digest, key)| (digest, key.into())).collect()));
    }
}

impl<K: Into<Arc<VirtualKey>>> FromIterator<(KeyDigest, K)> for MemoryKeys {
    fn from_iter<I: IntoIterator<Item = (KeyDigest, K)>>(keys: I) -> Self {
        let this = Self::default();
        this.replace(keys);
        this
    }
}

impl KeyStore for MemoryKeys {
    fn find(&self, digest: &KeyDigest) -> Lookup {
        Lookup::Known(self.0.load().get(digest).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(keys: &MemoryKeys, secret: &str) -> Option<Arc<str>> {
        match keys.find(&KeyDigest::of(secret)) {
            Lookup::Known(key) => key.map(|key| key.name.clone()),
            Lookup::Waiting(_) => panic!("memory does not wait"),
        }
    }

    #[test]
    fn replacing_forgets_the_keys_from_before() {
        let keys = MemoryKeys::default();
        keys.insert(KeyDigest::of("one"), VirtualKey::new("first"));
        keys.insert(KeyDigest::of("two"), VirtualKey::new("second"));
        assert_eq!(name_of(&keys, "one").as_deref(), Some("first"));

        keys.replace([(KeyDigest::of("two"), VirtualKey::new("other"))]);

        assert_eq!(name_of(&keys, "one"), None);
        assert_eq!(name_of(&keys, "two").as_deref(), Some("other"));
    }
}
