//! [`Query`]: what stands behind the `?` of an address.

use crate::{Error, Kind, percent};

/// What stands behind the `?` of an address.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn new(query: &str) -> Self {
        let decoded = |text: &str| percent::decoded(&text.replace('+', " ")).into_owned();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A number, at least one and at most `most`.
    pub(crate) fn number(&self, name: &str, usual: usize, most: usize) -> Result<usize, Error> {
        let Some(text) = self.get(name) else { return Ok(usual) };
        text.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| {
            let message = format!("{name}: expected a number from 1 to {most}");
            Error::new(Kind::InvalidRequest, message).with_param(name)
        })
    }

    /// All but some.
    #[cfg(feature = "config")]
    pub(crate) fn without(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect())
    }

    /// Refuses what is none of `known`: a misspelt filter would show everything.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Error> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("unknown parameter `{name}`, expected one of {}", known.join(", "));
                Err(Error::new(Kind::InvalidRequest, message).with_param(name))
            }
        }
    }
}
