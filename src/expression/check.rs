//! What an expression names, and whether there is such a thing.

use ::cel::{
    IdedExpr, Program,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr},
};

use super::mistake::{Mistake, place};
use crate::suggest;

/// The names of which each member is known, with their members.
const WITH_MEMBERS: [(&str, &[&str]); 4] = [
    (
        "request",
        &[
            "model",
            "dialect",
            "stream",
            "tokens",
            "max_output",
            "tools",
            "text",
            "parameters",
            "user",
            "session",
        ],
    ),
    ("budget", &["used"]),
    ("limits", &["requests", "tokens", "input", "output", "concurrent"]),
    ("time", &["hour", "minute", "weekday", "date", "unix"]),
];

/// What lies deeper takes much of the stack of whoever evaluates it.
const DEEPEST: usize = 24;

const WITHOUT: [&str; 5] = ["key", "team", "customer", "tags", "headers"];

const FUNCTIONS: [&str; 9] =
    ["size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string"];

/// What is known of an expression that names nothing which there isn't.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Its patterns, and where they stand.
    pub(super) patterns: Vec<((usize, usize), String)>,
    /// Whether it asks for budgets or limits.
    pub(super) reads_spend: bool,
}

pub(super) fn checked(program: &Program) -> Result<Checked, Mistake> {
    let mut walk = Walk { program, bound: Vec::new(), depth: 0, found: Checked::default() };
    walk.expression(program.expression())?;
    Ok(walk.found)
}

struct Walk<'a> {
    program: &'a Program,
    /// The variables of the loop around.
    bound: Vec<&'a str>,
    /// How deep the part lies that is looked at.
    depth: usize,
    found: Checked,
}

impl<'a> Walk<'a> {
    fn wrong<T>(&self, at: &IdedExpr, message: impl Into<String>) -> Result<T, Mistake> {
        Err(Mistake::new(place(self.program, at.id), message))
    }

    fn expression(&mut self, expression: &'a IdedExpr) -> Result<(), Mistake> {
        if self.depth == DEEPEST {
            return self.wrong(expression, format!("nested deeper than {DEEPEST} levels"));
        }
        self.depth += 1;
        let outcome = self.part(expression);
        self.depth -= 1;
        outcome
    }

    fn part(&mut self, expression: &'a IdedExpr) -> Result<(), Mistake> {
        match &expression.expr {
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
            Expr::Ident(name) => self.name(expression, name),
            Expr::Select(select) => self.member(expression, select),
            Expr::Call(call) => self.call(expression, call),
            Expr::Comprehension(inner) => self.each(expression, inner),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.expression(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.expression(&entry.key)?;
                    self.expression(&entry.value)
                }
                EntryExpr::StructField(field) => self.expression(&field.value),
            }),
            Expr::Struct(_) => self.wrong(expression, "messages can't be made here"),
        }
    }

    fn name(&self, at: &IdedExpr, name: &'a str) -> Result<(), Mistake> {
        if self.bound.contains(&name) || name.starts_with('@') || WITHOUT.contains(&name) {
            return Ok(());
        }
        if let Some((_, members)) = WITH_MEMBERS.iter().find(|(known, _)| *known == name) {
            return self.wrong(at, format!("`{name}` needs a member: one of {}", members.join(", ")));
        }
        let known: Vec<_> = WITH_MEMBERS.iter().map(|(name, _)| *name).chain(WITHOUT).collect();
        self.wrong(at, unknown("name", name, &known))
    }

    fn member(&mut self, at: &'a IdedExpr, select: &'a SelectExpr) -> Result<(), Mistake> {
        let Expr::Ident(name) = &select.operand.expr else { return self.expression(&select.operand) };
        let members = WITH_MEMBERS.iter().find(|(known, _)| known == name).map(|(_, members)| *members);
        let Some(members) = members.filter(|_| !self.bound.contains(&name.as_str())) else {
            return self.expression(&select.operand);
        };
        if !members.contains(&select.field.as_str()) {
            // That of the member itself is its dot.
            return self
                .wrong(&select.operand, unknown(&format!("member of `{name}`"), &select.field, members));
        }
        if select.test {
            return self.wrong(at, format!("`{name}.{}` is always there", select.field));
        }
        self.found.reads_spend |= matches!(name.as_str(), "budget" | "limits");
        Ok(())
    }

    fn call(&mut self, at: &'a IdedExpr, call: &'a CallExpr) -> Result<(), Mistake> {
        let name = call.func_name.as_str();
        let is_operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
        if !is_operator && !FUNCTIONS.contains(&name) {
            return self.wrong(at, unknown("function", name, &FUNCTIONS));
        }
        if name == "matches" {
            let pattern = call.args.last();
            match pattern.map(|pattern| (pattern, &pattern.expr)) {
                Some((pattern, Expr::Literal(LiteralValue::String(text)))) => {
                    self.found.patterns.push((place(self.program, pattern.id), text.inner().to_owned()));
                }
                // A pattern of a client's could take long to be made.
                _ => return self.wrong(at, "the pattern of `matches` has to be written out"),
            }
        }
        call.target.iter().try_for_each(|target| self.expression(target))?;
        call.args.iter().try_for_each(|argument| self.expression(argument))
    }

    fn each(&mut self, at: &'a IdedExpr, inner: &'a ComprehensionExpr) -> Result<(), Mistake> {
        self.expression(&inner.iter_range)?;
        if !self.bound.is_empty() {
            return self.wrong(at, "a loop can't stand in another one");
        }
        self.bound.extend([inner.iter_var.as_str(), inner.accu_var.as_str()]);
        self.bound.extend(inner.iter_var2.as_deref());
        let parts = [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result];
        let outcome = parts.into_iter().try_for_each(|part| self.expression(part));
        self.bound.clear();
        outcome
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match suggest::nearest(name, known) {
        Some(nearest) => format!("unknown {what} `{name}`, did you mean `{nearest}`?"),
        None => format!("unknown {what} `{name}`, expected one of {}", known.join(", ")),
    }
}
