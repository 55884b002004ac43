use std::error::Error;

use super::{
    Arguments,
    clients::Window,
    measure::{Candidates, spread, window},
    scenario::{RECORDED, Scenario},
};

/// What is kept, and which part of the requests per second that may take.
struct Kept {
    name: &'static str,
    scenario: Scenario,
    content: bool,
    most: f64,
}

const ALL: [Kept; 2] = [
    Kept { name: "without content, 1 kB", scenario: RECORDED[0], content: false, most: 10.0 },
    Kept { name: "with content, 10 kB", scenario: RECORDED[1], content: true, most: 20.0 },
];

/// What records in SQLite cost, against a proxy that keeps none, in turns. Both have one core, on which the records are
/// written too, by a thread of their own; what the thread that answers requests has more to do is told apart.
pub(super) async fn costs(arguments: &Arguments, candidates: &Candidates<'_>) -> Result<(), Box<dyn Error>> {
    println!(
        "\n{:<28} {:>22} {:>22} {:>9} {:>9} {:>15} {:>9}",
        "records, CPU µs (a second)", "none", "SQLite", "fewer", "target", "by the worker", "target"
    );
    for kept in ALL.iter().filter(|kept| kept.name.contains(&arguments.only)) {
        let file = candidates.folder().join(format!("{}.db", if kept.content { "content" } else { "plain" }));
        let none = candidates.proxy_with("none", "none", false)?;
        let sqlite = candidates.proxy_with(
            "sqlite",
            &format!("{{ sqlite: \"{}\" }}", file.display()),
            kept.content,
        )?;
        let (mut of_none, mut of_sqlite) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            of_none.push(window(arguments, &none, &kept.scenario).await?);
            of_sqlite.push(window(arguments, &sqlite, &kept.scenario).await?);
        }
        row(kept, &of_none, &of_sqlite);
    }
    Ok(())
}

fn row(kept: &Kept, none: &[Window], sqlite: &[Window]) {
    let median = |windows: &[Window], figure: fn(&Window) -> f64| spread(windows, figure).0;
    let text = |windows: &[Window]| {
        format!("{:.1} ({:.0})", median(windows, Window::micros_each), median(windows, Window::rate))
    };
    let fewer = 100.0 * (1.0 - median(sqlite, Window::rate) / median(none, Window::rate));
    let added = median(sqlite, Window::worker_micros_each) - median(none, Window::worker_micros_each);
    println!(
        "{:<28} {:>22} {:>22} {fewer:>7.1} % {:>7.0} % {added:>12.1} µs {:>6} µs",
        kept.name,
        text(none),
        text(sqlite),
        kept.most,
        5
    );
}
