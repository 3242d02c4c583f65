//! The measure of handshakes: hyper, fastwebsockets and jsonwebtoken with nothing of muster around them. Checks one HS256
//! token, upgrades, sends one byte.

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastwebsockets::{Frame, OpCode, Payload, upgrade};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::child::{Ready, wait_for_end};
use crate::fault::Fault;
use crate::machine;
use crate::options::ServeArgs;

/// Serves until the tester is gone.
///
/// # Errors
/// What kept it from starting.
pub fn run(args: &ServeArgs, tls: bool) -> Result<(), Fault> {
    let failed = |why: &dyn std::fmt::Display| Fault::local("the bare server", why);
    if let Some(core) = args.floor.core {
        machine::pin(core);
    }
    muster::ticket::install_crypto();
    let judge = Arc::new(Judge::read(&args.keys)?);
    let (acceptor, certificate) = if tls { tls_acceptor()? } else { (None, None) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.floor.listen).await.map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        Ready { address, certificate, admin: None }.say().map_err(|error| failed(&error))?;
        std::thread::spawn(|| {
            wait_for_end();
            std::process::exit(0);
        });
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // A socket that takes no option serves all the same.
            let _ = stream.set_nodelay(true);
            let (judge, acceptor) = (Arc::clone(&judge), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => serve(stream, judge).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(stream, judge).await;
                        }
                    }
                }
            });
        }
    })
}

async fn serve<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: I, judge: Arc<Judge>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let judge = Arc::clone(&judge);
        async move { Ok::<_, Infallible>(answer(request, &judge)) }
    });
    // A connection that breaks is over.
    let _ =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service).with_upgrades().await;
}

fn answer(mut request: Request<Incoming>, judge: &Judge) -> Response<Empty<Bytes>> {
    let refused = |status| {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = status;
        response
    };
    if !judge.admits(&request) {
        return refused(StatusCode::UNAUTHORIZED);
    }
    let Ok((response, upgraded)) = upgrade::upgrade(&mut request) else { return refused(StatusCode::BAD_REQUEST) };
    tokio::spawn(async move {
        let Ok(mut socket) = upgraded.await else { return };
        if socket.write_frame(Frame::binary(Payload::Borrowed(&[1]))).await.is_err() {
            return;
        }
        while socket.read_frame().await.is_ok_and(|frame| frame.opcode != OpCode::Close) {}
    });
    response
}

/// Checks tokens.
struct Judge {
    key: DecodingKey,
    validation: Validation,
}

impl Judge {
    fn read(path: &std::path::Path) -> Result<Self, Fault> {
        let bad = |why: &dyn std::fmt::Display| Fault::local(path.display().to_string(), why);
        let text = std::fs::read_to_string(path).map_err(|error| bad(&error))?;
        let jwk: serde_json::Value = serde_json::from_str(&text).map_err(|error| bad(&error))?;
        let secret = jwk.get("k").and_then(|k| k.as_str()).ok_or_else(|| bad(&"no shared secret"))?;
        let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|error| bad(&error))?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&["muster"]);
        validation.set_issuer(&["muster"]);
        Ok(Self { key: DecodingKey::from_secret(&secret), validation })
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer "));
        token.is_some_and(|token| jsonwebtoken::decode::<serde_json::Value>(token, &self.key, &self.validation).is_ok())
    }
}

fn tls_acceptor() -> Result<(Option<TlsAcceptor>, Option<[u8; 32]>), Fault> {
    let failed = |why: &dyn std::fmt::Display| Fault::local("a certificate", why);
    let key = rcgen::KeyPair::generate().map_err(|error| failed(&error))?;
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).map_err(|error| failed(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| failed(&error))?;
    let der = certificate.der().clone();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    let hash = digest.as_ref().try_into().map_err(|error| failed(&error))?;
    let private = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![der], private))
        .map_err(|error| failed(&error))?;
    Ok((Some(TlsAcceptor::from(Arc::new(config))), Some(hash)))
}
