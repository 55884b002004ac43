use std::{borrow::Borrow, collections::HashMap, hash::Hash};

/// A map that forgets what was not used for longest.
///
/// When it is full, a tenth goes at once, so that looking for the oldest costs little for each that comes.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    most: usize,
    entries: HashMap<K, (V, u64)>,
    uses: u64,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Room for `most` entries.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, entries: HashMap::new(), uses: 0 }
    }

    pub(crate) fn get<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.uses += 1;
        let (value, used) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value)
    }

    pub(crate) fn get_or(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        if self.entries.len() >= self.most && !self.entries.contains_key(&key) {
            self.make_room();
        }
        self.uses += 1;
        let (value, used) = self.entries.entry(key).or_insert_with(|| (new(), 0));
        *used = self.uses;
        value
    }

    fn make_room(&mut self) {
        let mut uses: Vec<u64> = self.entries.values().map(|(_, used)| *used).collect();
        let (_, last, _) = uses.select_nth_unstable(self.most / 10);
        let last = *last;
        self.entries.retain(|_, (_, used)| *used > last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let mut recent = Recent::new(100);
        for number in 0..100 {
            recent.get_or(number, || number);
        }
        assert_eq!(recent.get(&0), Some(&mut 0));

        recent.get_or(100, || 100);

        assert_eq!(recent.entries.len(), 90);
        assert!(recent.get(&0).is_some() && recent.get(&100).is_some());
        assert!(recent.get(&1).is_none() && recent.get(&11).is_none() && recent.get(&12).is_some());
    }
}
