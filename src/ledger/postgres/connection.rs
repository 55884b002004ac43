use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{PostgresOptions, schema, statements::Statements};
use crate::BoxError;

/// How to get to the server.
pub(super) struct Address {
    config: Config,
    tls: MakeRustlsConnect,
    schema: String,
    timeout: Duration,
}

/// A session, which ends when this is dropped.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) statements: Statements,
    _driver: Driver,
}

struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What becomes of something that has failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server can't be reached, or can't answer at the moment; nobody knows whether it has happened.
    Away(BoxError),
    /// It has understood and said no: nothing has happened.
    Refused(BoxError),
}

impl Address {
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, BoxError> {
        let mut config: Config = options.url.parse()?;
        config.connect_timeout(options.timeout);
        if config.get_application_name().is_none() {
            config.application_name("bartizan");
        }
        Ok(Self {
            config,
            tls: tls(options.authority.as_deref())?,
            schema: options.schema.clone(),
            timeout: options.timeout,
        })
    }

    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let connecting = self.open();
        tokio::time::timeout(self.timeout.saturating_mul(2), connecting).await.map_err(Failure::away)?
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let driver = Driver(tokio::spawn(async {
            // Whoever asks next is told.
            let _ = connection.await;
        }));
        schema::prepare(&client, &self.schema).await?;
        // A node that stops in the middle must not hold up the others.
        let millis = self.timeout.as_millis();
        client
            .batch_execute(&format!(
                "SET search_path TO {}; SET statement_timeout = {millis}; \
                 SET idle_in_transaction_session_timeout = {millis}",
                self.schema
            ))
            .await?;
        let statements = Statements::prepare(&client).await?;
        Ok(Connection { client, statements, _driver: driver })
    }
}

/// Two providers of cryptography in one program make rustls refuse to choose, unless it is told.
fn tls(authority: Option<&[u8]>) -> Result<MakeRustlsConnect, BoxError> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

impl Failure {
    pub(super) fn away(error: impl Into<BoxError>) -> Self {
        Self::Away(error.into())
    }

    pub(super) fn into_inner(self) -> BoxError {
        match self {
            Self::Away(error) | Self::Refused(error) => error,
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        // Data that is not accepted, will not be the next time either; all else may have another reason.
        let is_about_data =
            |code: &SqlState| ["22", "23", "54"].iter().any(|class| code.code().starts_with(class));
        if error.code().is_some_and(is_about_data) {
            Self::Refused(error.into())
        } else {
            Self::Away(error.into())
        }
    }
}
