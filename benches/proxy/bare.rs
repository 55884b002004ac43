use std::{error::Error, net::SocketAddr};

use http::{Request, Uri, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;

/// Passes every request on to `upstream`, bodies as they come, and looks at nothing.
pub async fn serve(upstream: SocketAddr) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listens on http://{}", listener.local_addr()?);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let client = client.clone();
        let service = service_fn(move |req| client.request(readdressed(req, upstream)));
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

fn readdressed(mut req: Request<Incoming>, upstream: SocketAddr) -> Request<Incoming> {
    let uri = Uri::builder().scheme("http").authority(upstream.to_string());
    let path = req.uri().path_and_query().map_or("/", |path| path.as_str());
    *req.uri_mut() = uri.path_and_query(path).build().unwrap_or_default();
    req.headers_mut().remove(header::HOST);
    req
}
