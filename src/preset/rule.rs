use std::fmt;

use http::HeaderMap;

use super::Object;
use crate::Target;

/// What is done to one field of a request.
///
/// A field is named by its path: `logit_bias`, `messages[].name`, `tools[].function.strict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) path: &'static str,
    /// A request without this text has nothing to change; empty if that can't be said.
    pub(super) sign: &'static str,
    pub(super) action: Action,
    models: Option<Test<OfModel>>,
    requests: Option<Test<OfRequest>>,
    header: Option<(&'static str, &'static str)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// The provider has another name for it.
    Rename(&'static str),
    /// The provider has a newer name for it, which goes first where both are there.
    Succeed(&'static str),
    /// The provider refuses it; it is missed unless it has this value, which is the default anyway.
    Refuse { unless: Option<&'static str> },
    /// The provider refuses it, and nothing is lost.
    Omit,
    /// The provider refuses it beside another field, and nothing is lost.
    OmitBeside(&'static str),
    /// The provider refuses a null.
    OmitNull,
    /// The provider wants another value.
    Change { change: fn(&str) -> Option<String>, is_loss: bool },
}

impl PartialEq for Action {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rename(a), Self::Rename(b))
            | (Self::Succeed(a), Self::Succeed(b))
            | (Self::OmitBeside(a), Self::OmitBeside(b)) => a == b,
            (Self::Refuse { unless: a }, Self::Refuse { unless: b }) => a == b,
            (Self::Omit, Self::Omit) | (Self::OmitNull, Self::OmitNull) => true,
            (Self::Change { change: a, is_loss: x }, Self::Change { change: b, is_loss: y }) => {
                std::ptr::fn_addr_eq(*a, *b) && x == y
            }
            _ => false,
        }
    }
}

impl Eq for Action {}

type OfModel = fn(&Target) -> bool;
type OfRequest = fn(&Object<'_>, &Target) -> bool;

/// A question that is asked before a rule is applied.
#[derive(Clone, Copy)]
struct Test<F>(F);

// A place in the program is the only thing that such a function can be compared by.
impl PartialEq for Test<OfModel> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

impl PartialEq for Test<OfRequest> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

impl Eq for Test<OfModel> {}

impl Eq for Test<OfRequest> {}

impl<F> fmt::Debug for Test<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Test")
    }
}

impl Rule {
    /// The provider has another name for the field.
    pub const fn renamed(path: &'static str, to: &'static str) -> Self {
        Self::new(path, Action::Rename(to))
    }

    /// The provider has a newer name for the field, and what has that name goes first where both are there.
    pub const fn succeeded(path: &'static str, by: &'static str) -> Self {
        Self::new(path, Action::Succeed(by))
    }

    /// The provider refuses the field: it is taken out, and reported as lost if it says something.
    pub const fn refused(path: &'static str) -> Self {
        Self::new(path, Action::Refuse { unless: None })
    }

    /// The same, where one value is the default and not missed; it is written as JSON.
    pub const fn refused_unless(path: &'static str, default: &'static str) -> Self {
        Self::new(path, Action::Refuse { unless: Some(default) })
    }

    /// The provider refuses the field, and nothing is lost without it.
    pub const fn omitted(path: &'static str) -> Self {
        Self::new(path, Action::Omit)
    }

    /// The provider refuses the field beside another one that says the same.
    pub const fn omitted_beside(path: &'static str, other: &'static str) -> Self {
        Self::new(path, Action::OmitBeside(other))
    }

    /// The provider refuses a null there.
    pub const fn never_null(path: &'static str) -> Self {
        Self::new(path, Action::OmitNull)
    }

    /// The provider wants another value that means the same: `change` gets the value as it is written,
    /// and returns what is to be written instead, or `None` if it can stay.
    pub const fn changed(path: &'static str, change: fn(&str) -> Option<String>) -> Self {
        Self::new(path, Action::Change { change, is_loss: false })
    }

    /// The same, where the new value means something else, so that the field is reported.
    pub const fn forced(path: &'static str, change: fn(&str) -> Option<String>) -> Self {
        Self::new(path, Action::Change { change, is_loss: true })
    }

    /// The rule for models that think, as far as that is known.
    #[must_use]
    pub const fn of_thinking_models(self) -> Self {
        self.of_models(|target| target.known_facts().supports("reasoning"))
    }

    /// The rule for those models only of which `test` is true.
    #[must_use]
    pub const fn of_models(self, test: fn(&Target) -> bool) -> Self {
        Self { models: Some(Test(test)), ..self }
    }

    /// The rule for those requests only of which `test` is true.
    #[must_use]
    pub const fn of_requests(self, test: fn(&Object<'_>, &Target) -> bool) -> Self {
        Self { requests: Some(Test(test)), ..self }
    }

    /// The rule for those requests only that have a header of this name with this value.
    #[must_use]
    pub const fn of_header(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// Says that a request without this text is right as it is, so that it need not be looked into.
    #[must_use]
    pub const fn where_there_is(self, sign: &'static str) -> Self {
        Self { sign, ..self }
    }

    const fn new(path: &'static str, action: Action) -> Self {
        Self { path, sign: "", action, models: None, requests: None, header: None }
    }

    /// Whether it is about this model.
    pub(super) fn concerns(&self, target: &Target) -> bool {
        self.models.is_none_or(|test| (test.0)(target))
    }

    /// Whether it is about this request to it.
    pub(super) fn applies(&self, request: &Object<'_>, headers: &HeaderMap, target: &Target) -> bool {
        let has = |(name, value): (&str, &str)| headers.get(name).is_some_and(|said| said == value);
        self.header.is_none_or(has) && self.requests.is_none_or(|test| (test.0)(request, target))
    }

    /// The text without which there is nothing to do, if there is one.
    pub(super) fn sign(&self) -> Option<&'static str> {
        let last = self.path.rsplit(['.', ']']).next().unwrap_or(self.path);
        match self.sign {
            "" => (last.len() < self.path.len()).then_some(last),
            sign => Some(sign),
        }
    }
}
