//! One plain HTTP request, waited for: metrics, a certificate's hash, a development server's tickets, the admin API.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The body of a 200; `None` for anything else, and when there is no answer within two seconds.
pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    ask(address, &request, || {}).filter(|(status, _)| *status == 200).map(|(_, body)| body)
}

/// Posts JSON as whoever bears the token, and calls `before` right before the first byte goes out; the answer's status and
/// body. `None` when there is none within two seconds.
pub fn post(address: SocketAddr, path: &str, token: &str, body: &str, before: impl FnOnce()) -> Option<(u16, String)> {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    ask(address, &request, before)
}

fn ask(address: SocketAddr, request: &str, before: impl FnOnce()) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, WAIT).ok()?;
    stream.set_read_timeout(Some(WAIT)).ok()?;
    before();
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.take(MOST).read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}

const WAIT: Duration = Duration::from_secs(2);
const MOST: u64 = 1 << 20;
