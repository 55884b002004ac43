use std::{collections::HashSet, env, fs, path::Path, rc::Rc};

use bartizan::{
    BoxError,
    config::{AuthMode, Config, Gateway, Limits, Records, Several, Store, UnknownPrice},
    fault::Fault,
};

use super::way::{Way, end};

/// What each target does in turn.
const FAULTS: [&str; 14] = [
    "refuse",
    "reset",
    "hang",
    "401",
    "429",
    "500",
    "503",
    "529",
    "malformed",
    "empty",
    "error",
    "delay 2s",
    "cut 0",
    "cut 3",
];

/// One way to fail, and one request.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name that is asked for, and the way from there, for people.
    pub route: String,
    /// Which way it is.
    pub way: Rc<Way>,
    /// Who fails, for people.
    pub who: String,
    pub failing: Vec<String>,
    /// Whether there are targets that are well.
    pub has_others: bool,
    /// How; nobody fails at first.
    pub fault: Option<Fault>,
    pub stream: bool,
    /// Whether the next target goes on with a stream that breaks.
    pub resumes: bool,
}

/// Every way of every route; every target of it, and then all but one; every fault; whole and as a stream.
pub fn cases(config: &Config, only: &[String]) -> Result<Vec<Case>, BoxError> {
    if let Some(unknown) = only.iter().find(|name| !config.models.contains_key(*name)) {
        return Err(format!("--route {unknown}: there is no such name under `models`").into());
    }
    let faults = FAULTS.iter().map(|fault| fault.parse().map(Some)).collect::<Result<Vec<_>, _>>()?;
    let routes = config.models.iter().filter(|(name, _)| only.is_empty() || only.contains(name));
    let ways = routes.flat_map(|(name, model)| Way::all(name, model));
    let cases: Vec<_> = ways.flat_map(|way| of(way, config, &faults)).collect();
    if cases.is_empty() {
        return Err("the configuration has no `models`, so there is no route that could survive".into());
    }
    Ok(cases)
}

/// The cases of one way.
fn of(way: Way, config: &Config, faults: &[Option<Fault>]) -> Vec<Case> {
    let (targets, resumes) = end(&way.only(config), &way.model);
    let (route, way) = (way.name(config), Rc::new(way));
    let mut cases = Vec::new();
    let mut add = |who: &str, failing: &[String], faults: &[Option<Fault>]| {
        let has_others = failing.len() < targets.len();
        for (fault, stream) in faults.iter().flat_map(|fault| [(*fault, false), (*fault, true)]) {
            let (route, way, who) = (route.clone(), way.clone(), who.to_owned());
            cases.push(Case {
                route,
                way,
                who,
                failing: failing.to_vec(),
                has_others,
                fault,
                stream,
                resumes,
            });
        }
    };
    add("nobody", &[], &[None]);
    targets.iter().for_each(|target| add(target, std::slice::from_ref(target), faults));
    // Of two, one that fails is all but one.
    for well in targets.iter().filter(|_| targets.len() > 2) {
        let others: Vec<_> = targets.iter().filter(|target| *target != well).cloned().collect();
        add(&format!("all but {well}"), &others, faults);
    }
    cases
}

/// The configuration; without the real providers, keys that aren't set are made up.
pub fn read(file: &Path, real: bool) -> Result<Config, BoxError> {
    if real {
        return Ok(Config::from_file(file)?);
    }
    let name = file.display().to_string();
    let text =
        fs::read_to_string(file).map_err(|error| format!("{name}: the file can't be read: {error}"))?;
    let needed = needed(&text);
    let made_up = |variable: &str| format!("made-up-by-the-drill-{variable}");
    let lookup = |variable: &str| {
        env::var(variable).ok().or_else(|| needed.contains(variable).then(|| made_up(variable)))
    };
    Ok(Config::read(&text, &name, &lookup)?)
}

/// The variables that have to be set.
fn needed(text: &str) -> HashSet<&str> {
    let end = |rest: &str| rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let braced = text.split("${").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_at(end(rest));
        (rest.starts_with('}') || rest.starts_with(":?")).then_some(name)
    });
    let plain = text.split("os.environ/").skip(1).map(|rest| &rest[..end(rest)]);
    braced.chain(plain).collect()
}

/// The same routes, with nothing besides that refuses, is written down or told to anybody.
pub fn prepared(mut config: Config, real: bool) -> Config {
    config.store = Store::Memory;
    config.auth = AuthMode::Open;
    config.keys.clear();
    config.log.records = [Records::None].into_iter().collect();
    config.audit = Default::default();
    // There are no administrators that it could be kept for.
    (config.server.metrics, config.otel) = (None, None);
    (config.alerts, config.loops, config.admin, config.faults) = Default::default();
    (config.users, config.sessions, config.tags) = Default::default();
    config.gateway = Gateway::default();
    for provider in config.providers.values_mut() {
        (provider.budget, provider.limits) = (Several::default(), Limits::default());
    }
    for model in config.models.values_mut() {
        model.per_request = None;
    }
    if !real {
        config.unknown_price = UnknownPrice::Allow;
    }
    config
}
