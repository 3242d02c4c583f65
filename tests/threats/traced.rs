//! What the system sees of the server while hostile tickets come: no file opened, no connection made.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use muster::outbox::Transport;
use serde_json::{Value, json};

use crate::OFTEN;
use crate::common::process::Process;
use crate::common::websocket::get;
use crate::common::{BOTH, Opening, soon};

#[tokio::test(flavor = "multi_thread")]
async fn hostile_headers_open_no_file_and_no_connection() {
    let Some(strace) = strace().await else {
        // Past what cargo keeps back of tests that pass.
        let _ = writeln!(
            std::io::stderr(),
            "NOT CHECKED: strace is not here, or may trace nothing, so nobody saw the server's calls"
        );
        return;
    };
    let trace = crate::common::scratch().join("trace");
    let to = trace.to_str().unwrap();
    let calls = "trace=open,openat,openat2,creat,connect,execve";
    let server =
        Process::launch(&[&strace, "-f", "-qq", "-e", "signal=none", "-e", calls, "-o", to], &OFTEN, &[]).await;
    // What is opened once, for the first of each, has nothing to do with what they say.
    let good = server.ticket("warm");
    for transport in BOTH {
        let opening = Opening { ticket: Some(&good), ..Opening::default() };
        if let Ok(mut peer) = server.open(transport, opening).await {
            soon("an answer", peer.next()).await;
        }
    }
    let seen = lines(&trace);
    assert!(seen.iter().any(|line| line.contains("keys.json")), "the trace shows what is opened: {seen:?}");
    let mut tries = 0;
    for header in hostile_headers(server.signer.key().id().as_str()) {
        let parts: Vec<&str> = good.split('.').collect();
        let forged = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), parts[1], parts[2]);
        // Over HTTP both ways that go by, and now and then the slower one.
        let transport = if tries % 16 == 0 { Transport::WebTransport } else { Transport::WebSocket };
        let opening = Opening { ticket: Some(&forged), ..Opening::default() };
        match server.open(transport, opening).await {
            Ok(mut peer) => drop(peer.is_told(muster::wire::Code::BadTicket, "bad-ticket").await),
            Err(answer) => answer.is_problem(muster::wire::Code::BadTicket, "bad-ticket"),
        }
        tries += 1;
    }
    assert_eq!(get(server.address, "/healthz").await.status, 200);
    let after = lines(&trace);
    println!("{tries} hostile headers: {} files opened or connections made", after.len() - seen.len());
    assert_eq!(after[seen.len()..], [] as [String; 0]);
    assert!(tries >= 500, "{tries}");
    // strace goes when its child does.
    let child = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.id())).unwrap();
    let told = std::process::Command::new("kill").args(["-TERM", child.trim()]).status().unwrap();
    assert!(told.success());
    let mut server = server;
    let (status, output) = server.ends().await;
    assert_eq!(status.code(), Some(0), "{output}");
    let _ = std::fs::remove_dir_all(trace.parent().unwrap());
}

/// Headers that name keys by every trick there is, or bring their own, and five hundred that are mere noise.
fn hostile_headers(kid: &str) -> Vec<Value> {
    let named = |kid: Value| json!({ "alg": "EdDSA", "typ": "muster-ticket+jwt", "kid": kid });
    let kids = [
        "../../../../etc/passwd",
        "/etc/passwd",
        "keys.json",
        "./keys.json",
        "file:///etc/passwd",
        "/dev/random",
        "/proc/self/environ",
        "k\0/etc/passwd",
        "' OR 1=1--",
        "'; SELECT pg_sleep(5)--",
        "|cat /etc/passwd",
        "$(cat /etc/passwd)",
        "`id`",
        "http://127.0.0.1:1/k",
        "\\\\127.0.0.1\\share",
        "",
        ".",
        "..",
    ];
    let mut headers: Vec<Value> = kids.into_iter().map(|kid| named(json!(kid))).collect();
    for (name, value) in [
        ("jku", json!("http://127.0.0.1:9/jwks.json")),
        ("jku", json!("https://localhost/jwks.json")),
        ("jku", json!("file:///etc/passwd")),
        ("x5u", json!("http://127.0.0.1:9/cert.pem")),
        ("x5u", json!("ftp://127.0.0.1/cert.pem")),
        ("jwk", json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["jku"])),
        ("crit", json!(["b64"])),
    ] {
        let mut header = named(json!(kid));
        header[name] = value;
        headers.push(header);
    }
    // Numbers from a fixed seed: the same noise each time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let alphabet: Vec<char> = "/.\\%~$`'\"|&;<>(){}*?! \0\n\tetcpasswdkeys-_ABC019\u{202e}\u{ff0f}".chars().collect();
    for _ in 0..500 {
        let length = next() as usize % 96;
        let noise: String = (0..length).map(|_| alphabet[next() as usize % alphabet.len()]).collect();
        headers.push(named(json!(noise)));
    }
    headers
}

fn lines(trace: &Path) -> Vec<String> {
    std::fs::read_to_string(trace).unwrap().lines().map(str::to_owned).collect()
}

/// strace, where it is installed and allowed to work.
async fn strace() -> Option<String> {
    let path = ["/usr/bin/strace", "/bin/strace", "/usr/local/bin/strace"]
        .into_iter()
        .find(|path| Path::new(path).exists())?;
    let tried = tokio::process::Command::new(path).args(["-f", "-qq", "-o", "/dev/null", "true"]).status().await;
    tried.is_ok_and(|status| status.success()).then(|| path.to_owned())
}
