use std::borrow::Cow;

use super::{Budget, Config, Customer, Gateway, Key, Labelled, Limits, Provider, Team, quotas::Quotas};
use crate::{directory::Section, labels, ledger::Scope, request_limit::Rate};

/// Somebody who is held to budgets and limits: a customer, a team, a key, the gateway, a provider, or an end user, a
/// session or the value of a tag, of which there may be any number.
#[derive(Clone, Debug)]
pub(crate) struct Holder<'c> {
    /// Where it is set; `None` is in the file only.
    pub(crate) section: Option<Section>,
    /// What it is, such as `team`.
    pub(crate) kind: &'static str,
    pub(crate) name: Cow<'c, str>,
    /// Whose end user or session it is, if that is said.
    pub(crate) customer: Option<&'c str>,
    /// Whether it stands for all of its kind, each of which has an account of its own.
    pub(crate) is_each: bool,
    budgets: &'c [Budget],
    limits: &'c Limits,
    config: &'c Config,
}

impl<'c> Holder<'c> {
    /// As a ledger calls its account.
    pub(crate) fn account(&self) -> String {
        match self.kind {
            GATEWAY => GATEWAY.to_owned(),
            kind if self.customer.is_some() => labels::account(self.customer, kind, &self.name),
            kind => format!("{kind}:{}", self.name),
        }
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
        let is_late = self.is_late();
        let mut quotas = if is_late { Quotas::in_zone(self.config.zone()) } else { Quotas::of(self.config) };
        quotas.add(&self.account(), &[], self.limits);
        let Quotas { rates, mut scopes, .. } = quotas;
        scopes.retain(|scope| scope.quota.is_some());
        if is_late {
            scopes.extend(rates.into_iter().map(|(account, rate)| Scope::new(account, rate.quota())));
            return (scopes, Vec::new());
        }
        let rates = rates.into_iter().filter(|_| !self.config.store.is_shared());
        (scopes, rates.map(|(_, rate)| rate).collect())
    }

    /// Whether it is only known when a request has been read, so that the process checks none of its rates before.
    fn is_late(&self) -> bool {
        self.section.is_none() && self.kind != GATEWAY
    }

    fn of(config: &'c Config, kind: &'static str, name: impl Into<Cow<'c, str>>, held: Held<'c>) -> Self {
        let (budgets, limits) = held;
        let name = name.into();
        Self { section: None, kind, name, customer: None, is_each: false, budgets, limits, config }
    }

    fn each(self) -> Self {
        Self { is_each: true, ..self }
    }

    fn set_in(self, section: Section) -> Self {
        Self { section: Some(section), kind: section.singular(), ..self }
    }
}

/// What somebody is held to.
type Held<'c> = (&'c [Budget], &'c Limits);

const GATEWAY: &str = "gateway";

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

    /// All customers, teams, keys and providers, the gateway, and what stands for each end user, session and tag.
    pub(crate) fn holders(&self) -> impl Iterator<Item = Holder<'_>> {
        let customers = self.customers.iter().map(|(name, customer)| self.customer(name, customer));
        let teams = self.teams.iter().map(|(name, team)| self.team(name, team));
        let providers = self.providers.iter().map(|(name, Provider { budget, limits, .. })| {
            Holder::of(self, "provider", name.as_str(), (budget, limits))
        });
        let each = |kind, labelled| Holder::of(self, kind, "*", held(labelled)).each();
        let tags = self.tags.iter().map(|(tag, labelled)| match tag.contains('=') {
            true => Holder::of(self, "tag", tag.as_str(), held(labelled)),
            false => Holder::of(self, "tag", format!("{tag}=*"), held(labelled)).each(),
        });
        let labels = [each("user", &self.users), each("session", &self.sessions)].into_iter().chain(tags);
        let keys = self.keys.iter().map(|key| self.key(key));
        customers.chain(teams).chain(keys).chain(providers).chain(labels).chain([self.gateway()])
    }

    /// One end user or session, of a customer if it has one, or value of a tag.
    pub(crate) fn labelled<'c>(
        &'c self,
        kind: &str,
        name: &'c str,
        customer: Option<&'c str>,
    ) -> Option<Holder<'c>> {
        let (kind, labelled) = match kind {
            "user" => ("user", &self.users),
            "session" => ("session", &self.sessions),
            "tag" => ("tag", self.tags.get(name).or_else(|| self.tags.get(name.split_once('=')?.0))?),
            _ => return None,
        };
        Some(Holder { customer, ..Holder::of(self, kind, name, held(labelled)) })
    }

    fn gateway(&self) -> Holder<'_> {
        let Gateway { budget, limits, .. } = &self.gateway;
        Holder::of(self, GATEWAY, "", (budget, limits))
    }

    fn customer<'c>(&'c self, name: &'c str, Customer { budget, limits, .. }: &'c Customer) -> Holder<'c> {
        Holder::of(self, "", name, (budget, limits)).set_in(Section::Customers)
    }

    fn team<'c>(&'c self, name: &'c str, Team { budget, limits, .. }: &'c Team) -> Holder<'c> {
        Holder::of(self, "", name, (budget, limits)).set_in(Section::Teams)
    }

    fn key<'c>(&'c self, key: &'c Key) -> Holder<'c> {
        let Key { name, budget, limits, .. } = key;
        Holder::of(self, "", name.as_str(), (budget, limits)).set_in(Section::Keys)
    }
}

fn held(labelled: &Labelled) -> Held<'_> {
    (&labelled.budget, &labelled.limits)
}

/// As a ledger calls the account of an entry, or of the gateway.
pub(crate) fn account(section: Option<Section>, name: &str) -> String {
    section.map_or("gateway".to_owned(), |section| format!("{}:{name}", section.singular()))
}
