//! Tokens of Google Cloud: [`GoogleCredentials`].

mod external;
mod jwt;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use self::{external::External, jwt::Key};
use super::{
    Token, TokenSource,
    endpoint::{Endpoint, Granted, USUAL},
};
use crate::{BoxError, BoxFuture, Error, Kind, secret::Secret};

/// What tokens are for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Where accounts get their tokens, where a file doesn't say otherwise.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// An identity at Google Cloud.
#[derive(Debug)]
pub struct GoogleCredentials {
    endpoint: Endpoint,
    identity: Identity,
    project: Option<String>,
    quota_project: Option<String>,
}

#[derive(Debug)]
enum Identity {
    /// A service account, which signs by itself.
    Account { key: Box<Key>, email: String, token_uri: String },
    /// A person who has logged in.
    Person { client_id: String, secret: Secret, refresh_token: Secret, token_uri: String },
    /// Someone whom another issuer knows.
    External(Box<External>),
    /// One account in the name of another.
    Impersonated { source: Box<GoogleCredentials>, url: String, delegates: Vec<String> },
    /// The machine on which this runs.
    Machine { url: String },
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum File {
    ServiceAccount {
        client_email: String,
        private_key: Secret,
        private_key_id: Option<String>,
        token_uri: Option<String>,
        project_id: Option<String>,
        quota_project_id: Option<String>,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: Secret,
        refresh_token: Secret,
        token_uri: Option<String>,
        quota_project_id: Option<String>,
    },
    ExternalAccount {
        #[serde(flatten)]
        file: external::File,
        quota_project_id: Option<String>,
    },
    ImpersonatedServiceAccount {
        source_credentials: Box<File>,
        service_account_impersonation_url: String,
        #[serde(default)]
        delegates: Vec<String>,
        quota_project_id: Option<String>,
    },
}

impl GoogleCredentials {
    /// The identity that a credentials file describes: a service account, an authorised user, an
    /// external account or an impersonated one.
    ///
    /// # Errors
    ///
    /// If it is none of them, or its key can't be used. The message shows nothing of the file.
    pub fn from_json(json: &str) -> Result<Self, BoxError> {
        // What serde says may quote the file.
        let file: File = serde_json::from_str(json).map_err(|error| {
            let line = error.line();
            format!(
                "not a credentials file of Google Cloud of type service_account, authorized_user, \
                 external_account or impersonated_service_account: line {line}"
            )
        })?;
        Self::from_file(file)
    }

