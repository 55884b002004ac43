use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use tokio::{sync::Mutex, time::timeout};

use super::audited::By;
use crate::{
    BoxError, BoxFuture, Error, Kind,
    audit::{Event, EventKind, Trail},
    auth::MemoryKeys,
    config::{Config, ConfigError, LeftOut, Place, Problem},
    directory::{Change, Directory, Document, Section, Snapshot},
};

/// How often a node looks whether another one has changed something.
const LOOK: Duration = Duration::from_secs(1);
/// How long it waits at most until it looks again when the directory can't be asked.
const LONGEST: Duration = Duration::from_secs(8);
/// How long a directory may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a change is tried that others are quicker than.
const TRIES: usize = 20;
/// How long it is remembered that a key has expired.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// What is in force: the configuration's file, and what was set in a [`Directory`] besides.
///
/// Whatever changes, here or on another node, is put in force in the [`MemoryKeys`] that requests are
/// checked with. A change that contradicts what else there is changes nothing. What was set before and is
/// contradicted by the file, such as a key in a team that isn't there any more, is out of force, and told.
pub struct Settings {
    directory: Arc<dyn Directory>,
    keys: Arc<MemoryKeys>,
    apply: Option<Apply>,
    trail: Option<Trail>,
    now: ArcSwap<InForce>,
    /// Whether prices are in force that could not be applied yet.
    is_behind: AtomicBool,
    changing: Mutex<()>,
}

/// Puts in force what is not about keys.
type Apply = Box<dyn Fn(&Config) -> Result<(), BoxError> + Send + Sync>;

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// What is in force at one moment.
#[derive(Debug)]
pub(super) struct InForce {
    file: Config,
    snapshot: Snapshot,
    pub(super) config: Arc<Config>,
    /// What was set and is not in force.
    pub(super) left_out: Vec<LeftOut>,
    /// When the file was put in force.
    pub(super) loaded: SystemTime,
}

impl InForce {
    fn new(file: Config, snapshot: Snapshot) -> Result<Self, ConfigError> {
        let (config, left_out) = file.join(&snapshot.documents)?;
        Ok(Self { file, snapshot, config: Arc::new(config), left_out, loaded: SystemTime::now() })
    }

    pub(super) fn is_of_file(&self, section: Section, name: &str) -> bool {
        self.file.has(section, name)
    }

    pub(super) fn document(&self, section: Section, name: &str) -> Option<&Document> {
        let found = self.snapshot.documents.iter().find(|one| one.section == section && *one.name == *name);
        found.filter(|_| !self.is_of_file(section, name))
    }

    /// Why an entry is not in force, if it isn't.
    pub(super) fn left_out(&self, section: Section, name: &str) -> Option<&LeftOut> {
        self.left_out.iter().find(|one| one.section == section && one.name == name)
    }

    /// What is out of force here and was not `before`.
    fn newly_left_out<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a LeftOut> {
        self.left_out.iter().filter(|one| before.left_out(one.section, &one.name).is_none())
    }

    /// Complains of what `change` would bring.
    fn check(&self, change: &Change) -> Result<(), Error> {
        let mut documents = self.snapshot.documents.clone();
        documents.retain(|one| one.section != change.section || one.name != change.name);
        documents.extend(change.content.clone().map(|content| Document {
            section: change.section,
            name: change.name.clone(),
            content,
            version: self.snapshot.revision,
            changed: std::time::UNIX_EPOCH,
        }));
        let snapshot = Snapshot { revision: self.snapshot.revision, documents };
        let wrong = |error: ConfigError| Error::new(Kind::Internal, error.to_string());
        let next = Self::new(self.file.clone(), snapshot).map_err(wrong)?;
        if let Some(LeftOut { why, .. }) = next.left_out(change.section, &change.name) {
            return Err(Error::new(Kind::InvalidRequest, why.as_str()));
        }
        match next.newly_left_out(self).next() {
            None => Ok(()),
            Some(LeftOut { section, name, why }) => {
                let message = format!("the {} `{name}` would be out of force: {why}", section.singular());
                Err(Error::new(Kind::Conflict, message))
            }
        }
    }
}

