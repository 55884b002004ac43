//! Tokens of Microsoft Entra: [`Entra`], [`ManagedIdentity`].

use std::{env, fs, path::PathBuf};

use super::{
    Token, TokenSource,
    endpoint::{Endpoint, Granted},
};
use crate::{BoxFuture, Error, Kind, percent, secret::Secret};

/// Where Entra is, unless a cloud has one of its own.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// What tokens for models are for, unless a cloud or a resource wants another one.
const RESOURCE: &str = "https://cognitiveservices.azure.com";

/// An application that is registered with Entra.
#[derive(Debug)]
pub struct Entra {
    endpoint: Endpoint,
    url: String,
    client_id: String,
    resource: String,
    proof: Proof,
}

#[derive(Debug)]
enum Proof {
    Secret(Secret),
    /// A token of another issuer, which is renewed in its file.
    File(PathBuf),
}

impl Entra {
    /// An application that has a secret.
    pub fn new(tenant: &str, client_id: &str, client_secret: Secret) -> Self {
        Self::build(tenant, client_id, Proof::Secret(client_secret))
    }

    /// A workload whose platform writes a token for it into a file.
    pub fn federated(tenant: &str, client_id: &str, token_file: impl Into<PathBuf>) -> Self {
        Self::build(tenant, client_id, Proof::File(token_file.into()))
    }

    /// Sets where Entra is, such as `https://login.microsoftonline.us`.
    #[must_use]
    pub fn authority(self, authority: &str) -> Self {
        let path = self.url.splitn(4, '/').nth(3).unwrap_or_default();
        Self { url: format!("{}/{path}", authority.trim_end_matches('/')), ..self }
    }

    /// Sets what the tokens are for, such as `https://ai.azure.com`.
    #[must_use]
    pub fn resource(self, resource: &str) -> Self {
        Self { resource: resource.trim_end_matches('/').to_owned(), ..self }
    }

    fn build(tenant: &str, client_id: &str, proof: Proof) -> Self {
        let url = format!("{AUTHORITY}/{}/oauth2/v2.0/token", percent::encoded(tenant));
        let (client_id, resource) = (client_id.to_owned(), RESOURCE.to_owned());
        Self { endpoint: Endpoint::default(), url, client_id, resource, proof }
    }

    async fn token(&self) -> Result<Token, Error> {
        let scope = format!("{}/.default", self.resource);
        let common =
            [("grant_type", "client_credentials"), ("client_id", &*self.client_id), ("scope", &*scope)];
        let granted: Granted = match &self.proof {
            Proof::Secret(secret) => {
                let fields = [&common[..], &[("client_secret", secret.expose())]].concat();
                self.endpoint.post_form(&self.url, &fields).await?
            }
            Proof::File(path) => {
                let token = fs::read_to_string(path).map_err(|error| {
                    Error::new(Kind::UpstreamAuth, "the file with the token of this workload can't be read")
                        .with_source(error)
                })?;
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                let proof = [("client_assertion_type", kind), ("client_assertion", token.trim())];
                self.endpoint.post_form(&self.url, &[&common[..], &proof].concat()).await?
            }
        };
        Ok(granted.into())
    }
}

impl TokenSource for Entra {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>> {
        Box::pin(self.token())
    }
}

/// The identity that Azure gives a machine or an app which runs there.
#[derive(Debug)]
pub struct ManagedIdentity {
    endpoint: Endpoint,
    url: String,
    version: &'static str,
    resource: String,
    client_id: Option<String>,
    header: (&'static str, Secret),
}

impl ManagedIdentity {
    /// That of the app where App Service says so in the environment, or else that of the machine. One of
    /// several is chosen by its client id.
    pub fn new(client_id: Option<&str>) -> Self {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        match variable("IDENTITY_ENDPOINT").zip(variable("IDENTITY_HEADER")) {
            Some((url, proof)) => {
                Self::at(&url, "2019-08-01", client_id, ("x-identity-header", Secret::new(proof)))
            }
            None => {
                let url = "http://169.254.169.254/metadata/identity/oauth2/token";
                Self::at(url, "2018-02-01", client_id, ("metadata", Secret::new("true")))
            }
        }
    }