    /// Where libraries of Google look: the file that `GOOGLE_APPLICATION_CREDENTIALS` names, the one that
    /// `gcloud auth application-default login` writes, or the machine.
    ///
    /// # Errors
    ///
    /// Those of [`from_json`](Self::from_json), and if the file can't be read.
    pub fn find() -> Result<Self, BoxError> {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(path) = variable("GOOGLE_APPLICATION_CREDENTIALS") {
            return Self::read(Path::new(&path));
        }
        let folder = variable("CLOUDSDK_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&variable("HOME")?).join(".config/gcloud")))
            .or_else(|| Some(Path::new(&variable("APPDATA")?).join("gcloud")));
        let file = folder.map(|folder| folder.join("application_default_credentials.json"));
        match file.filter(|file| file.exists()) {
            Some(file) => Self::read(&file),
            None => Ok(Self::metadata_server()),
        }
    }

    /// The identity of a file.
    ///
    /// # Errors
    ///
    /// Those of [`from_json`](Self::from_json), and if it can't be read.
    pub fn read(path: &Path) -> Result<Self, BoxError> {
        let wrong = |error: BoxError| format!("{}: {error}", path.display());
        let json = fs::read_to_string(path).map_err(|error| wrong(error.into()))?;
        Ok(Self::from_json(&json).map_err(wrong)?)
    }

    /// The machine on which this runs, at Google or in `GCE_METADATA_HOST`.
    pub fn metadata_server() -> Self {
        let host = env::var("GCE_METADATA_HOST").unwrap_or_else(|_| "metadata.google.internal".to_owned());
        Self::machine(&format!("http://{host}"))
    }

    /// The project that the identity belongs to, if its file says so.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// The project that is charged, if it is another; it belongs into the header `x-goog-user-project`.
    pub fn quota_project(&self) -> Option<&str> {
        self.quota_project.as_deref()
    }

    fn machine(base: &str) -> Self {
        let url = format!("{base}/computeMetadata/v1/instance/service-accounts/default/token");
        Self { endpoint: Endpoint::local(), ..Identity::Machine { url }.into() }
    }

    fn from_file(file: File) -> Result<Self, BoxError> {
        let token_uri = |uri: Option<String>| uri.unwrap_or_else(|| TOKEN_URI.to_owned());
        Ok(match file {
            File::ServiceAccount {
                client_email: email,
                private_key,
                private_key_id,
                token_uri: uri,
                project_id: project,
                quota_project_id: quota_project,
            } => {
                let key = Box::new(Key::new(&private_key, private_key_id)?);
                let identity = Identity::Account { key, email, token_uri: token_uri(uri) };
                Self { project, quota_project, ..identity.into() }
            }
            File::AuthorizedUser {
                client_id,
                client_secret: secret,
                refresh_token,
                token_uri: uri,
                quota_project_id,
            } => {
                let token_uri = token_uri(uri);
                let identity = Identity::Person { client_id, secret, refresh_token, token_uri };
                Self::from(identity).quota(quota_project_id)
            }
            File::ExternalAccount { file, quota_project_id } => {
                let external = External::new(file)?;
                Self::from(Identity::External(Box::new(external))).quota(quota_project_id)
            }
            File::ImpersonatedServiceAccount {
                source_credentials,
                service_account_impersonation_url: url,
                delegates,
                quota_project_id,
            } => {
                let source = Box::new(Self::from_file(*source_credentials)?);
                let identity = Identity::Impersonated { source, url, delegates };
                Self::from(identity).quota(quota_project_id)
            }
        })
    }

    fn quota(self, quota_project: Option<String>) -> Self {
        Self { quota_project, ..self }
    }

    async fn token(&self) -> Result<Token, Error> {
        let endpoint = &self.endpoint;
        let granted: Granted = match &self.identity {
            Identity::Account { key, email, token_uri } => {
                let assertion = key.assertion(email, token_uri, SystemTime::now())?;
                let kind = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                let fields = [("grant_type", kind), ("assertion", &*assertion)];
                endpoint.post_form(token_uri, &fields).await?
            }
            Identity::Person { client_id, secret, refresh_token, token_uri } => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("client_id", client_id),
                    ("client_secret", secret.expose()),
                    ("refresh_token", refresh_token.expose()),
                ];
                endpoint.post_form(token_uri, &fields).await?
            }
            Identity::External(external) => return external.token().await,
            Identity::Impersonated { source, url, delegates } => {
                let own = source.fetch().await?;
                return impersonated(endpoint, url, &own.secret, delegates).await;
            }
            Identity::Machine { url } => endpoint.get_of(url, ("metadata-flavor", "Google")).await?,
        };
        Ok(granted.into())
    }
}

impl From<Identity> for GoogleCredentials {
    fn from(identity: Identity) -> Self {
        Self { endpoint: Endpoint::default(), identity, project: None, quota_project: None }
    }
}

impl TokenSource for GoogleCredentials {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>> {
        Box::pin(self.token())
    }
}

