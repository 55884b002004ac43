//! [`Lost`]: the fields of a request that can't be expressed.

use super::canonical::{Content, Part};

/// More names than any honest request loses, and few enough to look through.
const MAX_NAMES: usize = 64;

/// The longest name that is reported whole; clients choose names too.
const MAX_LENGTH: usize = 128;

/// The names of what was lost, each once.
///
/// Where there are too many the last one is `…`.
#[derive(Debug, Default)]
pub(crate) struct Lost(Vec<Box<str>>);

impl Lost {
    /// Notes that `field` could not be expressed.
    pub(crate) fn push(&mut self, field: &str) {
        let end = (0..=field.len().min(MAX_LENGTH)).rev().find(|at| field.is_char_boundary(*at));
        let field = &field[..end.unwrap_or(0)];
        if self.0.len() > MAX_NAMES || self.0.iter().any(|known| **known == *field) {
            return;
        }
        self.0.push(if self.0.len() < MAX_NAMES { field.into() } else { "…".into() });
    }

    /// Notes `field` if `lost` says so.
    pub(crate) fn push_if(&mut self, lost: bool, field: &str) {
        if lost {
            self.push(field);
        }
    }

    /// Notes how closely a picture was to be looked at, where that can't be said.
    pub(crate) fn push_detail(&mut self, part: &Part<'_>) {
        let is_picture = matches!(part.content, Content::Image(_));
        let says_something = part.detail.as_deref().is_some_and(|detail| detail != "auto");
        self.push_if(is_picture && says_something, "messages[].content[].image_url.detail");
    }

    /// Notes the name of a document, where there is no place for it.
    pub(crate) fn push_title(&mut self, title: Option<&str>) {
        self.push_if(title.is_some_and(|title| !title.is_empty()), "messages[].content[].file.filename");
    }

    /// All the names.
    pub(crate) fn into_names(self) -> Vec<Box<str>> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_reported_once() {
        let mut lost = Lost::default();

        lost.push("seed");
        lost.push("n");
        lost.push("seed");
        lost.push_if(false, "stop");

        assert_eq!(lost.into_names(), ["seed", "n"].map(Box::<str>::from));
    }

    #[test]
    fn what_clients_make_up_can_not_fill_the_report() {
        let mut lost = Lost::default();

        for number in 0..1000 {
            lost.push(&format!("{number}{}", "ü".repeat(1000)));
        }

        let names = lost.into_names();
        assert_eq!((names.len(), &*names[MAX_NAMES]), (MAX_NAMES + 1, "…"));
        assert!(names.iter().all(|name| name.len() <= MAX_LENGTH));
    }
}
