use std::{ops::Deref, sync::Arc, time::SystemTime};

use crate::{access::Pattern, ledger::Scope, request_limit::Rate};

/// What the gateway knows of one of its keys. The key itself is not among it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VirtualKey {
    /// The key's name in the configuration, in logs and in records.
    pub name: Arc<str>,
    /// The team it belongs to.
    pub team: Option<Arc<str>>,
    /// The models it may ask for; `None` is all of them.
    pub allow: Option<Vec<Pattern>>,
    /// How many requests it may make.
    pub requests: Option<Rate>,
    /// The accounts that its requests are charged to: its own, its team's, the gateway's.
    pub scopes: Vec<Scope>,
    /// When it stops being accepted.
    pub expires: Option<SystemTime>,
    /// Whether it is refused although it is known.
    pub disabled: bool,
}

impl VirtualKey {
    /// A key that may do everything, and whose spend is counted on the account `key:{name}`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            team: None,
            allow: None,
            requests: None,
            scopes: vec![Scope { account: format!("key:{name}").into(), budget: None }],
            expires: None,
            disabled: false,
        }
    }
}

/// Who asks: put into the request's extensions by [`Auth`](super::Auth).
#[derive(Clone, Debug)]
pub struct Caller(Arc<VirtualKey>);

impl Caller {
    /// The caller that presented `key`.
    pub fn new(key: impl Into<Arc<VirtualKey>>) -> Self {
        Self(key.into())
    }
}

impl Deref for Caller {
    type Target = VirtualKey;

    fn deref(&self) -> &VirtualKey {
        &self.0
    }
}
