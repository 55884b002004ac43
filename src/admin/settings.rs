use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::{
    Error, Kind,
    auth::MemoryKeys,
    config::{Config, ConfigError, Place, Problem},
    directory::{Change, Directory, Document, Section, Snapshot},
};

/// How often a node looks whether another one has changed something.
const LOOK: Duration = Duration::from_secs(1);
/// How often a change is tried that others are quicker than.
const TRIES: usize = 20;

/// What is in force: the configuration's file, and what was set in a [`Directory`] besides.
///
/// Whatever changes, here or on another node, is put in force in the [`MemoryKeys`] that requests are
/// checked with. A change that contradicts what else there is changes nothing.
#[derive(Debug)]
pub struct Settings {
    directory: Arc<dyn Directory>,
    keys: Arc<MemoryKeys>,
    now: ArcSwap<InForce>,
    changing: Mutex<()>,
}

/// What is in force at one moment.
#[derive(Debug)]
pub(super) struct InForce {
    file: Config,
    snapshot: Snapshot,
    pub(super) config: Arc<Config>,
}

impl InForce {
    fn new(file: Config, snapshot: Snapshot) -> Result<Self, ConfigError> {
        let config = Arc::new(file.with(&snapshot.documents)?);
        Ok(Self { file, snapshot, config })
    }

    pub(super) fn is_of_file(&self, section: Section, name: &str) -> bool {
        self.file.has(section, name)
    }

    pub(super) fn document(&self, section: Section, name: &str) -> Option<&Document> {
        let found = self.snapshot.documents.iter().find(|one| one.section == section && *one.name == *name);
        found.filter(|_| !self.is_of_file(section, name))
    }

    /// Complains of what `change` would bring.
    fn check(&self, change: &Change) -> Result<(), Error> {
        let others = self
            .snapshot
            .documents
            .iter()
            .filter(|one| one.section != change.section || one.name != change.name);
        let changed = change.content.clone().map(|content| Document {
            section: change.section,
            name: change.name.clone(),
            content,
            version: self.snapshot.revision,
            changed: std::time::UNIX_EPOCH,
        });
        // Keys have no names in paths; this one is the last.
        let keys = others.clone().filter(|one| one.section == Section::Keys);
        let before = keys.filter(|one| !self.is_of_file(one.section, &one.name)).count();
        let (section, name) = (change.section.as_str(), &change.name);
        let paths = [
            format!("{section}.{name}."),
            format!("{section}.\"{name}\"."),
            format!("keys[{}].", self.file.keys.len() + before),
        ];
        self.file.with(others.chain(&changed)).map(drop).map_err(|error| refusal(&error, &paths))
    }
}

impl Settings {
    /// Puts `file` and what is in `directory` in force, in `keys`.
    ///
    /// # Errors
    ///
    /// If the directory can't be read, or contradicts the file; the message says all that is wrong.
    pub async fn open(
        file: Config,
        directory: Arc<dyn Directory>,
        keys: Arc<MemoryKeys>,
    ) -> Result<Self, Error> {
        let snapshot = directory.read(None).await?.unwrap_or_default();
        let now = InForce::new(file, snapshot)
            .map_err(|error| Error::new(Kind::Internal, error.to_string()).with_source(error))?;
        keys.replace(now.config.virtual_keys());
        Ok(Self { directory, keys, now: ArcSwap::from_pointee(now), changing: Mutex::default() })
    }

    /// Puts `file` in force, and leaves what is in `directory`, which can't be asked now, to
    /// [`follow`](Self::follow).
    ///
    /// # Errors
    ///
    /// If the file contradicts itself.
    pub fn without(
        file: Config,
        directory: Arc<dyn Directory>,
        keys: Arc<MemoryKeys>,
    ) -> Result<Self, ConfigError> {
        let now = InForce::new(file, Snapshot::default())?;
        keys.replace(now.config.virtual_keys());
        Ok(Self { directory, keys, now: ArcSwap::from_pointee(now), changing: Mutex::default() })
    }

    /// The configuration that is in force.
    pub fn config(&self) -> Arc<Config> {
        self.now.load().config.clone()
    }

    pub(super) fn now(&self) -> Arc<InForce> {
        self.now.load_full()
    }

    /// Puts another file in force.
    ///
    /// # Errors
    ///
    /// If what was set besides contradicts it; then nothing has changed.
    pub async fn replace(&self, file: Config) -> Result<(), ConfigError> {
        let _one = self.changing.lock().await;
        let snapshot = self.now.load().snapshot.clone();
        self.put(InForce::new(file, snapshot)?);
        Ok(())
    }

    /// Looks whether another node has changed something, and puts it in force.
    ///
    /// # Errors
    ///
    /// If the directory can't be read, or contradicts this node's file; then nothing has changed.
    pub async fn refresh(&self) -> Result<(), Error> {
        let _one = self.changing.lock().await;
        self.look().await
    }

