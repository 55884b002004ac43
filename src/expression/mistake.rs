use std::fmt;

use ::cel::{ParseErrors, Program};

/// Why an expression is none, and where it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, counted from one.
    pub line: usize,
    /// The column in characters, counted from one.
    pub column: usize,
    /// What is wrong: lower case, no full stop.
    pub message: String,
}

impl Mistake {
    pub(super) fn new((line, column): (usize, usize), message: impl Into<String>) -> Self {
        Self { line, column, message: message.into() }
    }

    /// The first thing that the parser complains of.
    pub(super) fn of_parser(errors: &ParseErrors) -> Self {
        let Some(first) = errors.errors.first() else { return Self::new((1, 1), "not an expression") };
        let place = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
        let message = first.msg.trim_start_matches("Syntax error: ");
        Self::new((place(first.pos.0), place(first.pos.1)), message)
    }
}

/// Where a part of a program stands in its text.
pub(super) fn place(program: &Program, id: u64) -> (usize, usize) {
    let info = program.source_info();
    let start = info.offset_for(id).map_or(0, |(start, _)| start as usize);
    let before: Vec<char> = info.source.chars().take(start).collect();
    let line = before.iter().filter(|character| **character == '\n').count();
    let column = before.iter().rev().take_while(|character| **character != '\n').count();
    (line + 1, column + 1)
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for Mistake {}
