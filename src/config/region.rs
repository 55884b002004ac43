//! Where the models of a provider are.

use super::{Config, Model, Provider, ProviderKind, Target, problem::Problem};
use crate::access::Pattern;

/// What the names of Bedrock's inference profiles begin with: where a request may be sent from its region.
const GEOGRAPHIES: [&str; 12] =
    ["global", "us", "us-gov", "eu", "apac", "ap", "jp", "au", "ca", "sa", "me", "af"];

/// The region in which `model` answers; `None` if that is not known.
pub(super) fn region<'a>(provider: &'a Provider, model: &'a str) -> Option<&'a str> {
    let said = provider.region.as_deref();
    match provider.kind {
        ProviderKind::Bedrock => bedrock(said?, model),
        ProviderKind::Vertex => said.or(provider.location.as_deref()).or(Some("global")),
        _ => said,
    }
}

impl Config {
    /// Whether a target is in the regions that a model has to stay in, where there are any; the target may be that of
    /// another model to which it leads.
    pub fn may_stay_with(&self, model: &Model, target: &Target) -> bool {
        let region = || target.parts().and_then(|(name, model)| region(self.providers.get(name)?, model));
        let is_in = |known| model.regions.iter().any(|regions| Pattern::new(&**regions).matches(known));
        model.regions.is_empty() || region().is_some_and(is_in)
    }

    /// A model that has to stay in regions in which it has no target could never be answered.
    pub(super) fn check_regions(&self, path: &str, model: &Model, problems: &mut Vec<Problem>) {
        let own = model.targets.iter().chain(model.rules.iter().flat_map(|rule| &rule.targets));
        let is_inside = |target| self.may_stay_with(model, target);
        if !model.targets.is_empty() && !own.into_iter().any(is_inside) {
            let message =
                "has none of the targets; where a provider is says its `region`, or `location` at Vertex";
            problems.push(Problem::at(format!("{path}.regions"), message));
        }
    }
}

fn bedrock<'a>(region: &'a str, model: &'a str) -> Option<&'a str> {
    // Its ARN doesn't say what kind of profile it was made of.
    if model.contains(":application-inference-profile/") {
        return None;
    }
    let name = model.rsplit('/').next().unwrap_or(model);
    let begins = name.split_once('.').map(|(begins, _)| begins);
    Some(begins.filter(|begins| GEOGRAPHIES.contains(begins)).unwrap_or(region))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clouds_say_where_their_models_are_and_others_are_asked() {
        let of = |yaml: &str, model: &str| {
            let provider: Provider = serde_saphyr::from_str(yaml).unwrap();
            region(&provider, model).map(str::to_owned)
        };
        let bedrock = "{ kind: bedrock, region: eu-west-1 }";
        let arn = |resource: &str| format!("arn:aws:bedrock:eu-west-1:123456789012:{resource}");

        for (yaml, model, expected) in [
            (bedrock, "anthropic.claude-sonnet-4-5-20250929-v1:0", Some("eu-west-1")),
            (bedrock, "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", Some("eu")),
            (bedrock, "global.anthropic.claude-opus-4-8", Some("global")),
            (bedrock, &arn("inference-profile/us.amazon.nova-pro-v1:0"), Some("us")),
            (bedrock, &arn("provisioned-model/abc"), Some("eu-west-1")),
            (bedrock, &arn("application-inference-profile/abc"), None),
            ("{ kind: vertex, project: p }", "gemini-2.5-flash", Some("global")),
            (
                "{ kind: vertex, project: p, location: europe-west1 }",
                "gemini-2.5-flash",
                Some("europe-west1"),
            ),
            ("{ kind: azure, resource: r, api_key: k }", "d", None),
            ("{ kind: azure, resource: r, api_key: k, region: swedencentral }", "d", Some("swedencentral")),
            ("{ kind: openai, base_url: https://eu.api.openai.com/v1, region: eu }", "gpt-4o", Some("eu")),
            ("{ kind: openai }", "gpt-4o", None),
        ] {
            assert_eq!(of(yaml, model).as_deref(), expected, "{yaml} {model}");
        }
    }
}
