use std::{
    fs, io,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{Either, select};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use sha2::{Digest, Sha256};
use tokio::{sync::Notify, time::sleep};

/// How long a file has to be left alone before it is read: editors write in several steps.
const QUIET: Duration = Duration::from_millis(250);

/// Tells when a configuration file may have changed, or SIGHUP came.
///
/// The directory is watched and not the file, because editors and Kubernetes replace the file (or a
/// link on the way to it) and leave the old one as it was. Nothing runs behind the back of `main`:
///
/// ```no_run
/// use bartizan::config::{Config, Watch};
/// # use std::path::Path;
///
/// # async fn main_loop(path: &Path, apply: impl Fn(Config)) -> std::io::Result<()> {
/// let mut watch = Watch::new(path)?;
/// loop {
///     watch.changed().await;
///     match Config::from_file(path) {
///         Ok(config) => apply(config),
///         Err(error) => tracing::error!("the old configuration stays: {error}"),
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    seen: Option<Seen>,
    event: Arc<Notify>,
    hangup: Hangup,
    _watcher: RecommendedWatcher,
}

/// Why a configuration is to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The file says something else.
    File,
    /// SIGHUP came.
    Signal,
}

/// Tells two contents of the file apart without keeping them.
type Seen = [u8; 32];

impl Watch {
    /// Watches `path`, and compares with what it says now.
    ///
    /// # Errors
    ///
    /// The directory doesn't exist or can't be watched, or the signal can't be listened for.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, or in one without I/O, on unix.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let event = Arc::new(Notify::new());
        let wake = event.clone();
        let watched = path.clone();
        let changed = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| concerns(&event, &watched)) {
                wake.notify_one();
            }
        };
        let mut watcher = notify::recommended_watcher(changed).map_err(io::Error::other)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        watcher
            .watch(directory.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)
            .map_err(io::Error::other)?;
        Ok(Self { seen: seen(&path), path, event, hangup: Hangup::new()?, _watcher: watcher })
    }

    /// Waits until the file says something else than before and has been left alone for 250 ms, or
    /// until SIGHUP comes, and says which. A file that is gone has not changed.
    ///
    /// May be dropped at any time: a change that was missed is found by the next call.
    pub async fn changed(&mut self) -> Cause {
        loop {
            if let Some(now) = self.difference() {
                sleep(QUIET).await;
                if seen(&self.path) == Some(now) {
                    self.seen = Some(now);
                    return Cause::File;
                }
                continue;
            }
            let event = pin!(self.event.notified());
            let hangup = pin!(self.hangup.received());
            if let Either::Right(_) = select(event, hangup).await {
                self.seen = seen(&self.path);
                return Cause::Signal;
            }
        }
    }

    fn difference(&self) -> Option<Seen> {
        seen(&self.path).filter(|now| self.seen.as_ref() != Some(now))
    }
}

/// Whether something else may be found at `path` after `event`.
///
/// Opening the file to read it is an event as well, and would go on for ever. What is written into
/// another file, as a log beside the configuration, concerns only a link; a file put elsewhere may be one.
fn concerns(event: &Event, path: &Path) -> bool {
    match event.kind {
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_)) => {
            event.paths.iter().any(|written| written.file_name() == path.file_name()) || path.is_symlink()
        }
        _ => true,
    }
}

fn seen(path: &Path) -> Option<Seen> {
    fs::read(path).ok().map(|content| Sha256::digest(content).into())
}

/// SIGHUP, where there is such a thing.
#[derive(Debug)]
struct Hangup {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Hangup {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self { signal: signal(SignalKind::hangup())? })
    }

    async fn received(&mut self) {
        if self.signal.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
impl Hangup {
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn received(&mut self) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use tokio::time::timeout;

    use super::*;

    /// A directory that is gone when the test is over.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("bartizan-watch-{name}-{}", process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, content: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    // The events come from the kernel, so that time can't be stopped here.
    async fn is_told(watch: &mut Watch) -> bool {
        timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
    }

    async fn is_not_told(watch: &mut Watch) -> bool {
        timeout(QUIET * 2, watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn a_file_that_is_written_has_changed_once() {
        let directory = Directory::new("write");
        let mut watch = Watch::new(directory.write("gateway.yaml", "a")).unwrap();

        directory.write("gateway.yaml", "half of");
        directory.write("gateway.yaml", "half of it, and the rest");

        assert!(is_told(&mut watch).await);
        assert!(is_not_told(&mut watch).await);
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_has_changed() {
        let directory = Directory::new("rename");
        let path = directory.write("gateway.yaml", "a");
        let mut watch = Watch::new(&path).unwrap();

        for content in ["b", "c"] {
            fs::rename(directory.write("gateway.yaml.new", content), &path).unwrap();
            assert!(is_told(&mut watch).await);
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_that_points_elsewhere_has_changed() {
        use std::os::unix::fs::symlink;

        let directory = Directory::new("link");
        for (version, content) in [("v1", "a"), ("v2", "b")] {
            fs::create_dir_all(directory.0.join(version)).unwrap();
            directory.write(&format!("{version}/gateway.yaml"), content);
        }
        symlink("v1", directory.0.join("..data")).unwrap();
        symlink("..data/gateway.yaml", directory.0.join("gateway.yaml")).unwrap();
        let mut watch = Watch::new(directory.0.join("gateway.yaml")).unwrap();

        symlink("v2", directory.0.join("..data_tmp")).unwrap();
        fs::rename(directory.0.join("..data_tmp"), directory.0.join("..data")).unwrap();

        assert!(is_told(&mut watch).await);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_that_a_link_points_to_has_changed() {
        let directory = Directory::new("target");
        directory.write("v1.yaml", "a");
        std::os::unix::fs::symlink("v1.yaml", directory.0.join("gateway.yaml")).unwrap();
        let mut watch = Watch::new(directory.0.join("gateway.yaml")).unwrap();

        directory.write("v1.yaml", "b");

        assert!(is_told(&mut watch).await);
    }

    #[tokio::test]
    async fn other_files_and_a_file_that_is_gone_are_no_change() {
        let directory = Directory::new("other");
        let path = directory.write("gateway.yaml", "a");
        let mut watch = Watch::new(&path).unwrap();

        directory.write("records.jsonl", "{}");
        directory.write("gateway.yaml", "a");
        assert!(is_not_told(&mut watch).await);

        fs::remove_file(&path).unwrap();
        assert!(is_not_told(&mut watch).await);

        directory.write("gateway.yaml", "b");
        assert!(is_told(&mut watch).await);
    }

    #[tokio::test]
    async fn a_change_that_came_while_nobody_waited_is_told() {
        let directory = Directory::new("late");
        let mut watch = Watch::new(directory.write("gateway.yaml", "a")).unwrap();

        directory.write("gateway.yaml", "b");
        let dropped = timeout(QUIET / 5, watch.changed()).await;

        assert!(dropped.is_err());
        assert!(is_told(&mut watch).await);
    }
}
