use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Mutex,
};

use jiff::tz::TimeZone;

use crate::lock;

/// A time zone, by its name in the database of them: `Europe/Berlin`.
///
/// The rules are those of the machine where it has any, and otherwise those that came with the program.
#[derive(Clone, Copy)]
pub struct Zone(&'static Known);

struct Known {
    name: Box<str>,
    rules: TimeZone,
}

/// There are a few hundred zones, and each is kept once: periods are compared and copied all the time.
static KNOWN: Mutex<BTreeMap<Box<str>, Zone>> = Mutex::new(BTreeMap::new());

impl Zone {
    /// The name.
    pub fn as_str(&self) -> &'static str {
        &self.0.name
    }

    pub(crate) fn rules(&self) -> TimeZone {
        self.0.rules.clone()
    }
}

impl FromStr for Zone {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a time zone is called as in the database of them, such as Europe/Berlin";
        let rules = TimeZone::get(name).map_err(|_| FORM)?;
        // As it is written there, whatever the case was.
        let name = Box::<str>::from(rules.iana_name().ok_or(FORM)?);
        let mut known = lock(&KNOWN);
        if let Some(zone) = known.get(&name) {
            return Ok(*zone);
        }
        let zone = Self(Box::leak(Box::new(Known { name: name.clone(), rules })));
        known.insert(name, zone);
        Ok(zone)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Zone {}

impl PartialOrd for Zone {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Zone {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_known_by_its_name_and_kept_once() {
        let one: Zone = "Europe/Berlin".parse().unwrap();
        let other: Zone = "europe/berlin".parse().unwrap();

        assert_eq!((one, one.as_str()), (other, "Europe/Berlin"));
        assert!(std::ptr::eq(one.0, other.0));
        assert_ne!(one, "America/New_York".parse().unwrap());
        assert!("Europe/Berlim".parse::<Zone>().is_err() && "".parse::<Zone>().is_err());
    }
}
