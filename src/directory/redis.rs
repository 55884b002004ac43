use std::{
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use super::{Change, Directory, Document, Revision, Section, Snapshot};
use crate::{
    BoxFuture, Error, Kind,
    ledger::redis::{RedisLedger, Shelf},
};

/// Documents beside the balances of a [`RedisLedger`], for all nodes that have the same server and prefix.
///
/// They are one hash, and a change is one script. Revisions go by the server's clock, so that a server which
/// has lost its data never comes to one again that a node knows. While Redis is away, nothing can be
/// changed, and what was read before stays in force.
#[derive(Clone)]
pub struct RedisDirectory(Shelf);

impl RedisDirectory {
    /// The directory beside `ledger`, with its connection and its timeout.
    pub fn new(ledger: &RedisLedger) -> Self {
        Self(ledger.shelf())
    }
}

impl fmt::Debug for RedisDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisDirectory")
    }
}

impl Directory for RedisDirectory {
    fn read(&self, known: Option<Revision>) -> BoxFuture<'_, Result<Option<Snapshot>, Error>> {
        Box::pin(async move {
            let Some((revision, texts)) = self.0.look(known.map(|known| known.0)).await? else {
                return Ok(None);
            };
            let mut documents = Vec::with_capacity(texts.len());
            for (name, text) in &texts {
                // What has no section is about all of them.
                if let Some((section, name)) = name.split_once('/') {
                    documents
                        .push(document(section, name, text).ok_or_else(|| not_a_document(section, name))?);
                }
            }
            documents.sort_by(|a, b| (a.section, &a.name).cmp(&(b.section, &b.name)));
            Ok(Some(Snapshot { revision: Revision(revision), documents }))
        })
    }

    fn write(&self, at: Revision, change: Change) -> BoxFuture<'_, Result<Option<Revision>, Error>> {
        Box::pin(async move {
            let Change { section, name, content } = change;
            let name = format!("{}/{name}", section.as_str());
            Ok(self.0.change(at.0, &name, content.as_deref()).await?.map(Revision))
        })
    }
}

/// A document from its version, the milliseconds at which it was changed, and its content.
fn document(section: &str, name: &str, text: &str) -> Option<Document> {
    let (version, rest) = text.split_once(' ')?;
    let (changed, content) = rest.split_once(' ')?;
    Some(Document {
        section: Section::named(section)?,
        name: name.into(),
        content: content.into(),
        version: Revision(version.parse().ok()?),
        changed: UNIX_EPOCH.checked_add(Duration::from_millis(changed.parse().ok()?))?,
    })
}

fn not_a_document(section: &str, name: &str) -> Error {
    Error::new(Kind::Internal, format!("the document `{section}/{name}` in redis can't be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_back_or_not_at_all() {
        let read = document("keys", "a/b", r#"17 1500 {"a": " "}"#).unwrap();

        assert_eq!((read.section, &*read.name, read.version), (Section::Keys, "a/b", Revision(17)));
        assert_eq!(&*read.content, r#"{"a": " "}"#);
        assert_eq!(read.changed, UNIX_EPOCH + Duration::from_millis(1_500));
        for (section, text) in
            [("keys", "17 1500"), ("keys", "x 1500 {}"), ("kyes", "17 1500 {}"), ("keys", "")]
        {
            assert!(document(section, "a", text).is_none(), "{section} {text}");
        }
    }
}
