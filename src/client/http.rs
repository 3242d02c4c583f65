//! One plain HTTP GET: what a development server hands out beside the links (certificate hash, tickets).
//!
//! Owns: the request, its deadline and its size bound. Must not know: what the body means.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::error::{ConnectError, printable};
use super::target::Target;

/// Fetches `path` (with its query) from a server over plain HTTP; at most 16 KiB, within 5 s.
///
/// # Errors
/// [`ConnectError::Unreachable`] or [`ConnectError::Timeout`] when nobody answers, [`ConnectError::Protocol`] when the
/// answer is not 200 with such a body.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub async fn get(target: &Target, path: &str) -> Result<Bytes, ConnectError> {
    let timed_out = |_| ConnectError::Timeout { address: target.authority(), after: DEADLINE };
    tokio::time::timeout(DEADLINE, exchange(target, path)).await.map_err(timed_out)?
}

async fn exchange(target: &Target, path: &str) -> Result<Bytes, ConnectError> {
    let address = target.authority();
    let unreachable = |why: String| ConnectError::Unreachable { address: address.clone(), over: "HTTP", why };
    let protocol = |why: String| ConnectError::Protocol { address: address.clone(), why };
    let stream = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let request = Request::get(path).header(HOST, target.authority()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| protocol(error.to_string()))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| unreachable(error.to_string()))?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|error| unreachable(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| protocol(error.to_string()))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let said = printable(&String::from_utf8_lossy(&body));
        Err(protocol(format!("GET {path} was answered with {status} {said}")))
    };
    // The connection ends once the sender, inside `answer`, is gone.
    tokio::join!(answer, connection).0
}

const DEADLINE: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 16 * 1_024;
