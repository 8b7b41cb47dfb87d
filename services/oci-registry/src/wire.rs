//! One port, plain HTTP/1.1 and TLS: the first byte a client sends says which. A TLS record of a handshake begins with 0x16, which
//! no HTTP request does.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Protocol, Request};
use actix_server::{Server, ServerBuilder};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::parts::Limits;

/// First byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;
/// What a client may take from connecting to the end of the handshake.
const GREETING: Duration = Duration::from_secs(15);
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(75);
/// How long requests may take to end when the server stops, in seconds.
const STOPPING: u64 = 5;
/// Told to a client that speaks plain HTTP where that is not wanted.
const PLAIN_REFUSED: &str = r#"{"errors":[{"code":"UNSUPPORTED","message":"this registry speaks https only"}]}"#;

/// What a listener does about TLS.
#[derive(Clone)]
pub enum Encryption {
    /// None: plain HTTP only.
    Off,
    /// Both on one port.
    Offered(Arc<rustls::ServerConfig>),
    /// Plain HTTP is refused.
    Required(Arc<rustls::ServerConfig>),
}

/// How a request came. In the connection's data of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Whose end it is.
    pub peer: Option<SocketAddr>,
    /// Whether it came through TLS.
    pub encrypted: bool,
}

/// A connection, either way.
enum Wire {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Wire {
    fn arrival(&self) -> Arrival {
        match self {
            Wire::Plain(stream) => Arrival { peer: stream.peer_addr().ok(), encrypted: false },
            Wire::Encrypted(stream) => Arrival { peer: stream.get_ref().0.peer_addr().ok(), encrypted: true },
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Wire::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Wire::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(context),
            Wire::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Wire::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Wire::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Encrypted(stream) => stream.is_write_vectored(),
        }
    }
}

/// Where to listen, and how.
pub struct Listening {
    /// A bound listener.
    pub listener: TcpListener,
    /// Plain HTTP, TLS or both.
    pub encryption: Encryption,
}

impl Listening {
    /// Plain HTTP.
    pub fn plain(listener: TcpListener) -> Self {
        Self { listener, encryption: Encryption::Off }
    }
}

/// Serves an application on listeners. The server runs when the answer is awaited or spawned; its handle stops it.
///
/// # Errors
/// A listener cannot be used.
pub fn serve<F, I, S, B>(listeners: Vec<Listening>, limits: Limits, application: F) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    S::InitError: std::fmt::Debug,
    S::Service: 'static,
    <S::Service as actix_service::Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let mut builder = Server::build()
        .workers(limits.workers)
        .max_concurrent_connections(limits.connections)
        .shutdown_timeout(STOPPING)
        .disable_signals();
    for Listening { listener, encryption } in listeners {
        builder = listen(builder, listener, encryption, limits, application.clone())?;
    }
    Ok(builder.run())
}

fn listen<F, I, S, B>(
    builder: ServerBuilder,
    listener: TcpListener,
    encryption: Encryption,
    limits: Limits,
    application: F,
) -> io::Result<ServerBuilder>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    S::InitError: std::fmt::Debug,
    S::Service: 'static,
    <S::Service as actix_service::Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let stopping = builder.graceful_shutdown_signal();
    builder.listen("registry", listener, move || {
        let (stopping, encryption) = (stopping.clone(), encryption.clone());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KeepAlive::Timeout(IDLE))
            .client_request_timeout(limits.head)
            .on_connect_ext(|wire: &Wire, data| {
                data.insert(wire.arrival());
            })
            .finish(map_config(application().into_factory().map_err(|error| error.error_response()), |()| {
                AppConfig::default()
            }));
        fn_service(move |stream: TcpStream| greet(stream, encryption.clone())).and_then(http)
    })
}

/// From a connection to something that speaks HTTP.
async fn greet(
    stream: TcpStream,
    encryption: Encryption,
) -> Result<(Wire, Protocol, Option<SocketAddr>), DispatchError> {
    let peer = stream.peer_addr().ok();
    // Answers are written whole; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let config = match &encryption {
        Encryption::Off => None,
        Encryption::Offered(config) | Encryption::Required(config) => Some(config.clone()),
    };
    let required = matches!(encryption, Encryption::Required(_));
    let greeting = async move {
        let mut first = [0u8; 1];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[0] == HANDSHAKE {
            // Clients that take either try TLS first. Ended here, it is no request that cannot be read.
            let config = config.ok_or_else(|| io::Error::other("TLS is not offered"))?;
            return Ok(Wire::Encrypted(Box::new(TlsAcceptor::from(config).accept(stream).await?)));
        }
        if required {
            let mut stream = stream;
            let length = PLAIN_REFUSED.len();
            let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close";
            stream.write_all(format!("{head}\r\nContent-Length: {length}\r\n\r\n{PLAIN_REFUSED}").as_bytes()).await?;
            stream.shutdown().await?;
            return Err(io::Error::other("plain HTTP is refused"));
        }
        Ok(Wire::Plain(stream))
    };
    let wire = match tokio::time::timeout(GREETING, greeting).await {
        Ok(Ok(wire)) => wire,
        Ok(Err(error)) => {
            tracing::debug!(?peer, %error, "a connection came to nothing");
            return Err(DispatchError::Io(error));
        }
        Err(_) => return Err(DispatchError::Io(io::ErrorKind::TimedOut.into())),
    };
    Ok((wire, Protocol::Http1, peer))
}

#[cfg(test)]
mod tests;
