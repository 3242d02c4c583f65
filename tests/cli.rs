//! The command as an operator meets it: what a mistake costs is one line that says what to do, and an exit code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use muster::ticket::{Algorithm, generate_key};
use serde_json::Value;

/// A folder of its own for each test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("muster-cli-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn holding(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Exit code, standard output, standard error. No variable of the caller's is passed on.
fn muster(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the command runs");
    let text = |bytes| String::from_utf8(bytes).expect("plain text");
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The same with something on standard input.
fn muster_hearing(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    // One that does not want to hear it has ended already.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("plain text");
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Expects exit code 78 and one line with all of this.
fn refused(arguments: &[&str], variables: &[(&str, &str)], says: &[&str]) {
    let (code, _, error) = muster(arguments, variables);
    assert_eq!(code, 78, "{arguments:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(says.iter().all(|part| error.contains(part)), "{error} should say {says:?}");
}

#[test]
fn a_mistake_in_the_configuration_is_one_line_with_its_place() {
    let folder = Folder::new("mistakes");
    let typo = folder.holding("typo.toml", "[limits]\nlinks = 10\nlobies = 5\n");
    refused(&["config", "check", "--config", &typo], &[], &["typo.toml:3", "`lobies`", "`lobbies`"]);
    refused(&["serve", "--config", &typo], &[], &["typo.toml:3"]);
    refused(&["config", "show", "--config", &typo], &[], &["typo.toml:3"]);
    refused(&["config", "check"], &[("MUSTER_CONFIG", &typo)], &["typo.toml:3"]);
    refused(&["config", "check", "--config", &folder.path("none.toml")], &[], &["none.toml", "cannot read"]);
    refused(&["config", "check", "--dev"], &[("MUSTER_LISTN", "x")], &["MUSTER_LISTN", "did you mean MUSTER_LISTEN?"]);
    refused(&["serve", "--dev", "--listen", "7777"], &[], &["--listen", "IP:port"]);
    refused(&["serve"], &[], &["tickets.keys", "muster key generate", "--dev"]);
}

#[test]
fn a_certificate_that_cannot_be_served_with_is_refused_before_serving() {
    let folder = Folder::new("certificates");
    let (one, two) = (folder.path("one"), folder.path("two"));
    for out in [&one, &two] {
        let (code, text, error) = muster(&["cert", "generate", "--out", out], &[]);
        assert_eq!(code, 0, "{error}");
        assert!(text.contains("sha-256") && text.contains("browsers take it"), "{text}");
    }
    let check =
        |cert: &str, key: &str| ["config", "check", "--dev", "--tls-cert", cert, "--tls-key", key].map(str::to_owned);
    let (cert, key, other) = (format!("{one}/cert.pem"), format!("{one}/key.pem"), format!("{two}/key.pem"));
    let good = check(&cert, &key);
    assert_eq!(muster(&good.each_ref().map(String::as_str), &[]), (0, "ok\n".into(), String::new()));
    for (cert, key, says) in [
        (cert.as_str(), other.as_str(), "does not match the certificate"),
        (&key, &key, "no certificate in it"),
        (&cert, &cert, "no private key in it"),
        ("missing.pem", &key, "missing.pem: cannot read the certificate"),
    ] {
        refused(&check(cert, key).each_ref().map(String::as_str), &[], &[says]);
    }
}

#[test]
fn what_config_show_prints_is_a_file_that_says_the_same() {
    let folder = Folder::new("show");
    let (code, shown, _) = muster(&["config", "show", "--dev"], &[("MUSTER_LIMITS__GRACE", "2.5")]);
    assert_eq!(code, 0);
    assert!(shown.contains("\ngrace = 2.5\n"), "{shown}");
    let file = folder.holding("shown.toml", &shown);
    assert_eq!(muster(&["config", "show", "--config", &file], &[]), (0, shown, String::new()));
}

#[test]
fn a_wrong_command_line_exits_with_two_and_help_with_zero() {
    assert_eq!(muster(&["serve", "--nonsense"], &[]).0, 2);
    assert_eq!(muster(&[], &[]).0, 2);
    let (code, text, error) = muster(&["serve", "--help"], &[]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(text.contains("--dev"), "{text}");
}

#[test]
fn a_check_reads_every_file_that_is_named_and_has_a_line_for_each_fault() {
    let folder = Folder::new("files");
    let key = generate_key(Algorithm::EdDsa).unwrap();
    std::fs::create_dir_all(folder.path("site")).unwrap();
    let good = folder.holding("good.jwk", key.public.as_deref().unwrap());
    folder.holding("site/a.jwk", &generate_key(Algorithm::Es256).unwrap().public.unwrap());
    let configuration = |site: &str, token: &str, list: &str, store: &str, signing: &str, authorities: &str| {
        folder.holding(
            "muster.toml",
            &format!(
                "tickets.keys = [{good:?}]\ntls.websocket = \"off\"\n[admin]\nlisten = \"127.0.0.1:7780\"\ntoken_file = {token:?}\n\
                 signing_key = {signing:?}\n[revocations]\nfile = {list:?}\nstore = {store:?}\n\
                 [outbound]\nauthorities = {authorities:?}\n\
                 [transport]\nwebtransport = false\n\
                 [[issuers]]\nname = \"site\"\nprofile = \"simplejwt\"\nkeys = [{site:?}]\n"
            ),
        )
    };
    let token = folder.holding("token", "7f3a9c01e5b84d26a1c7f09e83b5d24c6e1f0a97b3d8425c");
    let list = folder.holding("list.jsonl", "# nobody yet\n");
    let signing = folder.holding("signing.pem", &key.private);
    let (code, _, error) = muster(&["cert", "generate", "--out", &folder.path("ca")], &[]);
    assert_eq!(code, 0, "{error}");
    let (site, store, authorities) = (folder.path("site"), folder.path("store.jsonl"), folder.path("ca/cert.pem"));
    let file = configuration(&site, &token, &list, &store, &signing, &authorities);
    let good = muster(&["config", "check", "--config", &file], &[]);
    assert_eq!(good, (0, "ok\n".into(), String::new()));
    assert!(!std::path::Path::new(&store).exists(), "a check makes nothing");

    folder.holding("site/b.jwk", "no key");
    folder.holding("site/c.pem", "no key either");
    folder.holding("list.jsonl", "{\"jti\": 7}\n");
    folder.holding("token", "short");
    let file = configuration(
        &site,
        &token,
        &list,
        &folder.path("nowhere/store.jsonl"),
        &folder.path("gone.pem"),
        &folder.path("site/a.jwk"),
    );
    let (code, text, error) = muster(&["config", "check", "--config", &file], &[]);
    assert_eq!((code, text.as_str()), (78, ""), "{error}");
    let says = ["b.jwk: ", "c.pem: ", "list.jsonl:1: ", "token: ", "nowhere", "gone.pem: ", "a.jwk: "];
    assert_eq!(error.lines().count(), says.len(), "{error}");
    for part in says {
        assert_eq!(error.lines().filter(|line| line.contains(part)).count(), 1, "one line with {part}: {error}");
    }
    assert!(!error.contains("short\n") && !error.contains("no key either"), "nothing of what is in them: {error}");
}

#[test]
fn keys_that_do_not_fit_together_are_found_by_a_check() {
    let folder = Folder::new("together");
    let key = generate_key(Algorithm::EdDsa).unwrap().public.unwrap();
    let (one, two) = (folder.holding("one.jwk", &key), folder.holding("two.jwk", &key));
    let check = ["config", "check", "--dev", "--keys", &one, "--keys", &two];
    refused(&check, &[], &["two.jwk: ", "two keys have the kid"]);
}

#[test]
fn a_ticket_is_judged_by_a_whole_configuration_and_the_issuer_is_named() {
    let folder = Folder::new("judge");
    let generate = |name: &str| {
        let key = generate_key(Algorithm::EdDsa).unwrap();
        folder.holding(&format!("{name}.pub"), key.public.as_deref().unwrap());
        folder.holding(name, &key.private)
    };
    let (own, site, stranger) = (generate("own"), generate("site"), generate("stranger"));
    let file = folder.holding(
        "muster.toml",
        &format!(
            "tickets.keys = [\"{own}.pub\"]\ntls.websocket = \"off\"\n[transport]\nwebtransport = false\n\
             [[issuers]]\nname = \"site\"\nprofile = \"muster\"\nkeys = [\"{site}.pub\"]\nissuer = \"api\"\naudience = \"game\"\nplayer_prefix = \"api:\"\n\
             [[issuers]]\nname = \"far\"\nprofile = \"oidc\"\njwks_url = \"https://id.invalid/jwks\"\nissuer = \"https://id.invalid\"\naudience = \"game\"\n"
        ),
    );
    let mint = |key: &str, more: &[&str]| {
        let arguments = [&["ticket", "mint", "--key", key, "--sub", "ada"], more].concat();
        let (code, text, error) = muster(&arguments, &[]);
        assert_eq!(code, 0, "{error}");
        text
    };
    let verify = ["ticket", "verify", "--config", &file];
    for (ticket, issuer, player) in
        [(mint(&own, &[]), "muster", "ada"), (mint(&site, &["--iss", "api", "--aud", "game"]), "site", "api:ada")]
    {
        let (code, text, error) = muster_hearing(&verify, &ticket);
        assert_eq!(code, 0, "{text}{error}");
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&shown["issuer"], &shown["player"]), (&Value::from(issuer), &Value::from(player)));
        assert_eq!(shown["claims"]["sub"], "ada");
    }
    for (ticket, lines) in [
        (mint(&site, &[]), ["muster: unknown-key: ", "site: wrong-issuer: ", "far: unknown-key: "]),
        (mint(&stranger, &[]), ["muster: unknown-key: ", "site: unknown-key: ", "far: unknown-key: "]),
        ("nonsense".into(), ["muster: not-a-token: ", "site: not-a-token: ", "far: not-a-token: "]),
    ] {
        let (code, text, error) = muster_hearing(&verify, &ticket);
        assert_eq!((code, error.as_str()), (1, ""));
        assert_eq!(text.lines().next(), Some("4401 bad-ticket"));
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.lines().skip(1).zip(lines).all(|(line, start)| line.starts_with(start)), "{text}");
        assert_eq!(text.contains("jwks_url are not asked"), lines[2].contains("unknown-key"), "{text}");
    }
    assert_eq!(muster_hearing(&["ticket", "verify"], "").0, 2, "one of them must be named");
    assert_eq!(muster_hearing(&["ticket", "verify", "--config", &file, "--keys", &own], "").0, 2);
    std::fs::remove_file(format!("{site}.pub")).unwrap();
    refused(&verify, &[], &["site.pub: "]);
}
