use std::{fmt::Write, net::SocketAddr, path::Path};

use bartizan::config::{AuthMode, Config, Found, Store};

/// What is printed when the proxy listens: where, for whom, and a line to try it with.
///
/// The key is shown only if it was made for this run and nobody could know it otherwise.
pub fn greeting(config: &Config, file: Option<&Path>, listen: SocketAddr, found: &Found) -> String {
    let mut text = format!("bartizan {} listens on http://{listen}\n\n", env!("CARGO_PKG_VERSION"));
    let _ = match file {
        Some(file) => writeln!(text, "  configuration  {}", file.display()),
        None => writeln!(text, "  configuration  none; --config FILE takes one, --help tells more"),
    };
    let providers: Vec<&str> = config.providers.keys().map(String::as_str).collect();
    let _ = writeln!(text, "  providers      {}", providers.join(", "));
    if file.is_none() {
        let variables = &found.variables;
        let found = if variables.is_empty() { "none".to_owned() } else { variables.join(", ") };
        let _ = writeln!(text, "  found          {found} in the environment");
    }
    let _ = writeln!(text, "  models         {} of your own, and provider/model", config.models.len());
    if config.auth == AuthMode::Open {
        let _ = writeln!(text, "  keys           none: everybody who reaches this address may use it");
        if !listen.ip().is_loopback() {
            let _ =
                writeln!(text, "\n  WARNING: other machines reach this address, and no key is asked for.");
        }
    } else {
        let _ = writeln!(text, "  keys           {}", config.keys.len());
    }
    if config.faults.are_on() {
        let _ = writeln!(text, "\n  WARNING: faults are on: requests fail on purpose.\n");
    }
    let _ = match &config.store {
        Store::Sqlite(file) => writeln!(text, "  budgets        {}", file.display()),
        Store::Redis(redis) => writeln!(text, "  budgets        in redis, under {{{}}}", redis.prefix),
        Store::Postgres(postgres) => {
            writeln!(text, "  budgets        in postgres, under {}", postgres.schema)
        }
        _ => writeln!(text, "  budgets        in memory, they begin anew with this process"),
    };
    let _ = match &config.admin.key {
        Some(_) => writeln!(text, "  dashboard      http://{listen}/logs"),
        None => writeln!(text, "  dashboard      none; with admin.key in the configuration it is at /logs"),
    };
    let key = match (config.auth, &found.key) {
        (AuthMode::Open, _) => "any-key",
        (_, Some(key)) => key.expose(),
        (_, None) => "$YOUR_KEY",
    };
    text.push_str(&examples(config, listen, key));
    if let Some(key) = &found.admin_key {
        let key = key.expose();
        let _ = write!(text, "\nSee what happens:\n\n  http://{listen}/logs#key={key}\n");
    }
    let made: Vec<_> = [("BARTIZAN_KEY", &found.key), ("BARTIZAN_ADMIN_KEY", &found.admin_key)]
        .into_iter()
        .filter_map(|(name, made)| made.as_ref().map(|_| name))
        .collect();
    if !made.is_empty() {
        let variables = made.join(" and ");
        let _ = writeln!(
            text,
            "\n  What was made up is valid until this process ends; set {variables} to choose it yourself."
        );
    }
    text
}

fn examples(config: &Config, listen: SocketAddr, key: &str) -> String {
    let demo = config.providers.iter().find(|(_, provider)| provider.kind.as_str() == "demo");
    let model = demo.map(|(name, _)| format!("{name}/echo")).or_else(|| config.models.keys().next().cloned());
    let model = model.unwrap_or_else(|| "provider/model".to_owned());
    format!(
        "\nTry it:\n\n  curl http://{listen}/v1/chat/completions -H 'content-type: application/json' \
         -H \"authorization: Bearer {key}\" \
         -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'\n\n\
         Or use an SDK:\n\n  OPENAI_BASE_URL=http://{listen}/v1  OPENAI_API_KEY={key}\n  \
         ANTHROPIC_BASE_URL=http://{listen}  ANTHROPIC_API_KEY={key}\n  \
         GOOGLE_GEMINI_BASE_URL=http://{listen}  GEMINI_API_KEY={key}\n"
    )
}