    /// Sets what the tokens are for, such as `https://ai.azure.com`.
    #[must_use]
    pub fn resource(self, resource: &str) -> Self {
        Self { resource: resource.trim_end_matches('/').to_owned(), ..self }
    }

    fn at(url: &str, version: &'static str, client_id: Option<&str>, header: (&'static str, Secret)) -> Self {
        Self {
            endpoint: Endpoint::local(),
            url: url.to_owned(),
            version,
            resource: RESOURCE.to_owned(),
            client_id: client_id.map(str::to_owned),
            header,
        }
    }

    async fn token(&self) -> Result<Token, Error> {
        let mut query = vec![("api-version", self.version), ("resource", &*self.resource)];
        query.extend(self.client_id.as_deref().map(|id| ("client_id", id)));
        let url = format!("{}?{}", self.url, percent::form(&query));
        let header = (self.header.0, self.header.1.expose());
        Ok(self.endpoint.get::<Granted>(&url, &[header]).await?.into())
    }
}

impl TokenSource for ManagedIdentity {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>> {
        Box::pin(self.token())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::endpoint::testing::Server;

    async fn server() -> Server {
        Server::start(|_| {
            (
                200,
                r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"eyJ"}"#
                    .into(),
            )
        })
        .await
    }

    #[tokio::test]
    async fn an_application_shows_its_secret() {
        let server = server().await;
        let entra = Entra::new("my-tenant", "app", Secret::new("s3cr&t")).authority(&server.url);

        let token = entra.fetch().await.unwrap();

        assert_eq!((token.secret.expose(), token.lifetime.as_secs()), ("eyJ", 3599));
        let asked = &server.asked()[0];
        assert!(asked.starts_with("POST /my-tenant/oauth2/v2.0/token HTTP/1.1\r\n"), "{asked}");
        assert!(asked.ends_with(
            "\r\n\r\ngrant_type=client_credentials&client_id=app\
             &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default&client_secret=s3cr%26t"
        ));
        assert!(!format!("{entra:?}").contains("s3cr"));
    }

    #[tokio::test]
    async fn a_workload_shows_what_its_platform_has_written() {
        let server = server().await;
        let file = env::temp_dir().join(format!("bartizan-token-{}", std::process::id()));
        fs::write(&file, "header.claims.signature\n").unwrap();
        let entra = Entra::federated("t", "app", &file).authority(&server.url);

        entra.fetch().await.unwrap();
        fs::remove_file(&file).unwrap();
        let gone = entra.fetch().await.unwrap_err();

        assert!(server.asked()[0].ends_with("&client_assertion=header.claims.signature"));
        assert_eq!(gone.kind(), Kind::UpstreamAuth);
    }

    #[tokio::test]
    async fn a_machine_is_asked_for_its_identity() {
        let server = Server::start(|_| {
            (200, r#"{"access_token":"eyJ","expires_in":"86399","expires_on":"1763689000"}"#.into())
        })
        .await;
        let url = format!("{}/metadata/identity/oauth2/token", server.url);
        let identity =
            ManagedIdentity::at(&url, "2018-02-01", Some("app"), ("metadata", Secret::new("true")));

        let token = identity.fetch().await.unwrap();
        let of_app = ("x-identity-header", Secret::new("proof"));
        let app = ManagedIdentity::at(&format!("{}/msi", server.url), "2019-08-01", None, of_app);
        app.resource("https://ai.azure.com/").fetch().await.unwrap();

        assert_eq!(token.lifetime.as_secs(), 86399);
        let of_app = &server.asked()[1];
        assert!(
            of_app.starts_with("GET /msi?api-version=2019-08-01&resource=https%3A%2F%2Fai.azure.com HTTP")
        );
        assert!(of_app.contains("x-identity-header: proof\r\n"), "{of_app}");
        let asked = &server.asked()[0];
        assert!(asked.starts_with(
            "GET /metadata/identity/oauth2/token?api-version=2018-02-01\
             &resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=app HTTP/1.1\r\n"
        ));
        assert!(asked.contains("metadata: true\r\n"));
    }
}
