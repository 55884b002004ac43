use bartizan::fault::Fault;
use serde_json::{Value, json};

use super::{
    ask::{Asked, Seen},
    plan::Case,
};
use crate::administer::table;

/// What came of all cases.
pub struct Report {
    real: bool,
    rows: Vec<Value>,
    /// The routes, and why one doesn't survive.
    routes: Vec<(String, Vec<String>)>,
}

impl Report {
    pub fn new(real: bool) -> Self {
        Self { real, rows: Vec::new(), routes: Vec::new() }
    }

    pub fn add(&mut self, case: &Case, asked: Asked) {
        let may_break = case.is_midway() && !(case.resumes && case.has_others);
        let survives = asked.seen.is_answer() || may_break && asked.seen == Seen::Told;
        let fault = case.fault.map_or_else(|| "none".to_owned(), |fault| fault.to_string());
        if self.routes.last().is_none_or(|(route, _)| *route != case.route) {
            self.routes.push((case.route.clone(), Vec::new()));
        }
        if let (false, Some((_, failures))) = (survives, self.routes.last_mut()) {
            let form = if case.stream { "stream" } else { "whole" };
            failures.push(format!("{}, {fault}, {form}: {}{}", case.who, said(&asked), hint(case, &asked)));
        }
        self.rows.push(json!({
            "route": case.route,
            "fails": case.who,
            "fault": fault,
            "form": if case.stream { "stream" } else { "whole" },
            "struck": case.fault.is_none() || asked.struck,
            "seen": said(&asked),
            "answered_by": asked.target,
            "attempts": asked.attempts,
            "ms": asked.took.as_millis() as u64,
            "survives": survives,
        }));
    }

    pub fn survives(&self) -> bool {
        self.routes.iter().all(|(_, failures)| failures.is_empty())
    }

    pub fn json(&self) -> String {
        let routes: Vec<_> = self
            .routes
            .iter()
            .map(|(route, failures)| json!({ "route": route, "survives": failures.is_empty(), "failures": failures }))
            .collect();
        let answers = if self.real { "the providers" } else { "the demo" };
        let rows = &self.rows;
        format!(
            "{:#}",
            json!({ "survives": self.survives(), "answers": answers, "routes": routes, "cases": rows })
        )
    }

    pub fn text(&self) -> String {
        let columns = ["route", "fails", "fault", "form", "struck", "seen", "answered_by", "attempts", "ms"];
        let mut text = table(&columns, &self.rows);
        text.push('\n');
        for (route, failures) in &self.routes {
            let verdict = if failures.is_empty() { "survives" } else { "DOES NOT SURVIVE" };
            text.push_str(&format!("{route}: {verdict}\n"));
            text.extend(failures.iter().map(|failure| format!("  {failure}\n")));
        }
        if !self.real {
            text.push_str("\nThe demo answered in place of the providers; times are those of a clock that waits for nothing.\n");
        }
        text
    }
}

fn said(asked: &Asked) -> String {
    match &asked.seen {
        Seen::Answer => "an answer".to_owned(),
        Seen::Told => "a part, and that it broke off".to_owned(),
        Seen::Silence => "a part, in silence".to_owned(),
        Seen::Error { status, message } => format!("{}: {message}", status.as_u16()),
    }
}

/// What is to be done about it, where that is known.
fn hint(case: &Case, asked: &Asked) -> &'static str {
    if case.resumes && case.has_others && matches!(asked.seen, Seen::Told | Seen::Silence) {
        return "; nobody has gone on with it";
    }
    if !asked.struck || !matches!(asked.seen, Seen::Error { .. }) {
        return "";
    }
    match case.fault {
        _ if !case.has_others => "; there is no other target",
        Some(Fault::Hang | Fault::Delay(_)) => {
            "; `timeouts.first_byte` and `first_event` have to be shorter than `total`, so that there is time for the \
             next target"
        }
        _ => "; the next target isn't asked after this",
    }
}
