use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use super::errand::Errand;

/// How often a journal that another process has is tried again.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// A file of errands that could not be run yet, a line of JSON each. It is empty while all goes well.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Journal {
    /// Opens or makes the file at `path`, and gives back what an earlier process could not run.
    ///
    /// # Errors
    ///
    /// If the file can't be read and written, or if another process has it.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Errand>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        lock(&file)?;
        let text = std::fs::read(path)?;
        let (errands, length) = read(&text, path);
        let mut journal = Self { file, path: path.into(), length };
        // What is added next must not be glued to half a line.
        journal.cut()?;
        Ok((journal, errands))
    }

    /// Adds `errands`; they are on the disk when it returns.
    ///
    /// # Errors
    ///
    /// If they can't be written; then none of them is.
    pub(super) fn append<'a>(&mut self, errands: impl Iterator<Item = &'a Errand>) -> io::Result<()> {
        let mut lines = Vec::new();
        for errand in errands {
            serde_json::to_writer(&mut lines, errand)?;
            lines.push(b'\n');
        }
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        if written.is_err() {
            self.cut()?;
        } else {
            self.length += lines.len() as u64;
        }
        written
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.length = 0;
        self.cut()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.sync_data()
    }
}

/// Locks `file`, which a process that is about to end, or a child that has not begun yet, may still have.
fn lock(file: &File) -> io::Result<()> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            locked => return locked.map_err(io::Error::from),
        }
    }
    file.try_lock().map_err(io::Error::from)
}

/// The errands in `text`, and how much of it is whole lines.
fn read(text: &[u8], path: &Path) -> (Vec<Errand>, u64) {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < text.len() {
        let bytes = text.len() - whole;
        tracing::warn!(path = %path.display(), bytes, "the last line of the journal is cut off");
    }
    let mut errands = Vec::new();
    for (number, line) in text[..whole].split(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            _ if line.is_empty() => {}
            Ok(errand) => errands.push(errand),
            Err(error) => {
                let line = number + 1;
                tracing::error!(path = %path.display(), line, %error, "a line of the journal can't be read");
            }
        }
    }
    (errands, whole as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Hold, HoldId, Measure, Period, Window, errand::Deed};

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("bartizan-journal-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn journal(&self) -> PathBuf {
            self.0.join("journal")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn open(directory: &Directory) -> (Journal, Vec<Errand>) {
        Journal::open(&directory.journal()).unwrap()
    }

    fn errand(number: u64) -> Errand {
        let hold = Hold {
            account: "key:a".into(),
            measure: Measure::Usd,
            period: Period::Month,
            window: Window(1_793_491_200),
            amount: 60,
        };
        Errand {
            id: HoldId { node: u64::MAX, number },
            deed: Deed::Settle { used: vec![7], day: [7, 0, 0] },
            holds: vec![hold],
            at: None,
        }
    }

    #[test]
    fn what_was_written_is_read_by_the_next_process() {
        let directory = Directory::new("next");
        let (mut journal, before) = open(&directory);
        assert!(before.is_empty() && journal.is_empty());

        journal.append([errand(1), errand(2)].iter()).unwrap();
        journal.append([errand(3)].iter()).unwrap();
        drop(journal);

        let (mut journal, errands) = open(&directory);
        assert_eq!(errands, [errand(1), errand(2), errand(3)]);
        journal.clear().unwrap();
        drop(journal);
        assert!(open(&directory).1.is_empty());
    }

    #[test]
    fn a_file_cut_anywhere_loses_only_the_line_that_was_cut() {
        let directory = Directory::new("cut");
        let (mut journal, _) = open(&directory);
        journal.append([errand(1), errand(2)].iter()).unwrap();
        drop(journal);
        let whole = std::fs::read(directory.journal()).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;

        for length in 0..whole.len() {
            std::fs::write(directory.journal(), &whole[..length]).unwrap();
            let (mut journal, errands) = open(&directory);
            assert_eq!(errands.len(), usize::from(length >= first), "{length}");

            journal.append([errand(3)].iter()).unwrap();
            drop(journal);
            let (_, errands) = open(&directory);
            assert_eq!(errands.last(), Some(&errand(3)), "{length}");
        }
    }

    #[test]
    fn a_line_that_is_not_an_errand_does_not_hide_the_others() {
        let directory = Directory::new("garbage");
        let (mut journal, _) = open(&directory);
        journal.append([errand(1)].iter()).unwrap();
        drop(journal);
        let mut text = std::fs::read(directory.journal()).unwrap();
        text.extend_from_slice(b"{\"id\":\xff}\n\n");
        std::fs::write(directory.journal(), text).unwrap();

        let (mut journal, _) = open(&directory);
        journal.append([errand(2)].iter()).unwrap();
        drop(journal);

        assert_eq!(open(&directory).1, [errand(1), errand(2)]);
    }

    #[test]
    fn two_processes_cannot_have_the_same_journal() {
        let directory = Directory::new("lock");
        let _first = open(&directory);

        let second = Journal::open(&directory.journal()).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
    }
}
