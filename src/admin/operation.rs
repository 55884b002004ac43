use std::borrow::Cow;

use http::Method;

use super::standing::Standing;
use crate::{Error, Kind, directory::Section, percent};

/// One method of one path.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    /// `{name}` stands for one step of the path, `{model}` for all the rest of it.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) action: Action,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    List(Section),
    Create(Section),
    Get(Section),
    Change(Section),
    Delete(Section),
    Put(Section),
    Rotate,
    Usage,
    Standing(Standing),
    Prices,
    Audit,
    Mirrors,
    Explain,
    Config,
    Describe,
    LiteLlm(LiteLlm),
}

/// What is asked for in the way of LiteLLM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LiteLlm {
    Generate,
    Info,
    Update,
    Delete,
    List,
}

/// Everything that is answered.
pub(super) const OPERATIONS: [Operation; 33] = {
    use Action::{Change, Create, Delete, Describe, Explain, Get, LiteLlm as Lite, Put, Rotate, Usage};
    use Section::{Customers, Keys, Prices, Teams};
    use Standing::{Budgets, Limits};

    const fn of(method: Method, path: &'static str, summary: &'static str, action: Action) -> Operation {
        Operation { method, path, summary, action }
    }

    [
        of(Method::GET, "/admin/v1/customers", "List customers", Action::List(Customers)),
        of(Method::POST, "/admin/v1/customers", "Make a customer", Create(Customers)),
        of(Method::GET, "/admin/v1/customers/{name}", "Show a customer", Get(Customers)),
        of(Method::PATCH, "/admin/v1/customers/{name}", "Change a customer", Change(Customers)),
        of(Method::DELETE, "/admin/v1/customers/{name}", "Delete a customer", Delete(Customers)),
        of(Method::GET, "/admin/v1/teams", "List teams", Action::List(Teams)),
        of(Method::POST, "/admin/v1/teams", "Make a team", Create(Teams)),
        of(Method::GET, "/admin/v1/teams/{name}", "Show a team", Get(Teams)),
        of(Method::PATCH, "/admin/v1/teams/{name}", "Change a team", Change(Teams)),
        of(Method::DELETE, "/admin/v1/teams/{name}", "Delete a team", Delete(Teams)),
        of(Method::GET, "/admin/v1/keys", "List keys", Action::List(Keys)),
        of(Method::POST, "/admin/v1/keys", "Make a key", Create(Keys)),
        of(Method::GET, "/admin/v1/keys/{name}", "Show a key", Get(Keys)),
        of(Method::PATCH, "/admin/v1/keys/{name}", "Change a key", Change(Keys)),
        of(Method::DELETE, "/admin/v1/keys/{name}", "Delete a key", Delete(Keys)),
        of(Method::POST, "/admin/v1/keys/{name}/rotate", "Replace a key by another one", Rotate),
        of(Method::GET, "/admin/v1/usage", "Show what an account has used", Usage),
        of(Method::GET, "/admin/v1/budgets", "Show what stands on budgets", Action::Standing(Budgets)),
        of(Method::GET, "/admin/v1/limits", "Show what stands on limits", Action::Standing(Limits)),
        of(Method::GET, "/admin/v1/prices", "Show what models cost", Action::Prices),
        of(Method::GET, "/admin/v1/prices/{model}", "Show a price that was set", Get(Prices)),
        of(Method::PUT, "/admin/v1/prices/{model}", "Set what a model costs", Put(Prices)),
        of(Method::DELETE, "/admin/v1/prices/{model}", "Take back what was set", Delete(Prices)),
        of(Method::GET, "/admin/v1/audit", "Show who changed what and when", Action::Audit),
        of(Method::GET, "/admin/v1/mirrors", "Compare copies with their originals", Action::Mirrors),
        of(Method::POST, "/admin/v1/explain", "Show where a request would go, and why", Explain),
        of(Method::GET, "/admin/v1/config", "Show the configuration that is in force", Action::Config),
        of(Method::GET, "/openapi.json", "This document", Describe),
        of(Method::POST, "/key/generate", "Make a key, as LiteLLM does", Lite(LiteLlm::Generate)),
        of(Method::GET, "/key/info", "Show a key, as LiteLLM does", Lite(LiteLlm::Info)),
        of(Method::POST, "/key/update", "Change a key, as LiteLLM does", Lite(LiteLlm::Update)),
        of(Method::POST, "/key/delete", "Delete keys, as LiteLLM does", Lite(LiteLlm::Delete)),
        of(Method::GET, "/key/list", "List keys, as LiteLLM does", Lite(LiteLlm::List)),
    ]
};

/// Whether a path is answered here at all.
pub(super) fn is_ours(path: &str) -> bool {
    let within =
        |root| path.strip_prefix(root).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('/'));
    within("/admin") || within("/key") || path == "/openapi.json"
}

/// What a request asks for, and the name in its path, if there is one.
pub(super) fn asked<'p>(method: &Method, path: &'p str) -> Result<(Action, Cow<'p, str>), Error> {
    let mut others = Vec::new();
    for operation in &OPERATIONS {
        let Some(name) = matched(operation.path, path) else { continue };
        if operation.method == *method {
            return Ok((operation.action, percent::decoded(name)));
        }
        others.push(operation.method.clone());
    }
    Err(if others.is_empty() {
        Error::new(Kind::NotFound, "there is no such endpoint; /openapi.json lists those that are")
    } else {
        Error::other_method(&others)
    })
}

/// What stands for `{name}` or `{model}`, if `path` is of the form of `template`; nothing if there is none in it.
fn matched<'p>(template: &str, path: &'p str) -> Option<&'p str> {
    if let Some(before) = template.strip_suffix("{model}") {
        return path.strip_prefix(before).filter(|model| !model.is_empty());
    }
    let mut steps = path.split('/');
    let mut name = "";
    for expected in template.split('/') {
        let step = steps.next()?;
        match expected {
            "{name}" if !step.is_empty() => name = step,
            expected if expected != step => return None,
            _ => {}
        }
    }
    steps.next().is_none().then_some(name)
}
