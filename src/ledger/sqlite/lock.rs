use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::database::{beside, failed};
use crate::Error;

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
        match file.try_lock() {
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
