//! What is shown of a file where it is wrong.

use std::ops::Range;

use crate::suggest;

/// The most characters of a line that are shown.
const MOST: usize = 160;

/// Fields whose values are secrets, or addresses that may have one; also as the end of a longer name.
const SECRETS: [&str; 14] = [
    "key",
    "keys",
    "secret",
    "token",
    "password",
    "authorization",
    "cookie",
    "url",
    "endpoint",
    "nodes",
    "redis",
    "postgres",
    "clickhouse",
    "webhooks",
];

/// What stands around a column of the line at `index`, without secrets, and where the column is in it; both are
/// counted in characters, from one.
pub(super) fn excerpt(text: &str, index: usize, column: usize) -> (String, usize) {
    let line = text.lines().nth(index).unwrap_or_default();
    let at = line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    let (mut shown, mut caret, mut from) = (String::new(), at, 0);
    for Range { start, end } in secrets(text, index) {
        shown.push_str(&line[from..start]);
        if (start..end).contains(&at) || (at == end && end == line.len()) {
            caret = shown.len();
        } else if at >= end {
            caret = shown.len() + "***".len() + at - end;
        }
        shown.push_str("***");
        from = end;
    }
    shown.push_str(&line[from..]);
    around(&shown, shown[..caret].chars().count())
}

/// The part of a line around a place.
fn around(line: &str, place: usize) -> (String, usize) {
    let length = line.chars().count();
    if length <= MOST {
        return (line.to_owned(), place + 1);
    }
    let start = place.saturating_sub(MOST / 2).min(length - MOST);
    let part: String = line.chars().skip(start).take(MOST).collect();
    let before = if start > 0 { "…" } else { "" };
    let after = if start + MOST < length { "…" } else { "" };
    (format!("{before}{part}{after}"), place - start + before.chars().count() + 1)
}

/// Where secrets may stand literally in the line at `index`.
fn secrets(text: &str, index: usize) -> Vec<Range<usize>> {
    let line = text.lines().nth(index).unwrap_or_default();
    if last_field(line).is_none() {
        // It belongs to a line before it, such as an item of a list.
        let before: Vec<_> = text.lines().take(index).collect();
        let field = before.iter().rev().find_map(|line| last_field(line));
        if field.is_some_and(is_secret) {
            return std::iter::once(line.len() - line.trim_start().len()..line.len()).collect();
        }
    }
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(colon) = line[from..].find(':').map(|colon| from + colon) {
        from = colon + 1;
        let range = if is_secret(field(&line[..colon])) { value(line, from) } else { password(line, from) };
        if let Some(range) = range {
            from = range.end;
            found.push(range);
        }
    }
    found
}

/// The name of the field at the end of `before`.
fn field(before: &str) -> &str {
    let before = before.trim_end_matches(['"', '\'', ' ']);
    before.rsplit([' ', '\t', '{', '[', ',', '"', '\'']).next().unwrap_or_default()
}

/// The name of the last field of a line, if it has any: the `:` of an address is none.
fn last_field(line: &str) -> Option<&str> {
    let is_field = |colon: &usize| {
        let (before, after) = (&line[..*colon], &line[colon + 1..]);
        before.ends_with(['"', '\'']) || after.is_empty() || after.starts_with([' ', '\t'])
    };
    let mut colons = line.match_indices(':').map(|(colon, _)| colon).rev();
    colons.find(is_field).map(|colon| field(&line[..colon]))
}

/// Whether the value of a field may be a secret. Only headers have a `-` in their names, and any of them may hold one.
/// A name that was probably meant to be that of a secret is as good as it.
fn is_secret(field: &str) -> bool {
    /// Fields that are not as secret as they look.
    const OTHERS: [&str; 2] = ["tokens", "models"];
    const LONGEST: usize = 64;

    let field = field.trim_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
    let is_near = || field.split('_').any(|part| suggest::nearest(part, &SECRETS).is_some());
    let is_other = || OTHERS.iter().any(|other| field.ends_with(other));
    field.len() > LONGEST
        || field.contains('-')
        || SECRETS.iter().any(|secret| field.ends_with(secret))
        || (!is_other() && is_near())
}

/// Where the value of a secret field stands that begins at `from`; none if it is a variable, or has fields itself.
fn value(line: &str, from: usize) -> Option<Range<usize>> {
    let value = line[from..].trim_start();
    let start = line.len() - value.len();
    if value.is_empty() || value.starts_with('{') {
        return None;
    }
    // The keys of the gateway have fields.
    if value.strip_prefix('[').is_some_and(|list| list.trim_start().starts_with('{'))
        && field(&line[..from - 1]) == "keys"
    {
        return None;
    }
    let Some(quote) = value.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        let rest = variable(value);
        let is_variable = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',', '}', ']']));
        return (!is_variable).then_some(start..line.len());
    };
    let content = &value[1..];
    if variable(content).is_some_and(|rest| rest.starts_with(quote)) {
        return None;
    }
    Some(start + 1..start + 1 + end_of_quoted(content, quote))
}

/// What stands behind a variable of the environment, which has no text of its own.
fn variable(text: &str) -> Option<&str> {
    let (name, rest) = text.strip_prefix("${")?.split_once('}')?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(rest)
}

