//! The table of the README that says what works.

const README: &str = include_str!("../../README.md");
const HEAD: &str = "| to | chat | responses | messages | Gemini |";

fn table() -> impl Iterator<Item = Vec<&'static str>> {
    let (_, table) = README.split_once(HEAD).expect("the README has the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
}

/// What is in its first column.
pub fn rows() -> Vec<&'static str> {
    table().map(|row| row[0]).collect()
}

/// What it says of something that is asked of a provider of a dialect.
pub fn says(row: &str, provider: &str) -> &'static str {
    let columns = HEAD.trim_matches('|').split('|').map(str::trim);
    let at = columns.enumerate().find(|(_, column)| *column == provider).expect("a column").0;
    table().find(|found| found[0] == row).unwrap_or_else(|| panic!("no row `{row}`"))[at]
}
