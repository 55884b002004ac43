use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::{Added, Audit, Entry};
use crate::{BoxFuture, Error, Kind, lock};

/// Of how many lines it is known where they begin.
const STEP: u64 = 500;
/// The most that is read back to find the last line.
const BACK: u64 = 64 << 10;

/// A chain in a file, one entry a line, in the form of an export. Several processes of one machine may share it.
///
/// A line is on the disk before anybody hears that it was entered. A line that has no end was never entered: its
/// process was killed meanwhile, and the next one that writes takes it away.
#[derive(Debug)]
pub struct JsonLinesAudit(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: File,
    /// Where every 500th line begins, as far as the file was looked through.
    begins: Vec<u64>,
    lines: u64,
    end: u64,
}

impl JsonLinesAudit {
    /// The file at `path`, which is made if it isn't there.
    ///
    /// # Errors
    ///
    /// If it can't be opened or made.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        Self::with(path.into(), OpenOptions::new().read(true).write(true).create(true))
    }

    /// The file at `path`, to be looked at only.
    ///
    /// # Errors
    ///
    /// If it can't be opened.
    pub fn read_only(path: impl Into<PathBuf>) -> io::Result<Self> {
        Self::with(path.into(), OpenOptions::new().read(true))
    }

    fn with(path: PathBuf, options: &OpenOptions) -> io::Result<Self> {
        let file = options.open(&path)?;
        let lines = Lines { path, file, begins: Vec::new(), lines: 0, end: 0 };
        Ok(Self(Arc::new(Mutex::new(lines))))
    }

    /// Does something with the file, where it holds up nobody.
    async fn with_file<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Lines) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let lines = self.0.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&mut lock(&lines))).await;
        let failed = |error: crate::BoxError| {
            Error::new(Kind::Internal, "the file of the audit can't be used").with_source(error)
        };
        asked.map_err(|error| failed(error.into()))?.map_err(|error| failed(error.into()))
    }
}

impl Audit for JsonLinesAudit {
    fn add<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Added, Error>> {
        let entry = entry.clone();
        Box::pin(self.with_file(move |lines| lines.add(&entry)))
    }

    fn last(&self) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        Box::pin(self.with_file(|lines| Ok(lines.last()?.0)))
    }

    fn read(&self, first: u64, most: usize) -> BoxFuture<'_, Result<Vec<Entry>, Error>> {
        Box::pin(self.with_file(move |lines| lines.read(first, most)))
    }
}

impl Lines {
    /// Adds a line while no other process does.
    fn add(&mut self, entry: &Entry) -> io::Result<Added> {
        self.is_still_there()?;
        self.file.lock()?;
        let added = self.add_locked(entry);
        self.file.unlock()?;
        added
    }

    fn add_locked(&mut self, entry: &Entry) -> io::Result<Added> {
        let (last, end) = self.last()?;
        if !entry.follows(last.as_ref()) {
            return Ok(Added::No(last));
        }
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end))?;
        self.file.write_all((entry.json() + "\n").as_bytes())?;
        self.file.sync_data()?;
        Ok(Added::Yes)
    }

    /// What is written into a file that was moved or replaced would be gone.
    fn is_still_there(&self) -> io::Result<()> {
        let gone = || io::Error::other(format!("{} was moved or replaced", self.path.display()));
        if is_same(&self.file, &self.path) { Ok(()) } else { Err(gone()) }
    }

    /// The last whole line, and where it ends.
    fn last(&mut self) -> io::Result<(Option<Entry>, u64)> {
        let length = self.file.metadata()?.len();
        let start = length.saturating_sub(BACK);
        self.file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        (&self.file).take(BACK).read_to_end(&mut tail)?;
        let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
            let too_long = || io::Error::other("its last line is too long");
            return if start == 0 { Ok((None, 0)) } else { Err(too_long()) };
        };
        let begin = tail[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
        let line = String::from_utf8_lossy(&tail[begin..end]);
        let last = Entry::read(&line)
            .map_err(|error| io::Error::other(format!("its last line is damaged: {error}")))?;
        Ok((Some(last), start + end as u64 + 1))
    }

    /// The lines from the one with the number `first` on. What is no entry any more keeps its place.
    fn read(&mut self, first: u64, most: usize) -> io::Result<Vec<Entry>> {
        self.look_through()?;
        let index = first.max(1) - 1;
        let step = usize::try_from(index / STEP).unwrap_or(usize::MAX);
        let Some(begin) = self.begins.get(step) else { return Ok(Vec::new()) };
        self.file.seek(SeekFrom::Start(*begin))?;
        let mut reader = BufReader::new((&self.file).take(self.end - begin));
        let (mut entries, mut line) = (Vec::new(), Vec::new());
        let mut number = index / STEP * STEP;
        while entries.len() < most && reader.read_until(b'\n', &mut line)? > 0 {
            number += 1;
            if number > index {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches('\n');
                let damaged = || Entry { number, hash: "".into(), text: text.into() };
                entries.push(Entry::read(text).unwrap_or_else(|_| damaged()));
            }
            line.clear();
        }
        Ok(entries)
    }

    /// Finds where lines begin that were written since the last time.
    fn look_through(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() < self.end {
            (self.begins, self.lines, self.end) = (Vec::new(), 0, 0);
        }
        self.file.seek(SeekFrom::Start(self.end))?;
        let mut reader = BufReader::new(&self.file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            if self.lines.is_multiple_of(STEP) {
                self.begins.push(self.end);
            }
            self.lines += 1;
            self.end += line.len() as u64;
            line.clear();
        }
        Ok(())
    }
}

