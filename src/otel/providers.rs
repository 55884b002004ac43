use std::{borrow::Cow, collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

/// Who the providers of a configuration are, by their names there. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Providers(Arc<ArcSwap<HashMap<Box<str>, Provider>>>);

/// Who a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name in the conventions, such as `aws.bedrock`, or any other.
    pub name: Cow<'static, str>,
    /// Its host and its port.
    pub address: Option<(Box<str>, u16)>,
}

impl Providers {
    /// These providers.
    pub fn new(providers: impl IntoIterator<Item = (Box<str>, Provider)>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(providers.into_iter().collect())))
    }

    /// Puts `others` in their place.
    pub fn replace(&self, others: &Self) {
        self.0.store(others.0.load_full());
    }

    /// Who is asked at a target (`provider/model`); one that isn't known is called as it is.
    pub(crate) fn of(&self, target: &str) -> Provider {
        let name = target.split_once('/').map_or(target, |(provider, _)| provider);
        let known = self.0.load().get(name).cloned();
        known.unwrap_or_else(|| Provider { name: Cow::Owned(name.to_owned()), address: None })
    }
}
