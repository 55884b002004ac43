//! Sessions of Postgres, for all that is kept there.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::BoxError;

/// How to get to a server.
pub(crate) struct Server {
    config: Config,
    tls: MakeRustlsConnect,
}

/// Moves what a session sends and gets, until it is dropped.
pub(crate) struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// The one at `url`, whose certificate is signed by an `authority` in PEM, or by one of Mozilla's.
    pub(crate) fn new(url: &str, authority: Option<&[u8]>, timeout: Duration) -> Result<Self, BoxError> {
        let mut config: Config = url.parse()?;
        config.connect_timeout(timeout);
        if config.get_application_name().is_none() {
            config.application_name("bartizan");
        }
        Ok(Self { config, tls: tls(authority)? })
    }

    pub(crate) async fn connect(&self) -> Result<(Client, Driver), tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let driver = Driver(tokio::spawn(async {
            // Whoever asks next is told.
            let _ = connection.await;
        }));
        Ok((client, driver))
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

/// Whether a schema may be called so: statements have its name without quotes.
pub(crate) fn is_schema(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    begins && name.chars().all(is_plain) && name.len() <= 63
}
