//! Conditions written in [CEL](https://cel.dev): [`Expression`].
//!
//! An expression is checked when it is read: that every name in it is one that there is, that every function is
//! one of those below, that what it compares can be compared, and that it is a condition. The
//! [error](Mistake) says where it is wrong.
//!
//! | name | |
//! |---|---|
//! | `request.model`, `request.dialect` | what is asked for, and in which API: `openai-chat`, `anthropic-messages`, … |
//! | `request.stream` | whether the answer is to be a stream |
//! | `request.tokens` | how many tokens of input it probably has |
//! | `request.max_output` | the cap on the answer, 0 if there is none |
//! | `request.tools` | the names of the tools that are offered |
//! | `request.text` | what the user has said last, 16 KiB of it at the most |
//! | `request.parameters` | such as `request.parameters.temperature` |
//! | `request.user`, `request.session` | whom it is for; empty if nobody says |
//! | `key`, `team`, `customer` | names; empty if there is none |
//! | `tags` | such as `tags.feature` |
//! | `headers` | such as `headers["x-region"]`, in lower case, without credentials |
//! | `budget.used` | the share of the caller's budgets that is used: 0.8 is four fifths |
//! | `limits.requests`, `.tokens`, `.input`, `.output`, `.concurrent` | the same of its limits |
//! | `time.hour`, `.minute`, `.weekday`, `.date`, `.unix` | 0 to 23, 0 to 59, 1 is Monday, `2026-11-22`, seconds |
//!
//! Beside CEL's operators and `has`, `in`, `all`, `exists`, `exists_one`, `map` and `filter` there are `size`,
//! `contains`, `startsWith`, `endsWith`, `matches`, `int`, `uint`, `double` and `string`.
//!
//! A condition that can't be evaluated doesn't hold: `tags.env == "prod"` where there is no such tag. What an
//! evaluation may take has a bound, whatever a client sends: patterns are part of the expression and don't go
//! back, loops don't stand in loops, and what they run over is short: 128 tools, 64 parameters, 16 tags, and as many
//! headers as the server takes. The body is looked into once for all conditions of a request, and a text is read once,
//! also where a loop asks for it.
//!
//! ```
//! use bartizan::expression::Expression;
//!
//! assert!(Expression::new(r#"request.tokens > 50000 && tags.feature == "search""#).is_ok());
//!
//! let mistake = Expression::new("request.tokens > 50000 && budgt.used > 0.8").unwrap_err();
//! assert_eq!(
//!     mistake.to_string(),
//!     "line 1, column 27: unknown name `budgt`, did you mean `budget`?"
//! );
//! ```

mod check;
mod mistake;
mod variables;

use std::{collections::HashMap, fmt, sync::Arc};

use ::cel::{Context, Env, ExecutionError, Program, Value, extractors::This};
use regex::{Regex, RegexBuilder};

pub use self::mistake::Mistake;
use self::variables::Variables;
use crate::{
    Exchange, Payload,
    choose::{Condition, Facts},
    dialect::OPENAI_CHAT,
    ledger::Zone,
    payload::Head,
};

/// The longest expression.
const LONGEST: usize = 4_096;
/// The stack of the parser.
const ROOM: usize = 64 << 20;
/// How large a compiled pattern may be.
const LARGEST_PATTERN: usize = 256 << 10;

/// A condition in CEL; see the [module](self).
pub struct Expression {
    source: Box<str>,
    program: Program,
    functions: Context<'static, 'static>,
    zone: Option<Zone>,
    reads_spend: bool,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// If it is none, names what there isn't, or is no condition.
    pub fn new(source: &str) -> Result<Self, Mistake> {
        if source.len() > LONGEST {
            return Err(Mistake::new((1, 1), format!("longer than {LONGEST} bytes")));
        }
        let env = Arc::new(Env::stdlib());
        let (program, checked) = parsed(&env, source)?;
        let mut patterns = HashMap::new();
        for (at, pattern) in checked.patterns {
            let limited = RegexBuilder::new(&pattern).size_limit(LARGEST_PATTERN).build();
            let regex = limited.map_err(|error| {
                // What the library says has several lines, with a picture.
                let why = error.to_string().lines().last().unwrap_or_default().replace("error: ", "");
                Mistake::new(at, format!("not a pattern: {why}"))
            })?;
            patterns.insert(pattern, regex);
        }
        let this = Self {
            source: source.into(),
            program,
            functions: functions(env, patterns),
            zone: None,
            reads_spend: checked.reads_spend,
        };
        this.try_out()?;
        Ok(this)
    }

    /// Sets the time zone of `time`: UTC if it isn't said.
    #[must_use]
    pub fn zone(self, zone: Option<Zone>) -> Self {
        Self { zone, ..self }
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    fn evaluate(&self, facts: &Facts<'_>) -> Result<Value, ExecutionError> {
        let variables = Variables::new(facts, self.zone);
        let mut context = self.functions.new_inner_scope();
        context.set_variable_resolver(&variables);
        self.program.execute(&context)
    }

    /// Evaluates it for a request that says nothing, to find what can't be evaluated for any.
    fn try_out(&self) -> Result<(), Mistake> {
        let payload = Payload::new(&OPENAI_CHAT, Head::default(), "{}".into(), Exchange::default());
        let headers = http::HeaderMap::new();
        let at = |message| Err(Mistake::new((1, 1), message));
        match self.evaluate(&Facts::new(&payload, &headers)) {
            Ok(Value::Bool(_)) | Err(ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_)) => {
                Ok(())
            }
            Ok(other) => at(format!("no condition: it is of the type {}", other.type_of())),
            Err(error @ (ExecutionError::NoSuchOverload(_) | ExecutionError::ValuesNotComparable(..))) => {
                at(error.to_string())
            }
            // Such as a division by something that is 0 there.
            Err(_) => Ok(()),
        }
    }
}

/// Reads an expression with room for the parser, which needs much of it where brackets lie in brackets.
fn parsed(env: &Env, source: &str) -> Result<(Program, check::Checked), Mistake> {
    let parse = || {
        let program = env.compile(source).map_err(|errors| Mistake::of_parser(&errors))?;
        let checked = check::checked(&program)?;
        Ok((program, checked))
    };
    let failed = || Mistake::new((1, 1), "the expression can't be read");
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().stack_size(ROOM).spawn_scoped(scope, parse);
        parser.map_err(|_| failed())?.join().map_err(|_| failed())?
    })
}

/// Those that the language has, and `matches` for patterns that are known before.
fn functions(env: Arc<Env>, patterns: HashMap<String, Regex>) -> Context<'static, 'static> {
    let mut context = Context::with_env(env);
    let matches = move |This(text): This<Arc<String>>, pattern: Arc<String>| {
        patterns.get(&*pattern).is_some_and(|regex| regex.is_match(&text))
    };
    if let Err(error) = context.add_function("matches", matches) {
        tracing::error!(%error, "conditions have no `matches`");
    }
    context
}

impl Condition for Expression {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        match self.evaluate(facts) {
            Ok(value) => matches!(value, Value::Bool(true)),
            Err(error) => {
                // The error may quote what the client has sent.
                let kind = std::mem::discriminant(&error);
                tracing::debug!(condition = %self.source, ?kind, "a condition can't be evaluated and doesn't hold");
                false
            }
        }
    }

    fn reads_spend(&self) -> bool {
        self.reads_spend
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

#[cfg(test)]
mod tests;
