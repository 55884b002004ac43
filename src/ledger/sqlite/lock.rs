use std::{
    fs::{File, TryLockError},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::database::{beside, failed};
use crate::Error;

/// How long a process that is ending may still have it: who restarts one that was killed is not sent away.
const PATIENCE: Duration = Duration::from_secs(2);

/// That no other process has the database open: its balances are in the memory of one.
///
/// The operating system forgets it with the process, however that ends. The file stays: whoever takes it
/// away takes the lock from those who wait for it.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "closing it is what it is for")] File);

impl Lock {
    pub(super) fn hold(database: &Path) -> Result<Self, Error> {
        let path = beside(database, ".lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| failed(&path, "can't be made", error))?;
        let begun = Instant::now();
        let mut locked = file.try_lock();
        while matches!(locked, Err(TryLockError::WouldBlock)) && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                let what = "is in use by another process, and only one may write it; stop that one, or give \
                            this one a file of its own";
                Err(failed(database, what, ""))
            }
            Err(TryLockError::Error(error)) => Err(failed(&path, "can't be locked", error)),
        }
    }
}
