use super::{Budget, Config, Customer, Key, Limits, Team, quotas::Quotas};
use crate::{directory::Section, ledger::Scope, request_limit::Rate};

/// Somebody who is held to budgets and limits: a customer, a team, a key, or the gateway, which is in no section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder<'c> {
    pub(crate) section: Option<Section>,
    pub(crate) name: &'c str,
    budgets: &'c [Budget],
    limits: &'c Limits,
}

impl Holder<'_> {
    /// As a ledger calls its account.
    pub(crate) fn account(&self) -> String {
        account(self.section, self.name)
    }

    /// All that its requests are charged to. The rates that are kept in the process are not among them.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        let mut quotas = Quotas::default();
        quotas.add(&self.account(), self.budgets, self.limits);
        quotas.scopes
    }

    /// Its budgets.
    pub(crate) fn budgets(&self) -> Vec<Scope> {
        let mut quotas = Quotas::default();
        quotas.add(&self.account(), self.budgets, &Limits::default());
        quotas.scopes.retain(|scope| scope.quota.is_some());
        quotas.scopes
    }

    /// Its limits; those of requests that are kept in the process apart.
    pub(crate) fn limits(&self) -> (Vec<Scope>, Vec<Rate>) {
        let mut quotas = Quotas::default();
        quotas.add(&self.account(), &[], self.limits);
        quotas.scopes.retain(|scope| scope.quota.is_some());
        (quotas.scopes, quotas.rates.into_iter().map(|(_, rate)| rate).collect())
    }
}

impl Config {
    /// The customer, team or key of this name, or the gateway.
    pub(crate) fn holder<'c>(&'c self, section: Option<Section>, name: &str) -> Option<Holder<'c>> {
        match section {
            None => Some(self.gateway()),
            Some(Section::Customers) => self.customers.get_key_value(name).map(customer),
            Some(Section::Teams) => self.teams.get_key_value(name).map(team),
            Some(Section::Keys) => self.keys.iter().find(|key| key.name == name).map(key),
            Some(Section::Prices) => None,
        }
    }

    /// All customers, teams and keys, and the gateway.
    pub(crate) fn holders(&self) -> impl Iterator<Item = Holder<'_>> {
        let (customers, teams) = (self.customers.iter().map(customer), self.teams.iter().map(team));
        customers.chain(teams).chain(self.keys.iter().map(key)).chain([self.gateway()])
    }

    fn gateway(&self) -> Holder<'_> {
        Holder { section: None, name: "", budgets: &self.gateway.budget, limits: &self.gateway.limits }
    }
}

fn customer<'c>((name, customer): (&'c String, &'c Customer)) -> Holder<'c> {
    Holder { section: Some(Section::Customers), name, budgets: &customer.budget, limits: &customer.limits }
}

fn team<'c>((name, team): (&'c String, &'c Team)) -> Holder<'c> {
    Holder { section: Some(Section::Teams), name, budgets: &team.budget, limits: &team.limits }
}

fn key(key: &Key) -> Holder<'_> {
    Holder { section: Some(Section::Keys), name: &key.name, budgets: &key.budget, limits: &key.limits }
}

/// As a ledger calls the account of an entry, or of the gateway.
pub(crate) fn account(section: Option<Section>, name: &str) -> String {
    section.map_or("gateway".to_owned(), |section| format!("{}:{name}", section.singular()))
}
