use std::{io::Write, process::ExitCode};

use http::Method;
use serde_json::{Value, json};

use super::{
    arguments::{Audit, Command, Create, Explain, Keys, Listed, Named, Proxy, Usage},
    client::{Client, escaped},
};

/// Does what a command says, at a proxy that runs.
pub fn run(command: &Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(ask(command)));
    match done {
        Ok(text) => {
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(command: &Command) -> Result<String, String> {
    match command {
        Command::Usage(asked) => usage(asked).await,
        Command::Compare { model, proxy } => compare(model.as_deref(), proxy).await,
        Command::Drill(_) => Err("a drill is held without a proxy".to_owned()),
        Command::Explain(asked) => explain(asked).await,
        Command::Audit { command: Audit::List(asked) } => audit(asked).await,
        Command::Audit { .. } => Err("the audit is looked at where it is kept".to_owned()),
        Command::Keys { command } => match command {
            Keys::Create(wanted) => {
                let made = send(&wanted.proxy, Method::POST, "/admin/v1/keys", Some(wish(wanted)?)).await?;
                Ok(shown_once(&wanted.proxy, &made))
            }
            Keys::List { team, customer, proxy } => list(team.as_deref(), customer.as_deref(), proxy).await,
            Keys::Disable(key) => change(key, json!({ "disabled": true }), "is disabled").await,
            Keys::Enable(key) => change(key, json!({ "disabled": false }), "is enabled").await,
            Keys::Delete(key) => {
                let answer = send(&key.proxy, Method::DELETE, &path(key), None).await?;
                Ok(said(&key.proxy, &answer, &format!("the key `{}` is deleted", key.name)))
            }
            Keys::Rotate { key, grace } => {
                let path = format!("{}/rotate", path(key));
                let made = send(&key.proxy, Method::POST, &path, Some(json!({ "grace": grace }))).await?;
                Ok(shown_once(&key.proxy, &made))
            }
        },
    }
}

async fn send(proxy: &Proxy, method: Method, path: &str, body: Option<Value>) -> Result<Value, String> {
    Client::new(&proxy.url)?.ask(method, path, body).await
}

fn path(key: &Named) -> String {
    format!("/admin/v1/keys/{}", escaped(&key.name))
}

async fn change(key: &Named, patch: Value, what: &str) -> Result<String, String> {
    let answer = send(&key.proxy, Method::PATCH, &path(key), Some(patch)).await?;
    Ok(said(&key.proxy, &answer, &format!("the key `{}` {what}", key.name)))
}

fn said(proxy: &Proxy, answer: &Value, text: &str) -> String {
    if proxy.json { format!("{answer:#}") } else { text.to_owned() }
}

fn shown_once(proxy: &Proxy, made: &Value) -> String {
    let name = made["name"].as_str().unwrap_or_default();
    let text = match made["key"].as_str() {
        Some(key) => format!("{key}\n\nThat is the key `{name}`. It is not shown again."),
        None => format!("the key `{name}` was there already; `keys rotate {name}` makes another one for it"),
    };
    said(proxy, made, &text)
}

/// The key that is asked for.
fn wish(wanted: &Create) -> Result<Value, String> {
    let budgets = wanted.budget.iter().map(|text| budget(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({
        "name": wanted.name,
        "team": wanted.team,
        "customer": wanted.customer,
        "budget": budgets,
        "limits": { "requests": wanted.requests },
        "allow": Some(&wanted.allow).filter(|models| !models.is_empty()),
        "deny": wanted.deny,
        "log_content": wanted.log_content,
        "expires": wanted.expires,
    }))
}

/// `200usd/month` or `5Mtokens/day`.
fn budget(text: &str) -> Result<Value, String> {
    let wrong = || format!("--budget {text}: expected an amount such as 200usd/month or 5Mtokens/day");
    let (amount, per) = text.split_once('/').ok_or_else(wrong)?;
    let (field, amount) = match (amount.strip_suffix("usd"), amount.strip_suffix("tokens")) {
        (Some(usd), _) => ("usd", usd),
        (_, Some(tokens)) => ("tokens", tokens),
        _ => return Err(wrong()),
    };
    Ok(json!({ field: amount, "per": per }))
}

async fn list(team: Option<&str>, customer: Option<&str>, proxy: &Proxy) -> Result<String, String> {
    let mut filters = String::new();
    for (name, value) in [("team", team), ("customer", customer)] {
        filters.extend(value.map(|value| format!("&{name}={}", escaped(value))));
    }
    let mut keys = Vec::new();
    let mut after = None;
    loop {
        let from = after.as_deref().map(|name| format!("&after={}", escaped(name))).unwrap_or_default();
        let path = format!("/admin/v1/keys?limit=500{filters}{from}");
        let mut page = send(proxy, Method::GET, &path, None).await?;
        keys.append(page["data"].as_array_mut().unwrap_or(&mut Vec::new()));
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    let mut columns = vec!["name", "prefix", "team", "disabled", "expires", "source"];
    if keys.iter().any(|key| key["out_of_force"].is_string()) {
        columns.push("out_of_force");
    }
    Ok(if proxy.json { format!("{:#}", Value::Array(keys)) } else { table(&columns, &keys) })
}

async fn usage(asked: &Usage) -> Result<String, String> {
    let wanted = [
        ("key", &asked.key),
        ("team", &asked.team),
        ("customer", &asked.customer),
        ("user", &asked.user),
        ("session", &asked.session),
        ("tag", &asked.tag),
        ("provider", &asked.provider),
        ("since", &asked.since),
        ("until", &asked.until),
    ];
    let wanted = wanted.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let query: Vec<_> = wanted.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let answer =
        send(&asked.proxy, Method::GET, &format!("/admin/v1/usage?{}", query.join("&")), None).await?;
    let rows = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let text = if answer["days"].is_array() {
        let mut total = answer["total"].clone();
        total["day"] = "total".into();
        let days: Vec<_> = rows("days").into_iter().chain([total]).collect();
        table(&["day", "requests", "input", "output", "usd"], &days)
    } else {
        table(&["account", "measure", "per", "limit", "used", "held", "left", "resets"], &rows("usage"))
    };
    Ok(said(&asked.proxy, &answer, &text))
}

/// Where a request would go, and why.
async fn explain(asked: &Explain) -> Result<String, String> {
    let question = json!({ "messages": [{ "role": "user", "content": "How are you?" }] });
    let mut body: Value = match &asked.request {
        None => question,
        Some(file) => {
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
            let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
            serde_json::from_str(&text).map_err(|error| wrong(&error))?
        }
    };
    if let (Some(model), Some(body)) = (&asked.model, body.as_object_mut()) {
        body.insert("model".into(), model.as_str().into());
    }
    let header = |text: &String| {
        let (name, value) =
            text.split_once(':').ok_or_else(|| format!("--header {text}: expected NAME:VALUE"))?;
        Ok::<_, String>((name.trim().to_owned(), Value::from(value.trim())))
    };
    let headers = asked.header.iter().map(header).collect::<Result<serde_json::Map<_, _>, _>>()?;
    let wanted = json!({ "key": asked.key, "path": asked.path, "headers": headers, "body": body });
    let answer = send(&asked.proxy, Method::POST, "/admin/v1/explain", Some(wanted)).await?;
    let text = |name: &str| answer[name].as_str().unwrap_or("-").to_owned();
    let head = format!(
        "model {}, route {}, rule {}, strategy {}, about {} tokens of input",
        text("model"),
        text("route"),
        text("rule"),
        text("strategy"),
        answer["input"]
    );
    let rows = answer["candidates"].as_array().cloned().unwrap_or_default();
    let told = table(&["place", "target", "usd", "region", "latency_ms", "in_flight", "why"], &rows);
    let open = answer["undecided"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let open: String = open.map(|why| format!("\nopen: {}", why.replace(char::is_control, "?"))).collect();
    Ok(said(&asked.proxy, &answer, &format!("{}{open}\n\n{told}", head.replace(char::is_control, "?"))))
}

/// Who changed what and when, newest first.
async fn audit(asked: &Listed) -> Result<String, String> {
    let wanted =
        [("kind", &asked.kind), ("who", &asked.who), ("since", &asked.since), ("until", &asked.until)];
    let wanted = wanted.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let filters: String = wanted.map(|(name, value)| format!("&{name}={}", escaped(value))).collect();
    let (mut entries, mut before) = (Vec::new(), String::new());
    loop {
        let limit = (asked.limit - entries.len()).min(500);
        let path = format!("/admin/v1/audit?limit={limit}{filters}{before}");
        let mut page = send(&asked.proxy, Method::GET, &path, None).await?;
        entries.append(page["data"].as_array_mut().unwrap_or(&mut Vec::new()));
        match page["next"].as_u64().filter(|_| entries.len() < asked.limit) {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    let columns = ["number", "at", "kind", "who", "from", "what"];
    Ok(if asked.proxy.json { format!("{:#}", Value::Array(entries)) } else { table(&columns, &entries) })
}

async fn compare(model: Option<&str>, proxy: &Proxy) -> Result<String, String> {
    let query = model.map(|model| format!("?model={}", escaped(model))).unwrap_or_default();
    let answer = send(proxy, Method::GET, &format!("/admin/v1/mirrors{query}"), None).await?;
    let mut rows = answer["data"].as_array().cloned().unwrap_or_default();
    for row in &mut rows {
        let (requests, failed) = (row["requests"].as_f64(), row["failed"].as_f64());
        let share = requests.zip(failed).filter(|(requests, _)| *requests > 0.0);
        row["failed_percent"] =
            json!(share.map(|(requests, failed)| format!("{:.1}", 100.0 * failed / requests)));
        let cost = row["usd"].as_str().and_then(|usd| usd.parse::<f64>().ok());
        let each = requests.zip(cost).filter(|(requests, _)| *requests > 0.0);
        row["usd_per_1000"] = json!(each.map(|(requests, cost)| format!("{:.4}", 1_000.0 * cost / requests)));
        row["copies"] = row["mirror"].clone();
    }
    let columns = [
        "model",
        "target",
        "copies",
        "requests",
        "failed_percent",
        "first_p50_ms",
        "first_p95_ms",
        "p50_ms",
        "p95_ms",
        "input",
        "output",
        "usd",
        "usd_per_1000",
        "unpriced",
        "skipped",
    ];
    Ok(said(proxy, &answer, &table(&columns, &rows)))
}

/// The members of objects, one object a line.
pub fn table(columns: &[&str], rows: &[Value]) -> String {
    let cell = |row: &Value, column: &&str| match &row[*column] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.replace(char::is_control, "?"),
        other => other.to_string(),
    };
    let head = columns.iter().map(|column| column.to_uppercase()).collect();
    let mut lines: Vec<Vec<String>> = vec![head];
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()));
    let width = |index: usize| lines.iter().map(|line| line[index].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