impl Settings {
    /// Puts `file` and what is in `directory` in force, in `keys`. What `file` doesn't allow is out of force, and
    /// logged.
    ///
    /// # Errors
    ///
    /// If the directory can't be read, or the file contradicts itself.
    pub async fn open(
        file: Config,
        directory: Arc<dyn Directory>,
        keys: Arc<MemoryKeys>,
    ) -> Result<Self, Error> {
        let snapshot = answered(directory.read(None)).await?.unwrap_or_default();
        let now = InForce::new(file, snapshot)
            .map_err(|error| Error::new(Kind::Internal, error.to_string()).with_source(error))?;
        now.left_out.iter().for_each(warn);
        Ok(Self::of(now, directory, keys))
    }

    fn of(now: InForce, directory: Arc<dyn Directory>, keys: Arc<MemoryKeys>) -> Self {
        keys.replace(now.config.virtual_keys());
        Self {
            directory,
            keys,
            apply: None,
            trail: None,
            now: ArcSwap::from_pointee(now),
            is_behind: AtomicBool::new(false),
            changing: Mutex::default(),
        }
    }

    /// Calls `apply` now, and whenever there is another file or another price, before it is in force: for the
    /// routing table, and whatever else is made of the configuration. What it refuses is not put in force, so it
    /// has to leave all as it was then.
    ///
    /// # Errors
    ///
    /// Those of `apply`.
    pub fn apply(
        self,
        apply: impl Fn(&Config) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Result<Self, BoxError> {
        apply(&self.config())?;
        Ok(Self { apply: Some(Box::new(apply)), ..self })
    }

    /// Enters every change in `trail` before it is made, and refuses those that can't be entered. So each change is
    /// there wherever changes and entries are kept; one that was entered and then not made, because another node was
    /// quicker or the directory did not answer, has a second entry that says so. Keys that expire are entered too.
    #[must_use]
    pub fn audit(self, trail: Trail) -> Self {
        Self { trail: Some(trail), ..self }
    }

    pub(super) fn trail(&self) -> Option<&Trail> {
        self.trail.as_ref()
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
        Ok(Self::of(now, directory, keys))
    }

    /// The configuration that is in force.
    pub fn config(&self) -> Arc<Config> {
        self.now.load().config.clone()
    }

    /// The configuration's file alone, as it is in force.
    pub fn file(&self) -> Config {
        self.now.load().file.clone()
    }

    pub(super) fn now(&self) -> Arc<InForce> {
        self.now.load_full()
    }

    /// Puts another file in force.
    ///
    /// # Errors
    ///
    /// If it puts something out of force that was set besides, or [can't be applied](Self::apply); then nothing
    /// has changed.
    pub async fn replace(&self, file: Config) -> Result<(), ConfigError> {
        let _one = self.changing.lock().await;
        let now = self.now.load_full();
        let next = InForce::new(file, now.snapshot.clone())?;
        let lost = next.newly_left_out(&now).map(|LeftOut { section, name, why }| Problem {
            place: Place::Value(format!("{}.\"{name}\"", section.as_str())),
            message: why.clone(),
        });
        let problems: Vec<_> = lost.collect();
        if !problems.is_empty() {
            return Err(ConfigError { file: "what was set by the API".to_owned(), problems });
        }
        self.apply_to(&next).map_err(|error| ConfigError {
            file: "the configuration".to_owned(),
            problems: vec![Problem { place: Place::File, message: error.to_string() }],
        })?;
        self.put(next);
        Ok(())
    }

    /// Looks whether another node has changed something, and puts it in force.
    ///
    /// # Errors
    ///
    /// If the directory can't be read; then nothing has changed. If prices can't be applied; then all else is in force,
    /// and the prices are tried again the next time.
    pub async fn refresh(&self) -> Result<(), Error> {
        let _one = self.changing.lock().await;
        self.look().await?;
        self.catch_up()
    }

    /// [Refreshes](Self::refresh) every second, for ever; less often while the directory can't be read. What was
    /// in force stays so meanwhile.
    pub async fn follow(self: Arc<Self>) {
        let (mut pause, mut looked) = (LOOK, SystemTime::now());
        loop {
            tokio::time::sleep(pause).await;
            self.note_expired(&mut looked);
            pause = match (self.refresh().await, pause == LOOK) {
                (Ok(()), true) => LOOK,
                (Ok(()), false) => {
                    tracing::info!("what was set on other nodes is in force here again");
                    LOOK
                }
                (Err(error), is_new) => {
                    if is_new {
                        tracing::warn!(%error, "what was set on other nodes is not in force here yet");
                    }
                    (pause * 2).min(LONGEST)
                }
            };
        }
    }

    /// Enters which keys have expired since it was `looked` the last time.
    fn note_expired(&self, looked: &mut SystemTime) {
        let now = SystemTime::now();
        let since = std::mem::replace(looked, now);
        let Some(trail) = &self.trail else { return };
        for key in &self.config().keys {
            let Some(at) = key.expires.map(|at| *at).filter(|at| (since..now).contains(at)) else { continue };
            let at = at.duration_since(UNIX_EPOCH).map_or(0, |at| at.as_secs());
            let event =
                Event::new(EventKind::Key, "the gateway", format!("the key `{}` has expired", key.name))
                    .detail("section", Section::Keys.as_str())
                    .detail("name", key.name.as_str())
                    .detail("action", "expired");
            trail.note(event.once(format!("audit:expired:{}:{at}", key.name), MONTH));
        }
    }

    async fn look(&self) -> Result<(), Error> {
        let now = self.now.load_full();
        if let Some(snapshot) = answered(self.directory.read(Some(now.snapshot.revision))).await? {
            let next = InForce::new(now.file.clone(), snapshot);
            let next = next.map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
            let next = InForce { loaded: now.loaded, ..next };
            next.newly_left_out(&now).for_each(warn);
            if next.config.prices != now.config.prices {
                self.is_behind.store(true, Ordering::Relaxed);
            }
            // A key that was revoked is so whatever becomes of prices.
            self.put(next);
        }
        Ok(())
    }

    /// Applies prices that have changed.
    fn catch_up(&self) -> Result<(), Error> {
        if !self.is_behind.load(Ordering::Relaxed) {
            return Ok(());
        }
        let wrong = |error: BoxError| {
            Error::new(Kind::Internal, format!("prices can't be applied, those before stay: {error}"))
        };
        self.apply_to(&self.now.load_full()).map_err(wrong)
    }

    fn apply_to(&self, next: &InForce) -> Result<(), BoxError> {
        self.apply.as_ref().map_or(Ok(()), |apply| apply(&next.config))?;
        self.is_behind.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn put(&self, next: InForce) {
        self.keys.replace(next.config.virtual_keys());
        self.now.store(Arc::new(next));
    }

    /// Makes the change that `decide` wants when it sees what is in force, and returns what is then.
    pub(super) async fn change(
        &self,
        by: &By,
        mut decide: impl FnMut(&InForce) -> Result<Option<Change>, Error>,
    ) -> Result<Arc<InForce>, Error> {
        let _one = self.changing.lock().await;
        for _ in 0..TRIES {
            self.look().await?;
            let now = self.now.load_full();
            let Some(change) = decide(&now)? else { return Ok(now) };
            now.check(&change)?;
            let entered = match &self.trail {
                Some(trail) => Some(by.enter(trail, &now, &change).await?),
                None => None,
            };
            let is_made = answered(self.directory.write(now.snapshot.revision, change)).await?.is_some();
            if let Some(entered) = entered {
                entered.tell(is_made);
            }
            if is_made {
                let prices = now.config.prices.clone();
                self.look().await?;
                let now = self.now.load_full();
                if now.config.prices != prices {
                    self.catch_up()?;
                }
                return Ok(now);
            }
        }
        Err(Error::new(Kind::Conflict, "others change the same all the time; try again"))
    }
}

/// What a directory answers, in time.
async fn answered<T>(asked: BoxFuture<'_, Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Error::new(Kind::Timeout, "what was set can't be read: the store doesn't answer");
    timeout(PATIENCE, asked).await.map_err(late)?
}

/// Tells the operator of what is out of force.
fn warn(LeftOut { section, name, why }: &LeftOut) {
    tracing::warn!(section = section.as_str(), name, why, "out of force: what was set contradicts the file");
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::atomic::{AtomicU8, Ordering},
    };

    use super::*;
    use crate::{
        audit::{Added, Audit, MemoryAudit},
        auth::{KeyDigest, KeyStore, Lookup},
        directory::{MemoryDirectory, Revision},
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

        one.0.change(&By::somebody(), |_| Ok(Some(key("t")))).await.unwrap();

        assert!(knows(&one.1) && !knows(&other.1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(knows(&other.1));
        following.abort();
    }

    #[tokio::test]
    async fn a_change_that_contradicts_what_there_is_changes_nothing() {
        let directory = Arc::default();
        let (settings, keys) = node(&directory).await;

        let refused = settings.change(&By::somebody(), |_| Ok(Some(key("nobody")))).await.unwrap_err();

        assert_eq!(refused.kind(), Kind::InvalidRequest);
        assert!(refused.message().starts_with("team: unknown team `nobody`"), "{}", refused.message());
        assert!(!knows(&keys));
        assert!(directory.read(None).await.unwrap().unwrap().documents.is_empty());
    }

    #[tokio::test]
    async fn a_file_that_contradicts_what_was_set_is_refused_and_others_keep_it() {
        let directory = Arc::default();
        let (settings, keys) = node(&directory).await;
        settings.change(&By::somebody(), |_| Ok(Some(key("t")))).await.unwrap();

        let without_team = file("admin: { key: 0123456789abcdef }\n");
        let with_another = file("admin: { key: 0123456789abcdef }\nteams: { t: {}, u: {} }\n");

        assert!(settings.replace(without_team).await.unwrap_err().to_string().contains("unknown team `t`"));
        assert!(settings.config().teams.len() == 1 && knows(&keys));
        settings.replace(with_another).await.unwrap();
        assert!(settings.config().teams.len() == 2 && knows(&keys));
    }

    #[tokio::test]
    async fn what_the_file_does_not_allow_any_more_is_out_of_force_and_all_else_starts() {
        let directory: Arc<MemoryDirectory> = Arc::default();
        let (settings, _) = node(&directory).await;
        settings.change(&By::somebody(), |_| Ok(Some(key("t")))).await.unwrap();
        let team = Change::put(Section::Teams, "u", "{}");
        settings.change(&By::somebody(), |_| Ok(Some(team.clone()))).await.unwrap();

        let keys = Arc::new(MemoryKeys::default());
        let without_team = file("admin: { key: 0123456789abcdef }\n");
        let settings = Settings::open(without_team, directory.clone(), keys.clone()).await.unwrap();

        assert!(!knows(&keys) && settings.config().teams.contains_key("u"));
        let left_out = settings.now().left_out[0].clone();
        assert_eq!(
            (left_out.name, left_out.why),
            ("a".into(), "team: unknown team `t`, did you mean `u`?".into())
        );
        // What is out of force stops no change, and comes back when it is put right.
        settings.change(&By::somebody(), |_| Ok(Some(Change::put(Section::Teams, "v", "{}")))).await.unwrap();
        settings.change(&By::somebody(), |_| Ok(Some(key("u")))).await.unwrap();
        assert!(knows(&keys) && settings.now().left_out.is_empty());
        let refused = settings
            .change(&By::somebody(), |_| Ok(Some(Change::delete(Section::Teams, "u"))))
            .await
            .unwrap_err();
        assert!(refused.message().starts_with("the key `a` would be out of force"), "{refused}");
    }

    /// A directory that can be taken away: it refuses, or doesn't answer.
    #[derive(Debug, Default)]
    struct Distant {
        directory: Arc<MemoryDirectory>,
        away: AtomicU8,
        asked: AtomicU8,
    }

    const REFUSES: u8 = 1;
    const HANGS: u8 = 2;
    /// Somebody else has written, this once.
    const QUICKER: u8 = 3;
    /// It can be read, and doesn't say what became of what was written.
    const FORGETS: u8 = 4;

    impl Directory for Distant {
        fn read(&self, known: Option<Revision>) -> BoxFuture<'_, Result<Option<Snapshot>, Error>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match self.away.load(Ordering::Relaxed) {
                REFUSES => Box::pin(ready(Err(Error::new(Kind::Internal, "away")))),
                HANGS => Box::pin(pending()),
                _ => self.directory.read(known),
            }
        }

        fn write(&self, at: Revision, change: Change) -> BoxFuture<'_, Result<Option<Revision>, Error>> {
            match self.away.load(Ordering::Relaxed) {
                QUICKER => {
                    self.away.store(0, Ordering::Relaxed);
                    Box::pin(ready(Ok(None)))
                }
                FORGETS => Box::pin(ready(Err(Error::new(Kind::Internal, "away")))),
                _ => self.directory.write(at, change),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_directory_is_away_what_was_in_force_stays_and_it_is_asked_less_often() {
        let distant = Arc::new(Distant::default());
        let keys = Arc::new(MemoryKeys::default());
        let settings = Arc::new(Settings::open(file(FILE), distant.clone(), keys.clone()).await.unwrap());
        let following = tokio::spawn(settings.clone().follow());
        let (other, _) = node(&distant.directory).await;
        other.change(&By::somebody(), |_| Ok(Some(key("t")))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;

        for away in [REFUSES, HANGS] {
            distant.away.store(away, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(20)).await;
            distant.asked.store(0, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(80)).await;

            let asked = distant.asked.load(Ordering::Relaxed);
            assert!(knows(&keys) && (5..=11).contains(&asked), "{asked}");
            let refused = settings.change(&By::somebody(), |_| Ok(None)).await.unwrap_err();
            assert!([Kind::Internal, Kind::Timeout].contains(&refused.kind()), "{refused}");
        }
        other.change(&By::somebody(), |_| Ok(Some(Change::delete(Section::Keys, "a")))).await.unwrap();
        distant.away.store(0, Ordering::Relaxed);
        tokio::time::sleep(LONGEST + PATIENCE + LOOK).await;
        assert!(!knows(&keys));
        following.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_price_is_applied_on_all_nodes_and_a_key_changes_nothing_of_it() {
        let directory = Arc::default();
        let node = async || {
            let applied = Arc::new(AtomicU8::new(0));
            let count = applied.clone();
            let (settings, _) = node(&directory).await;
            let settings = settings.apply(move |config| {
                count.fetch_add(1, Ordering::Relaxed);
                if config.prices.contains_key("bad/x") { Err("no such price".into()) } else { Ok(()) }
            });
            (Arc::new(settings.unwrap()), applied)
        };
        let ((one, at_one), (other, at_other)) = (node().await, node().await);
        let following = tokio::spawn(other.clone().follow());

        let price = Change::put(Section::Prices, "demo/x", r#"{"input":"1","output":"2"}"#);
        one.change(&By::somebody(), |_| Ok(Some(price.clone()))).await.unwrap();
        one.change(&By::somebody(), |_| Ok(Some(key("t")))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;

        assert_eq!([&at_one, &at_other].map(|count| count.load(Ordering::Relaxed)), [2, 2]);
        assert!(other.config().prices.contains_key("demo/x"));
        let bad = file(&format!("{FILE}prices: {{ bad/x: {{ input: 1, output: 1 }} }}\n"));
        assert!(one.replace(bad).await.unwrap_err().to_string().contains("no such price"));
        assert!(!one.config().prices.contains_key("bad/x"));
        following.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_revoked_also_where_a_price_can_not_be_applied_which_is_tried_again() {
        let directory = Arc::default();
        let ((one, _), (other, keys)) = (node(&directory).await, node(&directory).await);
        let (is_broken, applied) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU8::new(0)));
        let (broken, count) = (is_broken.clone(), applied.clone());
        let other = other.apply(move |_| match broken.load(Ordering::Relaxed) {
            true => Err("a file is gone".into()),
            false => {
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        });
        let other = Arc::new(other.unwrap());
        one.change(&By::somebody(), |_| Ok(Some(key("t")))).await.unwrap();
        other.refresh().await.unwrap();
        assert!(knows(&keys));
        let before = applied.load(Ordering::Relaxed);

        is_broken.store(true, Ordering::Relaxed);
        let price = Change::put(Section::Prices, "demo/x", r#"{"input":"1","output":"2"}"#);
        one.change(&By::somebody(), |_| Ok(Some(price.clone()))).await.unwrap();
        assert!(other.refresh().await.unwrap_err().to_string().contains("a file is gone"));
        let revoked = |_: &InForce| Ok(Some(Change::delete(Section::Keys, "a")));
        other.change(&By::somebody(), revoked).await.unwrap();
        assert!(!knows(&keys));

        is_broken.store(false, Ordering::Relaxed);
        other.refresh().await.unwrap();
        other.refresh().await.unwrap();
        assert_eq!(applied.load(Ordering::Relaxed), before + 1);
    }

    #[tokio::test]
    async fn of_two_nodes_that_change_at_once_both_see_what_the_other_did() {
        let directory = Arc::default();
        let (one, other) = (node(&directory).await, node(&directory).await);

        let team = Change::put(Section::Teams, "u", "{}");
        one.0.change(&By::somebody(), |_| Ok(Some(team.clone()))).await.unwrap();
        let seen = other.0.change(&By::somebody(), |_| Ok(Some(key("u")))).await.unwrap();

        assert!(seen.config.teams.contains_key("u") && knows(&other.1));
    }

    async fn audited(
        directory: Arc<dyn Directory>,
    ) -> (Settings, Arc<MemoryAudit>, impl Future<Output = ()>) {
        let audit = Arc::new(MemoryAudit::default());
        let (trail, worker) = Trail::new(audit.clone(), Arc::new(crate::ledger::MemoryLedger::default()));
        let settings = Settings::open(file(FILE), directory, Arc::default()).await.unwrap();
        (settings.audit(trail), audit, worker)
    }

    async fn told(audit: &MemoryAudit) -> Vec<String> {
        let what = |entry: &crate::audit::Entry| entry.value()["what"].as_str().unwrap().to_owned();
        audit.read(1, 100).await.unwrap().iter().map(what).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_entered_before_it_is_made_and_what_becomes_of_it_if_it_is_not() {
        let distant = Arc::new(Distant::default());
        let (settings, audit, worker) = audited(distant.clone()).await;
        let by = By::somebody();

        settings.change(&by, |_| Ok(Some(key("t")))).await.unwrap();
        settings.change(&by, |_| Ok(Some(key("nobody")))).await.unwrap_err();
        // Another node is quicker, once.
        let mut is_first = true;
        let change = settings.change(&by, |_| {
            if std::mem::take(&mut is_first) {
                distant.away.store(QUICKER, Ordering::Relaxed);
            }
            Ok(Some(Change::delete(Section::Keys, "a")))
        });
        change.await.unwrap();
        distant.away.store(FORGETS, Ordering::Relaxed);
        settings.change(&by, |_| Ok(Some(key("t")))).await.unwrap_err();
        drop(settings);
        worker.await;

        let mut told = told(&audit).await;
        told.sort();
        let expected = [
            "deleted the key `a`",
            "deleted the key `a`",
            "entry 2 was not carried out: somebody else was quicker",
            "it is not known whether entry 4 was carried out",
            "made the key `a`",
            "made the key `a`",
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn what_can_not_be_entered_is_not_changed() {
        #[derive(Debug)]
        struct Full;

        impl Audit for Full {
            fn add<'a>(&'a self, _: &'a crate::audit::Entry) -> BoxFuture<'a, Result<Added, Error>> {
                Box::pin(ready(Err(Error::new(Kind::Internal, "the disk is full"))))
            }

            fn last(&self) -> BoxFuture<'_, Result<Option<crate::audit::Entry>, Error>> {
                Box::pin(ready(Ok(None)))
            }

            fn read(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<crate::audit::Entry>, Error>> {
                Box::pin(ready(Ok(Vec::new())))
            }
        }

        let directory: Arc<MemoryDirectory> = Arc::default();
        let (settings, keys) = node(&directory).await;
        let (trail, _worker) = Trail::new(Arc::new(Full), Arc::new(crate::ledger::MemoryLedger::default()));
        let settings = settings.audit(trail);

        let refused = settings.change(&By::somebody(), |_| Ok(Some(key("t")))).await.unwrap_err();

        assert!(refused.message().starts_with("nothing is changed: the audit"), "{refused}");
        assert!(!knows(&keys) && directory.read(None).await.unwrap().unwrap().documents.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_expires_is_entered_once() {
        let (settings, audit, worker) = audited(Arc::new(MemoryDirectory::default())).await;
        let past = SystemTime::now() - Duration::from_secs(5);
        let sha256 = KeyDigest::of("the key");
        let at = jiff::Timestamp::try_from(past).unwrap();
        let content = format!(r#"{{"name":"a","sha256":"{sha256}","expires":"{at:.0}"}}"#);
        settings
            .change(&By::somebody(), |_| Ok(Some(Change::put(Section::Keys, "a", content.as_str()))))
            .await
            .unwrap();

        let mut looked = past - Duration::from_secs(5);
        settings.note_expired(&mut looked);
        settings.note_expired(&mut looked);
        settings.note_expired(&mut (past - Duration::from_secs(5)));
        drop(settings);
        worker.await;

        assert_eq!(told(&audit).await, ["made the key `a`", "the key `a` has expired"]);
    }
}
