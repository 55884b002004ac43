use std::ops::Range;

use http::HeaderMap;

use super::object::Object;
use crate::dialect::lost::Lost;

/// A place in a request's text, and what is to stand there.
pub(super) type Edit = (Range<usize>, String);

/// What is to be changed in a request's text, and what is lost by it.
#[derive(Debug)]
pub struct Changes<'a> {
    text: &'a str,
    headers: &'a HeaderMap,
    edits: Vec<Edit>,
    pub(super) lost: Lost,
}

impl<'a> Changes<'a> {
    pub(super) fn new(text: &'a str, headers: &'a HeaderMap) -> Self {
        Self { text, headers, edits: Vec::new(), lost: Lost::default() }
    }

    /// The value of a header of the request.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Writes `with` in the place of `part`, which is a slice of the request.
    pub fn replace(&mut self, part: &str, with: impl Into<String>) {
        let at = self.at(part);
        self.edit(at, with);
    }

    /// Writes a member of an object anew, under another name; `value` is JSON.
    pub fn rewrite(&mut self, object: &Object<'_>, name: &str, new_name: &str, value: &str) {
        if let Some(member) = object.members().iter().find(|member| *member.name == *name) {
            self.replace(member.key, format!("\"{new_name}\""));
            self.replace(member.value, value);
        }
    }

    /// Adds a member to an object of the request; `value` is JSON.
    pub fn add(&mut self, object: &Object<'_>, name: &str, value: &str) {
        // Every message, tool and part has a member before which there is room.
        if let Some(first) = object.members().first() {
            let at = self.at(first.key).start;
            self.edit(at..at, format!("\"{name}\":{value},"));
        }
    }

    /// Reports a field as lost.
    pub fn lose(&mut self, field: &str) {
        self.lost.push(field);
    }

    /// The edits in their order, and the names of what is lost. Of two edits in one place the first one
    /// that was made stays.
    pub(super) fn finish(self) -> (Vec<Edit>, Vec<Box<str>>) {
        let mut kept: Vec<Edit> = Vec::with_capacity(self.edits.len());
        for (at, with) in self.edits {
            let place = kept.partition_point(|(other, _)| (other.start, other.end) < (at.start, at.end));
            let is_free = kept[..place].last().is_none_or(|(before, _)| before.end <= at.start)
                && kept.get(place).is_none_or(|(after, _)| at.end <= after.start && *after != at);
            if is_free {
                kept.insert(place, (at, with));
            }
        }
        (kept, self.lost.into_names())
    }

    pub(super) fn edit(&mut self, at: Range<usize>, with: impl Into<String>) {
        self.edits.push((at, with.into()));
    }

    /// Where a slice of the request stands.
    pub(super) fn at(&self, part: &str) -> Range<usize> {
        crate::dialect::json::span(self.text, part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_edits_never_meet_in_one_place() {
        let text = r#"{"a":1,"b":2}"#;
        let object = Object::read(text).unwrap();
        let headers = HeaderMap::new();
        let mut changes = Changes::new(text, &headers);

        changes.edit(1..7, "");
        changes.replace(object.get("a").unwrap(), "3");
        changes.replace(object.get("b").unwrap(), "4");
        changes.add(&object, "c", "5");
        changes.replace(object.get("b").unwrap(), "6");

        let (edits, _) = changes.finish();
        let expected = [(1..1, "\"c\":5,"), (1..7, ""), (11..12, "4")];
        assert_eq!(edits, expected.map(|(at, with)| (at, with.to_owned())));
    }
}