#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let identity = |data: std::fs::Metadata| (data.dev(), data.ino());
    let there = std::fs::metadata(path).map(identity).ok();
    there.is_some() && file.metadata().map(identity).ok() == there
}

/// A file that is open can't be taken away.
#[cfg(not(unix))]
fn is_same(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicU32, Ordering},
        time::SystemTime,
    };

    use super::*;
    use crate::audit::{Event, EventKind, Head, conformance, verify};

    /// A place for files that is gone when the test is over.
    struct Place(PathBuf, AtomicU32);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("bartizan-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path, AtomicU32::default())
        }

        fn file(&self) -> PathBuf {
            self.0.join(format!("{}.jsonl", self.1.fetch_add(1, Ordering::Relaxed)))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    async fn entered(audit: &JsonLinesAudit, what: &str) -> Entry {
        let event = Event::new(EventKind::Change, "me", what);
        let entry = Entry::after(audit.last().await.unwrap().as_ref(), &event, SystemTime::now());
        assert_eq!(audit.add(&entry).await.unwrap(), Added::Yes);
        entry
    }

    #[tokio::test]
    async fn it_conforms_also_where_processes_share_a_file() {
        let place = Place::new("audit-lines");

        conformance::audit(async || Arc::new(JsonLinesAudit::open(place.file()).unwrap())).await;
        let file = place.file();
        let nodes = [(); 2].map(|()| Arc::new(JsonLinesAudit::open(&file).unwrap()));
        conformance::shared(&nodes).await;
    }

    #[tokio::test]
    async fn a_line_that_was_not_finished_was_never_entered() {
        let place = Place::new("audit-torn");
        let file = place.file();
        let audit = JsonLinesAudit::open(&file).unwrap();
        let first = entered(&audit, "first").await;
        let whole = fs::read_to_string(&file).unwrap();

        fs::write(&file, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();

        assert_eq!(verify(&audit, None).await.unwrap(), Ok(Some(Head::from(&first))));
        let second = entered(&audit, "second").await;
        assert_eq!(verify(&audit, None).await.unwrap(), Ok(Some(Head::from(&second))));
        assert_eq!(audit.read(1, 9).await.unwrap(), [first, second]);
    }

    #[tokio::test]
    async fn lines_are_found_wherever_they_stand_and_a_damaged_one_keeps_its_place() {
        let place = Place::new("audit-long");
        let file = place.file();
        let audit = JsonLinesAudit::open(&file).unwrap();
        let mut text = String::new();
        let mut last = None;
        for number in 0..1_234 {
            let event = Event::new(EventKind::Change, "me", number.to_string());
            let entry = Entry::after(last.as_ref(), &event, SystemTime::now());
            text += &(entry.json() + "\n");
            last = Some(entry);
        }
        fs::write(&file, &text).unwrap();

        for first in [1, 500, 501, 1_001, 1_234] {
            assert_eq!(audit.read(first, 1).await.unwrap()[0].number, first);
        }
        fs::write(&file, text.replace(r#""what":"699""#, r#""what":"7""#)).unwrap();
        assert_eq!(verify(&audit, None).await.unwrap().unwrap_err().number, 700);
        fs::write(&file, text.replace(r#","what":"699""#, "")).unwrap();
        assert_eq!(verify(&audit, None).await.unwrap().unwrap_err().number, 700);
    }

    #[tokio::test]
    async fn nothing_is_written_into_a_file_that_was_taken_away() {
        let place = Place::new("audit-gone");
        let file = place.file();
        let audit = JsonLinesAudit::open(&file).unwrap();
        let first = entered(&audit, "first").await;

        fs::rename(&file, place.file()).unwrap();

        let event = Event::new(EventKind::Change, "me", "second");
        assert!(audit.add(&Entry::after(Some(&first), &event, SystemTime::now())).await.is_err());
    }
}
