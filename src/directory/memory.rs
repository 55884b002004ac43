use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use super::{Change, Directory, Document, Revision, Section, Snapshot};
use crate::{BoxFuture, Error, lock};

/// Documents in memory; they are gone with the process, and other nodes don't see them.
#[derive(Debug, Default)]
pub struct MemoryDirectory(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    revision: Revision,
    documents: BTreeMap<(Section, Arc<str>), Document>,
}

impl Held {
    fn read(&self, known: Option<Revision>) -> Option<Snapshot> {
        let snapshot =
            || Snapshot { revision: self.revision, documents: self.documents.values().cloned().collect() };
        (known != Some(self.revision)).then(snapshot)
    }

    fn write(&mut self, at: Revision, Change { section, name, content }: Change) -> Option<Revision> {
        if at != self.revision {
            return None;
        }
        self.revision.0 += 1;
        let version = self.revision;
        let place = (section, name.clone());
        match content {
            Some(content) => {
                let document = Document { section, name, content, version, changed: SystemTime::now() };
                self.documents.insert(place, document);
            }
            None => {
                self.documents.remove(&place);
            }
        }
        Some(version)
    }
}

impl Directory for MemoryDirectory {
    fn read(&self, known: Option<Revision>) -> BoxFuture<'_, Result<Option<Snapshot>, Error>> {
        let snapshot = lock(&self.0).read(known);
        Box::pin(async move { Ok(snapshot) })
    }

    fn write(&self, at: Revision, change: Change) -> BoxFuture<'_, Result<Option<Revision>, Error>> {
        Box::pin(async move { Ok(lock(&self.0).write(at, change)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_conforms() {
        super::super::conformance::directory(async || Arc::new(MemoryDirectory::default())).await;
    }
}
