use std::{error, fmt};

use super::{Audit, Entry};
use crate::Error;

/// How many entries are read at once.
const STEP: usize = 1_000;

/// The end of a chain: what is kept elsewhere, so that a chain that was cut or made anew is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last entry.
    pub number: u64,
    /// Its hash.
    pub hash: Box<str>,
}

impl From<&Entry> for Head {
    fn from(entry: &Entry) -> Self {
        Self { number: entry.number, hash: entry.hash.clone() }
    }
}

/// The first entry of a chain that doesn't fit, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its number, or the one that it should have.
    pub number: u64,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} {}", self.number, self.why)
    }
}

impl error::Error for Broken {}

/// Looks at the entries of a chain, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    last: Option<Head>,
    known: Option<Head>,
}

impl Verifier {
    /// Of a whole chain; if its end was once `known`, one that has it.
    pub fn new(known: Option<Head>) -> Self {
        Self { last: None, known }
    }

    /// Looks at the next entry.
    ///
    /// # Errors
    ///
    /// If it isn't what once was entered.
    pub fn check(&mut self, entry: &Entry) -> Result<(), Broken> {
        let expected = self.last.as_ref().map_or(0, |last| last.number) + 1;
        let broken = |why| Err(Broken { number: expected, why });
        if entry.number != expected {
            return broken("is missing, or stands elsewhere");
        }
        if !entry.is_sealed() {
            return broken("was changed: its hash is not that of what it says");
        }
        if !entry.continues(self.last.as_ref().map(|last| (last.number, &*last.hash))) {
            return broken("doesn't carry the hash of the one before");
        }
        let head = Head::from(entry);
        if self.known.as_ref().is_some_and(|known| known.number == expected && *known != head) {
            return broken("is not the one that is known: the chain was made anew");
        }
        self.last = Some(head);
        Ok(())
    }

    /// The end of the chain, when there are no more entries; `None` if there were none at all.
    ///
    /// # Errors
    ///
    /// If it doesn't reach to the end that is known.
    pub fn end(self) -> Result<Option<Head>, Broken> {
        let number = self.last.as_ref().map_or(0, |last| last.number) + 1;
        if self.known.is_some_and(|known| known.number >= number) {
            return Err(Broken { number, why: "is missing: the end of the chain was cut" });
        }
        Ok(self.last)
    }
}

/// Looks at all entries of a chain, and says how it ends; if its end was once `known`, whether it still has it.
///
/// # Errors
///
/// If the store could not be asked. The first entry that doesn't fit is in the inner result.
pub async fn verify(audit: &dyn Audit, known: Option<Head>) -> Result<Result<Option<Head>, Broken>, Error> {
    let mut verifier = Verifier::new(known);
    let mut next = 1;
    loop {
        let entries = audit.read(next, STEP).await?;
        for entry in &entries {
            if let Err(broken) = verifier.check(entry) {
                return Ok(Err(broken));
            }
        }
        if entries.is_empty() {
            return Ok(verifier.end());
        }
        next += entries.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::audit::{Event, EventKind};

    fn chain(length: usize) -> Vec<Entry> {
        let mut chain: Vec<Entry> = Vec::new();
        for number in 0..length {
            let event = Event::new(EventKind::Change, "me", "did").detail("number", number);
            chain.push(Entry::after(chain.last(), &event, UNIX_EPOCH));
        }
        chain
    }

    fn verdict(chain: &[Entry], known: Option<Head>) -> Result<Option<Head>, u64> {
        let mut verifier = Verifier::new(known);
        chain.iter().try_for_each(|entry| verifier.check(entry)).map_err(|broken| broken.number)?;
        verifier.end().map_err(|broken| broken.number)
    }

    #[test]
    fn any_byte_that_is_changed_is_noticed_where_it_is() {
        let whole = chain(3);
        assert_eq!(verdict(&whole, None), Ok(Some(Head::from(&whole[2]))));

        for (index, entry) in whole.iter().enumerate() {
            for at in 0..entry.text.len() {
                let mut changed = whole.clone();
                let mut bytes = entry.text.to_string().into_bytes();
                bytes[at] ^= 1;
                let Ok(text) = String::from_utf8(bytes) else { continue };
                changed[index].text = text.into();
                assert_eq!(verdict(&changed, None), Err(index as u64 + 1), "byte {at}");
            }
        }
    }

    #[test]
    fn what_is_missing_swapped_or_sealed_anew_is_noticed() {
        let whole = chain(4);

        let (mut without, mut swapped, mut forged) = (whole.clone(), whole.clone(), whole.clone());
        without.remove(1);
        swapped.swap(1, 2);
        let event = Event::new(EventKind::Change, "somebody else", "did");
        forged[1] = Entry::after(Some(&whole[0]), &event, UNIX_EPOCH);

        assert_eq!(verdict(&without, None), Err(2));
        assert_eq!(verdict(&without[1..], None), Err(1));
        assert_eq!(verdict(&swapped, None), Err(2));
        assert_eq!(verdict(&forged, None), Err(3));
    }

    #[test]
    fn an_end_that_was_cut_or_made_anew_is_noticed_by_who_knows_it() {
        let whole = chain(4);
        let known = Some(Head::from(&whole[3]));
        let mut forged = whole[..3].to_vec();
        let event = Event::new(EventKind::Change, "somebody else", "did");
        forged.push(Entry::after(forged.last(), &event, UNIX_EPOCH));

        assert!(verdict(&whole, known.clone()).is_ok());
        assert!(verdict(&whole[..3], None).is_ok() && verdict(&forged, None).is_ok());
        assert_eq!(verdict(&whole[..3], known.clone()), Err(4));
        assert_eq!(verdict(&forged, known.clone()), Err(4));
        assert_eq!(verdict(&[], known), Err(1));
    }
}
