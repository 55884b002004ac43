use std::{env, path::Path, sync::Arc, time::Duration};

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Provider, ProviderKind, Secret};
use crate::{
    BoxError,
    sign::{AwsKeys, BearerToken, Credential, Entra, GoogleCredentials, KeyForm, ManagedIdentity, SigV4},
    upstream::Address,
};

/// How the gateway proves who it is, where it has more than a key.
///
/// `azure`: an application (`tenant_id`, `client_id` and `client_secret`), a workload (`token_file`
/// instead of the secret), or `managed_identity`. `vertex`: `file`; what Google's own tools find if it
/// isn't given. `bedrock`: `access_key_id` and `secret_access_key`; those of the environment if they
/// aren't given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Credentials {
    /// `vertex`: a credentials file of Google Cloud.
    pub file: Option<String>,
    /// `azure`: the tenant of Entra.
    pub tenant_id: Option<String>,
    /// `azure`: the application, or which one of several managed identities.
    pub client_id: Option<String>,
    /// `azure`: the application's secret.
    pub client_secret: Option<Secret>,
    /// `azure`: where the platform writes a token for this workload.
    pub token_file: Option<String>,
    /// `azure`: whether to be the identity of the machine or the app.
    pub managed_identity: bool,
    /// `azure`: what the tokens are for; `https://cognitiveservices.azure.com` if it isn't given.
    pub resource: Option<String>,
    /// `bedrock`: the id of an access key.
    pub access_key_id: Option<String>,
    /// `bedrock`: the secret of the access key.
    pub secret_access_key: Option<Secret>,
    /// `bedrock`: the token that belongs to a key which ends with a session.
    pub session_token: Option<Secret>,
}

impl Credentials {
    /// What is missing or too much for a provider of this kind.
    pub(super) fn problem(&self, kind: ProviderKind) -> Option<&'static str> {
        let of_azure = self.tenant_id.is_some()
            || self.client_id.is_some()
            || self.client_secret.is_some()
            || self.token_file.is_some()
            || self.resource.is_some()
            || self.managed_identity;
        let of_bedrock =
            self.access_key_id.is_some() || self.secret_access_key.is_some() || self.session_token.is_some();
        match kind {
            ProviderKind::Azure if self.file.is_some() || of_bedrock => {
                Some("has fields that `azure` doesn't")
            }
            ProviderKind::Azure if !self.managed_identity && !self.is_application() => Some(
                "needs `tenant_id`, `client_id` and `client_secret` or `token_file`, or `managed_identity`",
            ),
            ProviderKind::Vertex if of_azure || of_bedrock => Some("has fields that `vertex` doesn't"),
            ProviderKind::Vertex if self.file.is_none() => Some("needs `file`; leave it out otherwise"),
            ProviderKind::Bedrock if of_azure || self.file.is_some() => {
                Some("has fields that `bedrock` doesn't")
            }
            ProviderKind::Bedrock if self.access_key_id.is_none() || self.secret_access_key.is_none() => {
                Some("needs `access_key_id` and `secret_access_key`")
            }
            ProviderKind::Azure | ProviderKind::Vertex | ProviderKind::Bedrock => None,
            _ => Some("is for `azure`, `vertex` and `bedrock`; others have an `api_key`"),
        }
    }

    fn is_application(&self) -> bool {
        self.tenant_id.is_some()
            && self.client_id.is_some()
            && self.client_secret.is_some() != self.token_file.is_some()
    }
}

/// What requests to a provider at `address` are signed with, and whom Google charges if it is someone
/// else.
pub(super) fn credential(
    provider: &Provider,
    address: Option<&Address>,
) -> Result<(Credential, Option<String>), BoxError> {
    let given = provider.credentials.as_ref();
    Ok(match (&provider.api_key, provider.kind) {
        (Some(key), kind) => (form(kind).credential(key), None),
        (None, ProviderKind::Azure) => (signed(azure(given.cloned().unwrap_or_default())?), None),
        (None, ProviderKind::Vertex) => {
            let google = match given.and_then(|given| given.file.as_deref()) {
                Some(file) => GoogleCredentials::read(Path::new(file))?,
                None => GoogleCredentials::find()?,
            };
            let charged = google.quota_project().map(str::to_owned);
            (signed(BearerToken::new(google)), charged)
        }
        (None, ProviderKind::Bedrock) => {
            // As AWS has it, a key of Bedrock's own goes before the keys of an account.
            if let (None, Some(key)) = (given, bedrock_key()) {
                return Ok((Credential::Bearer(key), None));
            }
            let address = address.ok_or("base_url: is missing")?;
            let region = provider.region.as_deref().ok_or("region: is missing")?;
            let keys = aws(given).ok_or("credentials: there are none, and neither AWS_BEARER_TOKEN_BEDROCK nor AWS_ACCESS_KEY_ID is set")?;
            let signer = SigV4::bedrock(address.clone(), region, keys);
            (Credential::Signed(Arc::new(signer)), None)
        }
        (None, _) => (Credential::None, None),
    })
}

/// How a provider of this kind is presented a key.
pub(super) fn form(kind: ProviderKind) -> KeyForm {
    let header = |name| KeyForm::Header(HeaderName::from_static(name));
    match kind {
        ProviderKind::Anthropic => header("x-api-key"),
        ProviderKind::Gemini => header("x-goog-api-key"),
        ProviderKind::Azure => header("api-key"),
        _ => KeyForm::Bearer,
    }
}

fn signed(token: BearerToken) -> Credential {
    Credential::Signed(Arc::new(token))
}

fn azure(given: Credentials) -> Result<BearerToken, BoxError> {
    /// As Azure's own libraries do.
    const EARLY: Duration = Duration::from_secs(300);

    if given.managed_identity {
        let identity = ManagedIdentity::new(given.client_id.as_deref());
        let token = match &given.resource {
            Some(resource) => BearerToken::new(identity.resource(resource)),
            None => BearerToken::new(identity),
        };
        return Ok(token.early(EARLY));
    }
    let (Some(tenant), Some(client)) = (given.tenant_id, given.client_id) else {
        return Err("credentials: there are none, and no api_key".into());
    };
    let entra = match (given.client_secret, given.token_file) {
        (Some(secret), _) => Entra::new(&tenant, &client, secret),
        (None, Some(file)) => Entra::federated(&tenant, &client, file),
        (None, None) => return Err("credentials: client_secret is missing".into()),
    };
    let entra = given.resource.iter().fold(entra, |entra, resource| entra.resource(resource));
    let authority = env::var("AZURE_AUTHORITY_HOST").ok().filter(|authority| !authority.is_empty());
    let entra = authority.iter().fold(entra, |entra, authority| entra.authority(authority));
    Ok(BearerToken::new(entra).early(EARLY))
}

/// The key in `AWS_BEARER_TOKEN_BEDROCK`.
fn bedrock_key() -> Option<Secret> {
    env::var("AWS_BEARER_TOKEN_BEDROCK").ok().filter(|key| !key.is_empty()).map(Secret::new)
}

fn aws(given: Option<&Credentials>) -> Option<AwsKeys> {
    let Some(given) = given else { return AwsKeys::from_environment() };
    let keys = AwsKeys::new(given.access_key_id.clone()?, given.secret_access_key.clone()?);
    Some(keys.session(given.session_token.clone()))
}
