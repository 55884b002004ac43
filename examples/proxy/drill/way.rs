use std::{collections::HashSet, time::SystemTime};

use bartizan::config::{Config, Model, OnBreak, Rule, Task, Written};

/// One way that requests for a model may go: each of its targets is on one of them.
#[derive(Clone, Debug)]
pub struct Way {
    /// The name that is asked for.
    pub model: String,
    to: To,
}

/// What decides where they go.
#[derive(Clone, Debug)]
enum To {
    /// Nothing in particular.
    Usual,
    /// The rule that stands there.
    Rule(usize),
    /// The kind of task that stands there.
    Task(usize),
    /// The end of its time, after which a successor serves it.
    Successor,
}

impl Way {
    /// Every way of a model. Where one leads to another model, that one's ways are drilled under its own name.
    pub fn all(name: &str, model: &Model) -> Vec<Self> {
        let is_over = model.successor.is_some() && is_past(model);
        let usual = (!is_over).then_some(To::Usual);
        let rules = (0..model.rules.len()).map(To::Rule);
        let kinds = model.tasks.iter().flat_map(|tasks| 0..tasks.kinds.len()).map(To::Task);
        let decided = rules.chain(kinds).filter(|_| !is_over);
        let successor = model.successor.as_ref().map(|_| To::Successor);
        let all = usual.into_iter().chain(decided).chain(successor);
        all.map(|to| Self { model: name.to_owned(), to }).collect()
    }

    /// What a report calls it.
    pub fn name(&self, config: &Config) -> String {
        let (name, model) = (&self.model, &config.models[&self.model]);
        match self.to {
            To::Usual => name.clone(),
            To::Rule(index) => {
                let number = || (index + 1).to_string();
                format!("{name}, rule {}", model.rules[index].name.clone().unwrap_or_else(number))
            }
            To::Task(index) => format!("{name}, task {}", kind(model, index).name),
            To::Successor => format!("{name}, successor"),
        }
    }

    /// The same configuration, where every request for the model goes this way, and without the models that are not
    /// on it.
    pub fn only(&self, config: &Config) -> Config {
        let mut only = config.clone();
        for model in only.models.values_mut() {
            model.rules.clear();
            model.tasks = None;
            if !is_past(model) {
                model.successor = None;
            }
        }
        let (written, forced) = (&config.models[&self.model], only.models.get_mut(&self.model));
        if let Some(model) = forced {
            match self.to {
                To::Usual => {}
                To::Rule(index) => model.rules = vec![always(written.rules[index].clone())],
                To::Task(index) => {
                    let mut to_it = Rule::default();
                    to_it.model = Some(kind(written, index).model.clone());
                    model.rules = vec![always(to_it)];
                }
                To::Successor => {
                    model.successor.clone_from(&written.successor);
                    (model.deprecated, model.sunset) = (None, Some(Written::new(SystemTime::UNIX_EPOCH)));
                }
            }
        }
        let reached = reached(&only, &self.model);
        only.models.retain(|name, _| reached.contains(name));
        only
    }
}

/// Who may be asked in the end in a configuration with one way, each once, and whether the next target goes on with a
/// stream that breaks.
pub fn end(only: &Config, model: &str) -> (Vec<String>, bool) {
    let Some((_, last)) = steps(only, model).last() else { return (Vec::new(), false) };
    let instead = last.rules.first().map(|rule| &rule.targets).filter(|targets| !targets.is_empty());
    let mut seen = HashSet::new();
    let mut targets = instead.unwrap_or(&last.targets).clone();
    // Whoever has to stay in some regions stays there wherever it is led.
    targets.retain(|target| {
        steps(only, model).all(|(_, step)| only.may_stay_with(step, target))
            && seen.insert(target.name.clone())
    });
    (targets.into_iter().map(|target| target.name).collect(), last.on_break == OnBreak::Resume)
}

/// A model, and all to which it leads.
fn reached(config: &Config, model: &str) -> HashSet<String> {
    let (mut open, mut reached) = (vec![model], HashSet::new());
    while let Some(name) = open.pop() {
        if reached.insert(name.to_owned()) {
            open.extend(config.models.get(name).into_iter().flat_map(Model::leads));
        }
    }
    reached
}

/// The models on the way from one of them. What leads in a circle is not a valid configuration.
fn steps<'a>(only: &'a Config, model: &'a str) -> impl Iterator<Item = (&'a str, &'a Model)> {
    let at = |name: &'a str| Some((name, only.models.get(name)?));
    std::iter::successors(at(model), move |(_, model)| at(next(model)?))
}

/// Where a model leads that has one way.
fn next(model: &Model) -> Option<&str> {
    let successor = model.successor.as_deref().filter(|_| is_past(model));
    let decided = || model.rules.first().map(|rule| rule.model.as_deref());
    successor.or_else(|| decided().unwrap_or(model.alias.as_deref()))
}

fn is_past(model: &Model) -> bool {
    model.sunset.as_deref().is_some_and(|sunset| *sunset <= SystemTime::now())
}

fn always(mut rule: Rule) -> Rule {
    "true".clone_into(&mut rule.when);
    rule
}

fn kind(model: &Model, index: usize) -> &Task {
    let tasks = model.tasks.as_ref().expect("the way of a task is one of a model that has tasks");
    &tasks.kinds[index]
}
