//! Variables of the environment inside a text: `${NAME}`, `${NAME:-otherwise}`, `${NAME:?advice}`,
//! and `os.environ/NAME` as the whole text. `$${` is a literal `${`; any other `$` is itself.

/// Where the values of variables come from.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

const WHOLE: &str = "os.environ/";

/// Replaces the variables in `text`; `None` if there are none.
///
/// # Errors
///
/// A message that names the variable that isn't set, or says what is malformed.
pub(super) fn fill(text: &str, lookup: Lookup<'_>) -> Result<Option<String>, String> {
    if let Some(name) = text.strip_prefix(WHOLE) {
        return value_of(name, lookup).map(Some);
    }
    if !text.contains("${") {
        return Ok(None);
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = &from[2..];
            continue;
        }
        let end = from.find('}').ok_or("`${` is not closed; write `$${` for a literal one")?;
        filled.push_str(before);
        filled.push_str(&value_of(&from[2..end], lookup)?);
        rest = &from[end + 1..];
    }
    filled.push_str(rest);
    Ok(Some(filled))
}

/// The value of `NAME`, `NAME:-otherwise` or `NAME:?advice`. As in a shell, an empty variable is
/// like one that isn't set, except without an operator.
fn value_of(reference: &str, lookup: Lookup<'_>) -> Result<String, String> {
    let (name, operator) = match reference.split_once(':') {
        Some((name, operator)) => (name, Some(operator)),
        None => (reference, None),
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!("`{reference}` does not begin with the name of a variable"));
    }
    let value = lookup(name);
    let Some(operator) = operator else {
        return value.ok_or_else(|| format!("the environment variable {name} is not set"));
    };
    let value = value.filter(|value| !value.is_empty());
    match (value, operator.split_at_checked(1)) {
        (Some(value), Some(("-" | "?", _))) => Ok(value),
        (None, Some(("-", otherwise))) => Ok(otherwise.to_owned()),
        (None, Some(("?", advice))) => Err(format!("the environment variable {name} is not set: {advice}")),
        _ => Err(format!("after {name}: only `:-` and `:?` are known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<Option<String>, String> {
        fill(text, &|name| match name {
            "HOST" => Some("example.org".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    fn becomes(text: &str, expected: &str) {
        assert_eq!(filled(text), Ok(Some(expected.to_owned())), "{text}");
    }

    #[test]
    fn variables_are_replaced() {
        becomes("${HOST}", "example.org");
        becomes("https://${HOST}:443/${HOST}", "https://example.org:443/example.org");
        becomes("os.environ/HOST", "example.org");
        becomes("${EMPTY}", "");
        becomes("${EMPTY:-x}${NONE:-y:z}${HOST:-no}", "xy:zexample.org");
        becomes("${HOST:?set it}", "example.org");
        becomes("$${HOST} $5", "${HOST} $5");
        assert_eq!(filled("$HOST costs $5"), Ok(None));
    }

    #[test]
    fn what_is_missing_is_named() {
        let message = |text: &str| filled(text).unwrap_err();

        assert_eq!(message("${NONE}"), "the environment variable NONE is not set");
        assert_eq!(message("os.environ/NONE"), "the environment variable NONE is not set");
        assert_eq!(message("${NONE:?ask Ann}"), "the environment variable NONE is not set: ask Ann");
        assert_eq!(message("${HOST"), "`${` is not closed; write `$${` for a literal one");
        assert!(message("${HOST:+x}").contains("only `:-` and `:?`"));
        assert!(message("${}").contains("name of a variable"));
    }
}
