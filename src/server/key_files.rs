//! Keys from files and directories: one bad file refuses all, so that a half-read set never serves.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::ServeError;
use crate::ticket::{Algorithm, KeyFault, KeyHint, KeyRing};

/// Reads every file, and every key file of every directory, into one ring. With `allowed`, a key for another algorithm is
/// refused, and one algorithm alone says what a key is for that does not say it itself.
///
/// # Errors
/// [`ServeError::Keys`] names the file and what is wrong with it.
pub(super) fn read_ring(paths: &[PathBuf], allowed: Option<&[Algorithm]>) -> Result<KeyRing, ServeError> {
    let mut ring = KeyRing::default();
    for path in paths {
        for file in files_of(path)? {
            let keys = read_file(&file, allowed)?;
            ring = ring.joined(&keys).map_err(|fault| refused(&file, &fault))?;
        }
    }
    Ok(ring)
}

/// What is wrong with each file by itself.
pub(super) fn files_faults(paths: &[PathBuf], allowed: Option<&[Algorithm]>) -> Vec<ServeError> {
    let of = |path: &PathBuf| match files_of(path) {
        Ok(files) => files.iter().filter_map(|file| read_file(file, allowed).err()).collect(),
        Err(fault) => vec![fault],
    };
    paths.iter().flat_map(of).collect()
}

/// The file itself; of a directory, its key files in the order of their names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, ServeError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| refused(path, &error))? {
        let file = entry.map_err(|error| refused(path, &error))?.path();
        let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let ending = file.extension().and_then(|ending| ending.to_str());
        if !hidden && ending.is_some_and(|ending| KEY_ENDINGS.contains(&ending)) {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(refused(path, &format_args!("more than {MAX_FILES} key files")));
        }
    }
    if files.is_empty() {
        return Err(refused(path, &"no *.pem, *.jwk, *.json or *.jwks file in this directory"));
    }
    files.sort();
    Ok(files)
}

fn read_file(file: &Path, allowed: Option<&[Algorithm]>) -> Result<KeyRing, ServeError> {
    let mut text = String::new();
    // One byte past what a key text may have is enough to refuse it.
    let most = KeyRing::MAX_TEXT_BYTES as u64 + 1;
    File::open(file)
        .and_then(|open| open.take(most).read_to_string(&mut text))
        .map_err(|error| refused(file, &error))?;
    let only = allowed.and_then(|allowed| if let [only] = allowed { Some(*only) } else { None });
    let hint = KeyHint { kid: None, algorithm: only };
    let read = match KeyRing::from_text(&text, &hint) {
        // The keys of a set say themselves what they are for.
        Err(KeyFault::HintForSeveral) => KeyRing::from_text(&text, &KeyHint::default()),
        read => read,
    };
    let ring = read.map_err(|fault| refused(file, &fault))?;
    let stranger = ring.keys().find(|key| allowed.is_some_and(|allowed| !allowed.contains(&key.algorithm())));
    match stranger {
        Some(key) => {
            Err(refused(file, &format_args!("the key `{}` is for {}, which is not allowed", key.id(), key.algorithm())))
        }
        None => Ok(ring),
    }
}

fn refused(path: &Path, why: &dyn std::fmt::Display) -> ServeError {
    ServeError::Keys(format!("{}: {why}; mend it, or remove it from the configured keys", path.display()))
}

