//! Workload identity federation: someone whom another issuer knows gets a token of Google for a token of
//! that issuer.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;

use super::{SCOPE, impersonated};
use crate::{
    BoxError, Error, Kind,
    secret::Secret,
    sign::{
        Token,
        endpoint::{Endpoint, Granted},
    },
};

/// The members of a credentials file that are about this.
#[derive(Debug, Deserialize)]
pub(super) struct File {
    audience: String,
    subject_token_type: String,
    token_url: String,
    credential_source: CredentialSource,
    service_account_impersonation_url: Option<String>,
    workforce_pool_user_project: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CredentialSource {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Default, Deserialize)]
struct Format {
    /// The member of a JSON object in which the token stands; all of the text if it isn't given.
    subject_token_field_name: Option<String>,
}

/// Someone whom another issuer knows.
#[derive(Debug)]
pub(super) struct External {
    endpoint: Endpoint,
    file: File,
}

impl External {
    pub(super) fn new(file: File) -> Result<Self, BoxError> {
        let source = &file.credential_source;
        if source.file.is_none() && (source.url.is_none() || is_of_aws(source)) {
            return Err("credential_source: only a file or a url can be used".into());
        }
        Ok(Self { endpoint: Endpoint::default(), file })
    }

    pub(super) async fn token(&self) -> Result<Token, Error> {
        let File { audience, subject_token_type, token_url, .. } = &self.file;
        let subject = self.subject().await?;
        let options = self.file.workforce_pool_user_project.as_ref();
        let options = options.map(|project| serde_json::json!({ "userProject": project }).to_string());
        let mut fields = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", audience),
            ("scope", SCOPE),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token", subject.expose()),
            ("subject_token_type", subject_token_type),
        ];
        fields.extend(options.iter().map(|options| ("options", &**options)));
        let token: Token = self.endpoint.post_form::<Granted>(token_url, &fields).await?.into();
        match &self.file.service_account_impersonation_url {
            Some(url) => impersonated(&self.endpoint, url, &token.secret, &[]).await,
            None => Ok(token),
        }
    }

    /// The token of the other issuer, which is renewed where it stands.
    async fn subject(&self) -> Result<Secret, Error> {
        let source = &self.file.credential_source;
        let text = match (&source.file, &source.url) {
            (Some(path), _) => fs::read(path).map_err(|error| unusable().with_source(error))?,
            (None, Some(url)) => {
                let headers: Vec<(&str, &str)> =
                    source.headers.iter().map(|(name, value)| (&**name, value.expose())).collect();
                self.endpoint.text(url, &headers).await?.into()
            }
            (None, None) => return Err(unusable()),
        };
        let text = String::from_utf8(text).map_err(|_| unusable())?;
        let Some(field) = &source.format.subject_token_field_name else {
            return Ok(Secret::new(text.trim()));
        };
        // What serde says may quote the token.
        let object: serde_json::Value = serde_json::from_str(&text).map_err(|_| unusable())?;
        object[&**field].as_str().map(Secret::new).ok_or_else(unusable)
    }
}

/// The metadata of machines at AWS are no token: they need to be signed.
fn is_of_aws(source: &CredentialSource) -> bool {
    source.url.as_deref().is_some_and(|url| url.contains("/meta-data/iam/security-credentials"))
}

fn unusable() -> Error {
    Error::new(Kind::UpstreamAuth, "the token of the other issuer can't be read")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::GoogleCredentials;
    use crate::sign::{TokenSource, endpoint::testing::Server};

    async fn sts() -> Server {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1800);
        Server::start(move |asked| {
            let said = match asked.split(' ').nth(1) {
                Some("/subject") => r#"{"id_token":"h.c.s"}"#.to_owned(),
                Some("/sts") => r#"{"access_token":"federated","expires_in":3600}"#.to_owned(),
                _ => format!(r#"{{"accessToken":"account","expireTime":"{end}"}}"#),
            };
            (200, said)
        })
        .await
    }

    #[tokio::test]
    async fn a_token_of_another_issuer_is_exchanged_and_again_for_one_of_an_account() {
        let server = sts().await;
        let file = json!({
            "type": "external_account", "audience": "//iam.googleapis.com/pool", "universe_domain": "googleapis.com",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": format!("{}/sts", server.url),
            "credential_source": {
                "url": format!("{}/subject", server.url), "headers": {"x-proof": "p"},
                "format": {"type": "json", "subject_token_field_name": "id_token"},
            },
            "service_account_impersonation_url": format!("{}/act", server.url),
        });

        let token = GoogleCredentials::from_json(&file.to_string()).unwrap().fetch().await.unwrap();

        assert_eq!(token.secret.expose(), "account");
        let asked = server.asked();
        assert!(asked[0].contains("x-proof: p\r\n"));
        assert!(asked[1].contains("&subject_token=h.c.s&subject_token_type=urn%3Aietf"), "{}", asked[1]);
        assert!(asked[1].contains("&audience=%2F%2Fiam.googleapis.com%2Fpool&"), "{}", asked[1]);
        assert!(asked[2].contains("authorization: Bearer federated\r\n"));
    }

    #[tokio::test]
    async fn a_token_may_stand_in_a_file() {
        let server = sts().await;
        let path = std::env::temp_dir().join(format!("bartizan-subject-{}", std::process::id()));
        std::fs::write(&path, "h.c.s\n").unwrap();
        let file = json!({
            "type": "external_account", "audience": "a", "subject_token_type": "t",
            "token_url": format!("{}/sts", server.url), "credential_source": {"file": path},
        });

        let token = GoogleCredentials::from_json(&file.to_string()).unwrap().fetch().await.unwrap();
        std::fs::remove_file(&path).unwrap();

        assert_eq!((token.secret.expose(), token.lifetime.as_secs()), ("federated", 3600));
        assert!(server.asked()[0].contains("&subject_token=h.c.s&"));
    }

    #[test]
    fn sources_that_cannot_be_used_are_refused_at_once() {
        let of = |source: serde_json::Value| {
            let file = json!({
                "type": "external_account", "audience": "a", "subject_token_type": "t", "token_url": "u",
                "credential_source": source,
            });
            GoogleCredentials::from_json(&file.to_string()).unwrap_err().to_string()
        };

        assert!(of(json!({"executable": {"command": "x"}})).starts_with("credential_source: "));
        let aws = "http://169.254.169.254/latest/meta-data/iam/security-credentials";
        assert!(of(json!({"environment_id": "aws1", "url": aws})).starts_with("credential_source: "));
    }
}
