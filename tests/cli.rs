//! The command as an operator meets it: what a mistake costs is one line that says what to do, and an exit code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;

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