/// Where the quote is that closes a text; the end, if none does.
fn end_of_quoted(text: &str, quote: char) -> usize {
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let is_escaped = match byte {
            b'\\' => quote == '"',
            byte if char::from(byte) == quote => {
                let is_doubled = quote == '\'' && bytes.peek().is_some_and(|(_, next)| *next == b'\'');
                if !is_doubled {
                    return at;
                }
                true
            }
            _ => false,
        };
        if is_escaped {
            bytes.next();
        }
    }
    text.len()
}

/// Where the user and the password stand of an address whose `//` is at `from`.
fn password(line: &str, from: usize) -> Option<Range<usize>> {
    let rest = line[from..].strip_prefix("//")?;
    let address = rest.split([' ', '\t', '"', '\'']).next().unwrap_or_default();
    let start = from + "//".len();
    address.rfind('@').map(|at| start..start + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn shown(line: &str) -> String {
        excerpt(line, 0, 1).0
    }

    #[test]
    fn no_field_that_holds_a_secret_is_shown() {
        for (line, expected) in [
            ("api_keys: [ sk-one, sk-two ], x: 1", "api_keys: ***"),
            ("api_key: \"sk-o\\\"ne\", x: 1", "api_key: \"***\", x: 1"),
            ("api_key: 'it''s', x: 1", "api_key: '***', x: 1"),
            ("api_key: 'open", "api_key: '***"),
            ("api_kye: sk-one", "api_kye: ***"),
            ("{ name: a, kye: sk-one }", "{ name: a, kye: ***"),
            ("api_key:sk-one", "api_key:***"),
            ("clickhouse: { url: http://h, password: hunter22, tabel: x }", "clickhouse: { url: ***"),
            ("{ user: a, pasword: \"hunter22\", tabel: x }", "{ user: a, pasword: \"***\", tabel: x }"),
            ("redis: \"redis://:pw@h\"", "redis: \"***\""),
            ("store: redis://:pw@h/0 # x", "store: redis:***"),
            ("at: http://me:pw@h/0 # x", "at: http://***@h/0 # x"),
            ("nodes: [ redis://:pw@h ]", "nodes: ***"),
            ("webhooks: https://hooks.example/T0", "webhooks: ***"),
            ("headers: { x-any: Bearer a }", "headers: { x-any: ***"),
            ("api_key: \"${NAME}\", x: 1", "api_key: \"${NAME}\", x: 1"),
            ("api_key: ${NAME}", "api_key: ${NAME}"),
            ("api_key: ${NAME:-sk-one}", "api_key: ***"),
            ("api_key: ${NAME}sk-one", "api_key: ***"),
            ("limits: { tokens: 5/day }", "limits: { tokens: 5/day }"),
            ("keys: [ { name: a, expires: soon } ]", "keys: [ { name: a, expires: soon } ]"),
            ("  timeuots: { idle: 5s }", "  timeuots: { idle: 5s }"),
            ("a: { use: openai/gpt-4o, weight: x }", "a: { use: openai/gpt-4o, weight: x }"),
        ] {
            assert_eq!(shown(line), expected);
        }
    }

    #[test]
    fn what_belongs_to_a_secret_field_of_a_line_before_is_not_shown() {
        let of_line = |text: &str, index: usize| excerpt(text, index, 1).0;

        assert_eq!(of_line("api_keys:\n  - sk-one\n  - [ sk-two ]", 2), "  ***");
        assert_eq!(of_line("webhooks:\n  - https://hooks.example/T0", 1), "  ***");
        assert_eq!(of_line("{ \"nodes\": [\n\"redis://h\",\n\"redis://i\" ] }", 2), "***");
        assert_eq!(of_line("retry:\n  on:\n    - 429\n    - conect", 3), "    - conect");
    }

    #[test]
    fn the_column_is_found_behind_a_secret() {
        let line = "api_key: \"sk-one-and-two\", x: 1";
        let column = line.find('x').unwrap() + 1;

        let (shown, caret) = excerpt(line, 0, column);

        assert_eq!(shown[caret - 1..].chars().next(), Some('x'), "{shown} {caret}");
        let (shown, caret) = excerpt("api_key: sk-one", 0, 12);
        assert_eq!(&shown[caret - 1..], "***");
    }

    #[test]
    fn of_a_long_line_the_part_around_the_column_is_shown() {
        let error = |models: &str| {
            let admin = "\"admin\": { \"key\": \"0123456789abcdef\" }";
            let json = format!("{{ {admin}, \"models\": {{ {models}\"é\": {{ \"tarets\": [] }} }} }}");
            Config::from_text(&json).unwrap_err().to_string()
        };
        let models: String = (0..5_000).map(|n| format!("\"m{n}\": {{ \"targets\": [] }}, ")).collect();
        assert!(error("").contains("\"key\": \"***\"") && models.len() > 65_536);

        let error = error(&models);

        let lines: Vec<_> = error.lines().collect();
        let [first, line, caret] = &lines[..] else { panic!("{error}") };
        assert!(first.contains("unknown field `tarets`"), "{first}");
        assert!(line.starts_with(" 1 | …") && line.chars().count() < 200, "{line}");
        let column = caret.chars().count() - 1;
        let there: String = line.chars().skip(column).take(8).collect();
        assert_eq!(there, "\"tarets\"");
    }
}
