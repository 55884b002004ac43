//! [`Lost`]: the fields of a request that can't be expressed.

/// The names of what was lost, each once.
#[derive(Debug, Default)]
pub(super) struct Lost(Vec<Box<str>>);

impl Lost {
    /// Notes that `field` could not be expressed.
    pub(super) fn push(&mut self, field: &str) {
        if !self.0.iter().any(|known| **known == *field) {
            self.0.push(field.into());
        }
    }

    /// Notes `field` if `lost` says so.
    pub(super) fn push_if(&mut self, lost: bool, field: &str) {
        if lost {
            self.push(field);
        }
    }

    /// All the names.
    pub(super) fn into_names(self) -> Vec<Box<str>> {
        self.0
    }
}
