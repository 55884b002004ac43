use std::{fmt, time::SystemTime};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Event;

/// The members of an entry, besides its hash.
const MEMBERS: [&str; 9] = ["at", "details", "from", "id", "kind", "number", "previous", "what", "who"];
/// What the first entry carries.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// An event in the chain, as it is kept; see the [module](super) for its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: u64,
    /// The SHA-256 of `text`, as 64 hexadecimal digits.
    pub hash: Box<str>,
    /// All else, as canonical JSON.
    pub text: Box<str>,
}

/// A text that is not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnEntry;

impl fmt::Display for NotAnEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an entry in its canonical form")
    }
}

impl std::error::Error for NotAnEntry {}

impl Entry {
    /// The entry of `event` behind `last`.
    pub fn after(last: Option<&Self>, event: &Event, at: SystemTime) -> Self {
        let number = last.map_or(0, |last| last.number) + 1;
        let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
        let Event { id, kind, who, from, what, details, once: _ } = event;
        let text = canonical(&json!({
            "number": number,
            "id": id,
            "at": format!("{at:.3}"),
            "kind": kind.as_str(),
            "who": who,
            "from": from.map(|from| from.to_string()),
            "what": what,
            "details": details,
            "previous": last.map_or(NOTHING, |last| &last.hash),
        }));
        Self { number, hash: hash(&text), text: text.into() }
    }

    /// A line of an export.
    ///
    /// # Errors
    ///
    /// If it is not in the form that [`json`](Self::json) has; whether its hash is right is not looked at.
    pub fn read(line: &str) -> Result<Self, NotAnEntry> {
        let mut fields: Map<String, Value> = serde_json::from_str(line).map_err(|_| NotAnEntry)?;
        let Some(Value::String(hash)) = fields.remove("hash") else { return Err(NotAnEntry) };
        let number = fields.get("number").and_then(Value::as_u64).ok_or(NotAnEntry)?;
        let entry = Self { number, hash: hash.into(), text: canonical(&Value::Object(fields)).into() };
        if entry.json() == line { Ok(entry) } else { Err(NotAnEntry) }
    }

    /// All of it as one line of canonical JSON.
    pub fn json(&self) -> String {
        canonical(&self.value())
    }

    /// All of it; of one that was damaged the number and the hash, and that it is `damaged`.
    pub fn value(&self) -> Value {
        let mut value = match self.fields() {
            Some(fields) => Value::Object(fields),
            None => json!({ "number": self.number, "damaged": true }),
        };
        value["hash"] = (*self.hash).into();
        value
    }

    /// What is hashed, if it has all that belongs to it and nothing else.
    pub(super) fn fields(&self) -> Option<Map<String, Value>> {
        let fields: Map<String, Value> = serde_json::from_str(&self.text).ok()?;
        let is_whole =
            fields.len() == MEMBERS.len() && MEMBERS.iter().all(|member| fields.contains_key(*member));
        is_whole.then_some(fields)
    }

    /// Whether the hash is that of the text.
    pub(super) fn is_sealed(&self) -> bool {
        hash(&self.text) == self.hash
    }

    /// Whether it carries the number and the hash that follow from `last`.
    pub(super) fn continues(&self, last: Option<(u64, &str)>) -> bool {
        let (number, previous) = last.unwrap_or((0, NOTHING));
        let is_next = |fields: Map<String, Value>| {
            fields["number"].as_u64() == Some(self.number) && fields["previous"] == previous
        };
        Some(self.number) == number.checked_add(1) && self.fields().is_some_and(is_next)
    }

    /// Whether it is about `event`.
    pub(super) fn is_of(&self, event: &Event) -> bool {
        self.fields().is_some_and(|fields| fields["id"] == *event.id)
    }

    /// Whether it may stand behind `last`.
    pub(super) fn follows(&self, last: Option<&Self>) -> bool {
        self.continues(last.map(|last| (last.number, &*last.hash)))
    }

    /// The hash of the one before it.
    #[cfg(any(feature = "redis", feature = "postgres"))]
    pub(crate) fn previous(&self) -> Box<str> {
        let fields = self.fields().unwrap_or_default();
        fields.get("previous").and_then(Value::as_str).unwrap_or_default().into()
    }
}

fn hash(text: &str) -> Box<str> {
    use fmt::Write;

    let digest: [u8; 32] = Sha256::digest(text).into();
    let mut hash = String::with_capacity(64);
    for byte in digest {
        // Writing to a string does not fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash.into()
}

/// As RFC 8785 has it, for values whose numbers are whole. The order in which a map of `serde_json` has its members
/// depends on a feature that other crates may set.
fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut members: Vec<_> = fields.iter().collect();
            members.sort_unstable_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            text.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                write(value, text);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::audit::EventKind;

    fn event() -> Event {
        let address = Some([10, 0, 0, 7].into());
        let event = Event::new(EventKind::Change, "é \"you\"\n\u{1}", "made").from(address);
        Event { id: "17".into(), ..event.detail("b", 0.5).detail("a", 7) }
    }

    #[test]
    fn an_entry_is_written_as_its_form_says() {
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        let first = Entry::after(None, &event(), at);

        assert_eq!(
            &*first.text,
            concat!(
                r#"{"at":"1970-01-01T00:00:01.500Z","details":{"a":7,"b":"0.5"},"from":"10.0.0.7","#,
                r#""id":"17","kind":"change","number":1,"#,
                r#""previous":"0000000000000000000000000000000000000000000000000000000000000000","#,
                r#""what":"made","who":"é \"you\"\n\u0001"}"#
            )
        );
        // sha256sum of that text.
        assert_eq!(&*first.hash, "d548721a0cb833eb5f7ba0ff1a1d438bf557385685134e03ce4e0c3082bc1879");
        assert!(first.json().contains(&format!(r#""from":"10.0.0.7","hash":"{}","id""#, first.hash)));
    }

    #[test]
    fn a_line_is_read_back_in_its_own_form_only() {
        let first = Entry::after(None, &event(), UNIX_EPOCH);
        let second = Entry::after(Some(&first), &event(), UNIX_EPOCH);
        let line = second.json();

        assert_eq!(Entry::read(&line), Ok(second.clone()));
        assert!(second.follows(Some(&first)) && !second.follows(None) && first.follows(None));
        for wrong in [format!(" {line}"), line.replacen(':', ": ", 1), line.replacen("{", "{\"at\":1,", 1)] {
            assert_eq!(Entry::read(&wrong), Err(NotAnEntry), "{wrong}");
        }
    }
}
