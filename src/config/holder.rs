use super::{Budget, Config, Customer, Gateway, Key, Limits, Team, quotas::Quotas};
use crate::{directory::Section, ledger::Scope, request_limit::Rate};

/// Somebody who is held to budgets and limits: a customer, a team, a key, or the gateway, which is in no section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder<'c> {
    pub(crate) section: Option<Section>,
    pub(crate) name: &'c str,
    budgets: &'c [Budget],
    limits: &'c Limits,
    config: &'c Config,
}

impl Holder<'_> {
    /// As a ledger calls its account.
    pub(crate) fn account(&self) -> String {
        account(self.section, self.name)
    }

    /// All that its requests are charged to. The rates that are kept in the process are not among them.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        let mut quotas = Quotas::of(self.config);
        quotas.add(&self.account(), self.budgets, self.limits);
        quotas.scopes
    }

    /// Its budgets.
    pub(crate) fn budgets(&self) -> Vec<Scope> {
        let mut quotas = Quotas::of(self.config);
        quotas.add(&self.account(), self.budgets, &Limits::default());
        quotas.scopes.retain(|scope| scope.quota.is_some());
        quotas.scopes
    }

    /// Its limits; those of requests that only the process counts apart.
    pub(crate) fn limits(&self) -> (Vec<Scope>, Vec<Rate>) {
        let mut quotas = Quotas::of(self.config);
        quotas.add(&self.account(), &[], self.limits);
        quotas.scopes.retain(|scope| scope.quota.is_some());
        let rates = quotas.rates.into_iter().filter(|_| !self.config.store.is_shared());
        (quotas.scopes, rates.map(|(_, rate)| rate).collect())
    }
}

impl Config {
    /// The customer, team or key of this name, or the gateway.
    pub(crate) fn holder(&self, section: Option<Section>, name: &str) -> Option<Holder<'_>> {
        match section {
            None => Some(self.gateway()),
            Some(Section::Customers) => {
                self.customers.get_key_value(name).map(|(name, customer)| self.customer(name, customer))
            }
            Some(Section::Teams) => self.teams.get_key_value(name).map(|(name, team)| self.team(name, team)),
            Some(Section::Keys) => self.keys.iter().find(|key| key.name == name).map(|key| self.key(key)),
            Some(Section::Prices) => None,
        }
    }

    /// All customers, teams and keys, and the gateway.
    pub(crate) fn holders(&self) -> impl Iterator<Item = Holder<'_>> {
        let customers = self.customers.iter().map(|(name, customer)| self.customer(name, customer));
        let teams = self.teams.iter().map(|(name, team)| self.team(name, team));
        customers.chain(teams).chain(self.keys.iter().map(|key| self.key(key))).chain([self.gateway()])
    }

    fn gateway(&self) -> Holder<'_> {
        let Gateway { budget, limits, .. } = &self.gateway;
        Holder { section: None, name: "", budgets: budget, limits, config: self }
    }

    fn customer<'c>(&'c self, name: &'c str, Customer { budget, limits, .. }: &'c Customer) -> Holder<'c> {
        Holder { section: Some(Section::Customers), name, budgets: budget, limits, config: self }
    }

    fn team<'c>(&'c self, name: &'c str, Team { budget, limits, .. }: &'c Team) -> Holder<'c> {
        Holder { section: Some(Section::Teams), name, budgets: budget, limits, config: self }
    }

    fn key<'c>(&'c self, key: &'c Key) -> Holder<'c> {
        let Key { name, budget, limits, .. } = key;
        Holder { section: Some(Section::Keys), name, budgets: budget, limits, config: self }
    }
}

/// As a ledger calls the account of an entry, or of the gateway.
pub(crate) fn account(section: Option<Section>, name: &str) -> String {
    section.map_or("gateway".to_owned(), |section| format!("{}:{name}", section.singular()))
}
