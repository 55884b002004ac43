use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    sync::Arc,
};

use crate::ledger::{Quota, Refused, Scope};

/// The most accounts that wait to be looked at. One that finds no room is noted when it is used again.
const MOST: usize = 10_000;

/// The accounts that were used since they were looked at last.
#[derive(Debug, Default)]
pub(super) struct Touched {
    accounts: HashMap<(Arc<str>, Quota), Account>,
}

/// An account that was used.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) scope: Scope,
    /// Whether a request was refused by its quota.
    pub(super) refused: bool,
}

impl Touched {
    /// Adds what is not there, and says whether there was such.
    pub(super) fn add<'s>(
        &mut self,
        scopes: impl Iterator<Item = &'s Scope>,
        refused: Option<&Refused>,
    ) -> bool {
        let mut is_new = false;
        for scope in scopes {
            let Some(quota) = scope.quota else { continue };
            let refused = refused.is_some_and(|by| by.account == scope.account && by.quota == quota);
            is_new |= self.put(scope, quota, refused);
        }
        is_new
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> Vec<Account> {
        mem::take(&mut self.accounts).into_values().collect()
    }

    /// Puts back what could not be looked at.
    pub(super) fn put_back(&mut self, accounts: Vec<Account>) {
        for Account { scope, refused } in accounts {
            scope.quota.map(|quota| self.put(&scope, quota, refused));
        }
    }

    fn put(&mut self, scope: &Scope, quota: Quota, refused: bool) -> bool {
        let has_room = self.accounts.len() < MOST;
        match self.accounts.entry((scope.account.clone(), quota)) {
            Entry::Occupied(mut known) => {
                known.get_mut().refused |= refused;
                false
            }
            Entry::Vacant(place) if has_room => {
                place.insert(Account { scope: scope.clone(), refused });
                true
            }
            Entry::Vacant(_) => false,
        }
    }
}