const KEY_ENDINGS: [&str; 4] = ["pem", "jwk", "json", "jwks"];
/// As many as a ring has keys.
const MAX_FILES: usize = KeyRing::MAX_KEYS;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ticket::generate_key;

    /// A directory of its own for each test, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("muster-keys-{}-{test}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn holding(self, name: &str, text: &str) -> Self {
            std::fs::write(self.0.join(name), text).unwrap();
            self
        }

        fn read(&self) -> Result<KeyRing, String> {
            self.read_for(None)
        }

        fn read_for(&self, allowed: Option<&[Algorithm]>) -> Result<KeyRing, String> {
            read_ring(std::slice::from_ref(&self.0), allowed).map_err(|error| error.to_string())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    fn public(algorithm: Algorithm) -> String {
        generate_key(algorithm).unwrap().public.unwrap()
    }

    fn private(algorithm: Algorithm) -> String {
        generate_key(algorithm).unwrap().private
    }

    #[test]
    fn a_directory_is_read_whole_and_nothing_else_of_it() {
        let folder = Folder::new("whole")
            .holding("a.jwks", &public(Algorithm::EdDsa))
            .holding("b.json", &public(Algorithm::Es256))
            .holding("c.pem", &private(Algorithm::EdDsa))
            .holding(".hidden.pem", "no key")
            .holding("README", "no key");
        std::fs::create_dir_all(folder.0.join("..data")).unwrap();
        let ring = folder.read().unwrap();
        assert_eq!(ring.len(), 3);
        assert!(ring.keys().all(|key| !key.algorithm().is_shared_secret()));
    }

    #[test]
    fn one_bad_file_refuses_all_with_its_name_and_the_reason() {
        let jwk = r#"{"kty":"oct","kid":"k","k":"c2hvcnQ"}"#;
        let key = public(Algorithm::EdDsa);
        let (secret, weak) = (private(Algorithm::Hs256), weak_rsa());
        for (test, text, reason) in [
            ("short", jwk, "a secret of 5 bytes is too short"),
            ("twice", key.as_str(), "two keys have the kid"),
            ("mixed", secret.as_str(), "secrets (HS256) and public keys cannot be in one ring"),
            ("nothing", "", "neither a PEM key nor a JWK"),
            ("weak", weak.as_str(), "an RSA key of 1024 bits is too weak"),
            ("certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no `PUBLIC KEY`"),
        ] {
            let error = Folder::new(test).holding("a.jwks", &key).holding("b.json", text).read().unwrap_err();
            assert!(error.contains("b.json: ") && error.contains(reason) && !error.contains('\n'), "{test}: {error}");
        }
    }

    #[test]
    fn a_check_names_every_bad_file() {
        let folder =
            Folder::new("all").holding("a.jwks", "").holding("b.pem", &private(Algorithm::EdDsa)).holding("c.pem", "x");
        let paths = [folder.0.clone(), "no/such/file.pem".into()];
        let faults: Vec<String> = files_faults(&paths, None).iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 3, "{faults:?}");
        for (fault, file) in faults.iter().zip(["a.jwks: ", "c.pem: ", "no/such/file.pem: "]) {
            assert!(fault.contains(file), "{fault} should name {file}");
        }
    }

    #[test]
    fn an_empty_directory_and_one_with_too_many_files_are_refused() {
        let empty = Folder::new("empty").holding("README", "none yet");
        assert!(empty.read().unwrap_err().contains("no *.pem, *.jwk"));
        let mut full = Folder::new("full");
        for n in 0..65 {
            full = full.holding(&format!("{n}.pem"), "");
        }
        assert!(full.read().unwrap_err().contains("more than 64 key files"));
        assert!(read_ring(&["no/such/file.pem".into()], None).unwrap_err().to_string().contains("no/such/file.pem"));
    }

    #[test]
    fn the_allowed_algorithms_hold_and_one_alone_says_what_a_key_is_for() {
        let folder = Folder::new("allowed").holding("rsa.pem", &private(Algorithm::Rs256));
        let algorithm = |allowed| folder.read_for(allowed).map(|ring| ring.keys().next().unwrap().algorithm());
        assert_eq!(algorithm(None), Ok(Algorithm::Rs256));
        assert_eq!(algorithm(Some(&[Algorithm::Ps256])), Ok(Algorithm::Ps256));
        let error = algorithm(Some(&[Algorithm::Es256, Algorithm::EdDsa])).unwrap_err();
        assert!(error.contains("rsa.pem: the key") && error.contains("is for RS256, which is not allowed"), "{error}");
        assert!(algorithm(Some(&[Algorithm::Hs256])).unwrap_err().contains("cannot be used for HS256"));
    }

    /// A public key of 1,024 bits, all of them set.
    fn weak_rsa() -> String {
        format!(r#"{{"kty":"RSA","kid":"w","e":"AQAB","n":"{}8"}}"#, "_".repeat(170))
    }
}
