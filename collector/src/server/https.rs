//! The server with TLS.
//!
//! As `HttpServer::listen_rustls_0_23` builds it, but for the handshakes, which are ours ([`Handshakes`]):
//! there all new clients are blocked when the places for handshakes are taken.

use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;

use actix_http::{HttpService, Protocol, Request, Response};
use actix_server::{Server, ServerBuilder};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use super::handshakes::{HandshakeFailed, Handshakes};
use super::{CLOSING_TIMEOUT, CONNECTIONS_TIMEOUT, KEEP_ALIVE, REQUEST_HEAD_TIMEOUT, sockets};
use crate::feed::HELD_BACK_BYTES;
use crate::telemetry::Telemetry;

/// Serves `app` behind TLS, in HTTP/2 and HTTP/1.1.
///
/// # Errors
///
/// When the listener cannot be used.
pub(super) fn listen<F, I, S, B>(
    listener: TcpListener,
    mut tls: ServerConfig,
    app: F,
    telemetry: Arc<Telemetry>,
) -> std::io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let handshakes = Arc::new(Handshakes::new(telemetry));
    let builder = ServerBuilder::new().disable_signals().shutdown_timeout(CONNECTIONS_TIMEOUT.as_secs());
    let shutdown = builder.graceful_shutdown_signal();
    let services = move || {
        let (acceptor, handshakes, shutdown) = (acceptor.clone(), Arc::clone(&handshakes), shutdown.clone());
        let accept = move |stream: TcpStream| {
            let (acceptor, handshakes) = (acceptor.clone(), Arc::clone(&handshakes));
            async move {
                // An event must not wait until the one before it is acknowledged.
                let _ = stream.set_nodelay(true);
                let (stream, peer) = handshakes.accept(&acceptor, stream).await?;
                let protocol = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Protocol::Http2,
                    _ => Protocol::Http1,
                };
                Ok::<_, HandshakeFailed>((stream, protocol, peer))
            }
        };
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let signal = shutdown.clone();
                async move { signal.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(REQUEST_HEAD_TIMEOUT)
            .client_disconnect_timeout(CLOSING_TIMEOUT)
            .h1_allow_half_closed(false)
            .h1_write_buffer_size(HELD_BACK_BYTES)
            .on_connect_ext(|stream, _| sockets::tune(stream))
            .finish(map_config(
                app().into_factory().map_err(|error| Into::<actix_web::Error>::into(error).error_response()),
                |()| AppConfig::default(),
            ));
        fn_service(accept).map_err(|_| ()).and_then(http.map_err(|_| ()))
    };
    Ok(builder.listen("https", listener, services)?.run())
}