    /// [Refreshes](Self::refresh) every second, for ever. What goes wrong is logged once.
    pub async fn follow(self: Arc<Self>) {
        let mut complained = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let complaint = self.refresh().await.err().map(|error| error.message().to_owned());
            if let Some(error) = complaint.as_ref().filter(|_| complained != complaint) {
                tracing::error!(%error, "what was set on other nodes is not in force here");
            }
            complained = complaint;
        }
    }

    async fn look(&self) -> Result<(), Error> {
        let now = self.now.load_full();
        if let Some(snapshot) = self.directory.read(Some(now.snapshot.revision)).await? {
            let next = InForce::new(now.file.clone(), snapshot);
            self.put(next.map_err(|error| Error::new(Kind::Internal, error.to_string()))?);
        }
        Ok(())
    }

    fn put(&self, next: InForce) {
        self.keys.replace(next.config.virtual_keys());
        self.now.store(Arc::new(next));
    }

    /// Makes the change that `decide` wants when it sees what is in force, and returns what is then.
    pub(super) async fn change(
        &self,
        mut decide: impl FnMut(&InForce) -> Result<Option<Change>, Error>,
    ) -> Result<Arc<InForce>, Error> {
        let _one = self.changing.lock().await;
        for _ in 0..TRIES {
            self.look().await?;
            let now = self.now.load_full();
            let Some(change) = decide(&now)? else { return Ok(now) };
            now.check(&change)?;
            if self.directory.write(now.snapshot.revision, change).await?.is_some() {
                self.look().await?;
                return Ok(self.now.load_full());
            }
        }
        Err(Error::new(Kind::Conflict, "others change the same all the time; try again"))
    }
}

/// What a client is told of a change that can't be made; what it has sent is at one of `paths`.
fn refusal(error: &ConfigError, paths: &[String]) -> Error {
    let said = |problem: &Problem| match &problem.place {
        Place::Value(path) => {
            let inside = paths.iter().find_map(|own| path.strip_prefix(own.as_str()));
            format!("{}: {}", inside.unwrap_or(path), problem.message)
        }
        _ => problem.message.clone(),
    };
    let problems: Vec<_> = error.problems.iter().map(said).collect();
    Error::new(Kind::InvalidRequest, problems.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::{KeyDigest, KeyStore, Lookup},
        directory::MemoryDirectory,
    };

    fn file(text: &str) -> Config {
        Config::read(text, "f", &|_| None).unwrap()
    }

    const FILE: &str = "admin: { key: 0123456789abcdef }\nteams: { t: {} }\n";

    async fn node(directory: &Arc<MemoryDirectory>) -> (Settings, Arc<MemoryKeys>) {
        let keys = Arc::new(MemoryKeys::default());
        (Settings::open(file(FILE), directory.clone(), keys.clone()).await.unwrap(), keys)
    }

    fn key(team: &str) -> Change {
        let sha256 = KeyDigest::of("the key");
        let content = format!(r#"{{"name":"a","sha256":"{sha256}","team":"{team}"}}"#);
        Change::put(Section::Keys, "a", content)
    }

    fn knows(keys: &MemoryKeys) -> bool {
        matches!(keys.find(&KeyDigest::of("the key")), Lookup::Known(Some(_)))
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_node_changes_is_in_force_on_all_within_two_seconds() {
        let directory = Arc::default();
        let (one, other) = (node(&directory).await, node(&directory).await);
        let following = tokio::spawn(Arc::new(other.0).follow());

        one.0.change(|_| Ok(Some(key("t")))).await.unwrap();

        assert!(knows(&one.1) && !knows(&other.1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(knows(&other.1));
        following.abort();
    }

    #[tokio::test]
    async fn a_change_that_contradicts_what_there_is_changes_nothing() {
        let directory = Arc::default();
        let (settings, keys) = node(&directory).await;

        let refused = settings.change(|_| Ok(Some(key("nobody")))).await.unwrap_err();

        assert_eq!(refused.kind(), Kind::InvalidRequest);
        assert!(refused.message().starts_with("team: unknown team `nobody`"), "{}", refused.message());
        assert!(!knows(&keys));
        assert!(directory.read(None).await.unwrap().unwrap().documents.is_empty());
    }

    #[tokio::test]
    async fn a_file_that_contradicts_what_was_set_is_refused_and_others_keep_it() {
        let directory = Arc::default();
        let (settings, keys) = node(&directory).await;
        settings.change(|_| Ok(Some(key("t")))).await.unwrap();

        let without_team = file("admin: { key: 0123456789abcdef }\n");
        let with_another = file("admin: { key: 0123456789abcdef }\nteams: { t: {}, u: {} }\n");

        assert!(settings.replace(without_team).await.unwrap_err().to_string().contains("unknown team `t`"));
        assert!(settings.config().teams.len() == 1 && knows(&keys));
        settings.replace(with_another).await.unwrap();
        assert!(settings.config().teams.len() == 2 && knows(&keys));
    }

    #[tokio::test]
    async fn of_two_nodes_that_change_at_once_both_see_what_the_other_did() {
        let directory = Arc::default();
        let (one, other) = (node(&directory).await, node(&directory).await);

        let team = Change::put(Section::Teams, "u", "{}");
        one.0.change(|_| Ok(Some(team.clone()))).await.unwrap();
        let seen = other.0.change(|_| Ok(Some(key("u")))).await.unwrap();

        assert!(seen.config.teams.contains_key("u") && knows(&other.1));
    }
}
