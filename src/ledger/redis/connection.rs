use redis::{
    Client, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, TlsCertificates, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::{ClusterClient, ClusterConfig},
    cluster_async::ClusterConnection,
};

use super::{RedisOptions, script::Call};

/// To a server or to a cluster: connects when it is first used, and again when it was broken.
#[derive(Clone)]
pub(super) enum Connection {
    Server(ConnectionManager),
    Cluster(ClusterConnection),
}

/// What becomes of a failed command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server can't be reached, or can't answer at the moment.
    Away,
    /// It has understood and said no.
    Refused,
}

impl Connection {
    pub(super) fn new(options: &RedisOptions) -> RedisResult<Self> {
        let RedisOptions { urls, timeout, .. } = options;
        if urls.iter().any(|url| url.starts_with("rediss")) {
            install_tls();
        }
        let authority = options.authority.clone();
        let certificates = authority.map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem) });
        if options.cluster {
            let config = ClusterConfig::new().set_connection_timeout(*timeout).set_response_timeout(*timeout);
            let builder = ClusterClient::builder(urls.iter().map(String::as_str)).retries(2);
            let client = match certificates {
                Some(certificates) => builder.certs(certificates),
                None => builder,
            };
            return Ok(Self::Cluster(client.build()?.get_pending_async_connection_with_config(config)));
        }
        let url = urls.first().map_or("", String::as_str);
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(url, certificates)?,
            None => Client::open(url)?,
        };
        // Whoever asks has a deadline: an attempt that fails is told at once, and the next one is theirs.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_pipeline_buffer_size(1024)
            .set_connection_timeout(Some(*timeout))
            .set_response_timeout(Some(*timeout));
        Ok(Self::Server(client.get_connection_manager_lazy(config)?))
    }

    pub(super) async fn call(&mut self, call: &Call) -> RedisResult<Value> {
        match self.send(call.by_hash()).await {
            Err(error) if is_unknown_script(&error) => self.send(call.by_code()).await,
            answer => answer,
        }
    }

    async fn send(&mut self, command: redis::Cmd) -> RedisResult<Value> {
        match self {
            Self::Server(server) => command.query_async(server).await,
            Self::Cluster(cluster) => command.query_async(cluster).await,
        }
    }

    /// Sends all of `calls` at once, and gives an answer for each.
    pub(super) async fn batch(&mut self, calls: &[Call]) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut pipeline = Pipeline::with_capacity(calls.len());
        for call in calls {
            pipeline.add_command(call.by_hash());
        }
        pipeline.ignore_errors();
        let mut answers = match self {
            Self::Server(server) => query(&pipeline, server).await,
            Self::Cluster(cluster) => query(&pipeline, cluster).await,
        }?;
        for (call, answer) in calls.iter().zip(&mut answers) {
            if answer.as_ref().is_err_and(is_unknown_script) {
                *answer = self.call(call).await;
            }
        }
        Ok(answers)
    }
}

async fn query(
    pipeline: &Pipeline,
    connection: &mut impl ConnectionLike,
) -> RedisResult<Vec<RedisResult<Value>>> {
    pipeline.query_async(connection).await
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// What is over when somebody has seen to the server, or it is done with what it does.
const PASSING: [&str; 5] = ["OOM ", "READONLY ", "MISCONF ", "LOADING ", "NOREPLICAS "];

impl Failure {
    pub(super) fn of(error: &RedisError) -> Self {
        let refused = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ResponseError)
                | ErrorKind::UnexpectedReturnType
                | ErrorKind::InvalidClientConfig
        );
        let refused = refused || error.code() == Some("WRONGTYPE");
        // Redis before 7.0 puts errors inside of scripts behind `ERR`.
        let passes = |detail: &str| PASSING.iter().any(|code| detail.contains(code));
        let refused = refused && !error.detail().is_some_and(passes);
        if refused { Self::Refused } else { Self::Away }
    }
}

/// Two providers of cryptography in one program make rustls refuse to choose.
fn install_tls() {
    use rustls::crypto::{CryptoProvider, ring};
    if CryptoProvider::get_default().is_none() {
        // Somebody else may just have installed one, which is as good.
        let _ = ring::default_provider().install_default();
    }
}
