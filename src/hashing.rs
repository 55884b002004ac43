//! Hashes of names.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use foldhash::{
    SharedSeed,
    fast::{FoldHasher, SeedableRandomState},
};

/// A map whose keys are names, some of which clients choose.
pub(crate) type Map<K, V> = HashMap<K, V, Keyed>;

/// A quick hash with a key that nobody knows, so that nobody can choose names that collide.
#[derive(Clone)]
pub(crate) struct Keyed(SeedableRandomState);

impl Default for Keyed {
    fn default() -> Self {
        static SEED: LazyLock<SharedSeed> = LazyLock::new(|| SharedSeed::from_u64(random()));
        Self(SeedableRandomState::with_seed(random(), &SEED))
    }
}

/// The operating system's, by way of the standard library if that is out of it.
fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one(0_u8))
}

impl BuildHasher for Keyed {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_has_a_key_of_its_own() {
        let (one, other) = (Keyed::default(), Keyed::default());

        assert_eq!(one.hash_one("user:a"), one.clone().hash_one("user:a"));
        assert_ne!(one.hash_one("user:a"), other.hash_one("user:a"));
    }
}