/// A token of another account, for someone who may act as it.
async fn impersonated(
    endpoint: &Endpoint,
    url: &str,
    own: &Secret,
    delegates: &[String],
) -> Result<Token, Error> {
    #[derive(Serialize)]
    struct Wish<'a> {
        scope: [&'static str; 1],
        lifetime: &'static str,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        delegates: &'a [String],
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Impersonation {
        access_token: Secret,
        expire_time: String,
    }
    let wish = Wish { scope: [SCOPE], lifetime: "3600s", delegates };
    let wish = serde_json::to_string(&wish).map_err(|error| {
        Error::new(Kind::Internal, "a request for a token can't be written").with_source(error)
    })?;
    let granted: Impersonation = endpoint.post_json(url, own, wish).await?;
    let end: Option<jiff::Timestamp> = granted.expire_time.parse().ok();
    let left = end.and_then(|end| SystemTime::from(end).duration_since(SystemTime::now()).ok());
    // It has just been granted: if it seems to have ended, it is the clock of this machine that is wrong.
    Ok(Token { secret: granted.access_token, lifetime: left.unwrap_or(USUAL) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sign::endpoint::testing::Server;

    const GRANTED: &str = r#"{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}"#;

    async fn granting() -> Server {
        Server::start(|_| (200, GRANTED.to_owned())).await
    }

    #[tokio::test]
    async fn a_service_account_shows_what_it_has_signed() {
        let server = granting().await;
        let file = json!({
            "type": "service_account", "project_id": "p", "private_key_id": "0123abcd", "client_id": "1",
            "private_key": jwt::tests::PEM, "client_email": "sa@p.iam.gserviceaccount.com",
            "token_uri": format!("{}/token", server.url), "universe_domain": "googleapis.com",
        });
        let credentials = GoogleCredentials::from_json(&file.to_string()).unwrap();

        let token = credentials.fetch().await.unwrap();

        assert_eq!((token.secret.expose(), token.lifetime.as_secs()), ("ya29.x", 3599));
        assert_eq!(credentials.project(), Some("p"));
        let asked = &server.asked()[0];
        assert!(asked.starts_with("POST /token HTTP/1.1\r\n"));
        assert!(
            asked.contains("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=eyJ")
        );
        assert!(!format!("{credentials:?}").contains("PRIVATE"));
    }

    #[tokio::test]
    async fn a_person_shows_what_the_login_has_left() {
        let server = granting().await;
        let file = json!({
            "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "1//r",
            "quota_project_id": "q", "account": "", "token_uri": server.url,
        });
        let credentials = GoogleCredentials::from_json(&file.to_string()).unwrap();

        credentials.fetch().await.unwrap();

        assert_eq!(credentials.quota_project(), Some("q"));
        assert!(server.asked()[0].ends_with(
            "\r\n\r\ngrant_type=refresh_token&client_id=c&client_secret=s&refresh_token=1%2F%2Fr"
        ));
    }

    #[tokio::test]
    async fn a_machine_is_asked_the_way_that_only_a_program_asks() {
        let server = granting().await;

        GoogleCredentials::machine(&server.url).fetch().await.unwrap();

        let asked = &server.asked()[0];
        assert!(asked.starts_with("GET /computeMetadata/v1/instance/service-accounts/default/token "));
        assert!(asked.contains("metadata-flavor: Google\r\n"));
    }

    #[tokio::test]
    async fn one_account_acts_as_another() {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3600);
        let server = Server::start(move |asked| {
            if asked.starts_with("POST /login") {
                return (200, GRANTED.to_owned());
            }
            (200, format!(r#"{{"accessToken":"ya29.other","expireTime":"{end}"}}"#))
        })
        .await;
        let file = json!({
            "type": "impersonated_service_account",
            "service_account_impersonation_url": format!("{}/act", server.url),
            "delegates": ["d"],
            "source_credentials": {
                "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
                "token_uri": format!("{}/login", server.url),
            },
        });

        let token = GoogleCredentials::from_json(&file.to_string()).unwrap().fetch().await.unwrap();

        assert_eq!(token.secret.expose(), "ya29.other");
        assert!((3590..=3600).contains(&token.lifetime.as_secs()), "{:?}", token.lifetime);
        let asked = &server.asked()[1];
        assert!(asked.contains("authorization: Bearer ya29.x\r\n"), "{asked}");
        let wish = format!(r#"{{"scope":["{SCOPE}"],"lifetime":"3600s","delegates":["d"]}}"#);
        assert!(asked.ends_with(&wish), "{asked}");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_not_shown() {
        let wrong = |json: &str| GoogleCredentials::from_json(json).unwrap_err().to_string();

        assert_eq!(
            wrong(r#"{"type":"gdch_secret"}"#),
            "not a credentials file of Google Cloud of type service_account, authorized_user, \
             external_account or impersonated_service_account: line 1"
        );
        let key = wrong(r#"{"type":"service_account","client_email":"e","private_key":"secret"}"#);
        assert!(key.starts_with("private_key: ") && !key.contains("secret"), "{key}");
    }
}
