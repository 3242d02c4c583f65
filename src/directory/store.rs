//! The revocations on disk: a file of JSON lines that is only ever appended to or replaced whole.
//!
//! Owns: the file, its lock, what is on disk for certain. Must not know: who asks, which links are open. Blocking: its
//! caller keeps it off the runtime's threads.
//!
//! Invariants: when [`Store::append`] or [`Store::replace`] has answered well, what it was given survives a crash of
//! the process and of the machine. A write that failed leaves no half line behind what is written next.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::MAX_REVOCATIONS;
use super::revocation::{LineFault, Revocation, read_line};
use crate::ticket::UnixSeconds;

/// The file in which revocations outlive the process.
pub struct Store {
    path: PathBuf,
    file: File,
    /// Bytes that are written whole and synced.
    length: u64,
    /// Lines among them.
    lines: usize,
    /// The file may hold something other than those bytes, which must go before anything else is written.
    unsure: bool,
    /// Held for as long as the store is: two servers that append to one file would undo each other's replacing.
    _lock: File,
}

/// The store cannot be used as it is: the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// A line is broken, and it is not the last.
    #[error("{}:{line}: {fault}; mend or remove the line", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        fault: LineFault,
    },
    /// A list is longer than the bound.
    #[error("{}: more than {most} revocations; remove some", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
        /// The bound.
        most: usize,
    },
    /// Another process has it.
    #[error("{} is in use by another process: give each server a store of its own", .0.display())]
    InUse(PathBuf),
    /// The system refuses.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
}

impl Store {
    /// Opens the file, or makes it, and reads what is in it. A last line that a crash cut short is dropped.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub fn open(path: &Path) -> Result<(Self, Vec<Revocation>), StoreFault> {
        let failed = |reason| StoreFault::File { path: path.to_owned(), reason };
        let lock = lock(path)?;
        let file = created(path, OpenOptions::new().append(true).create(true)).map_err(failed)?;
        let bytes = std::fs::read(path).map_err(failed)?;
        let (kept, torn) = split_torn(&bytes);
        if !torn.is_empty() {
            tracing::warn!(store = %path.display(), bytes = torn.len(), "the last line was cut short and is dropped");
        }
        let revocations = read_whole_lines(path, kept)?;
        let (length, lines) = (kept.len() as u64, revocations.len());
        Ok((Self { path: path.to_owned(), file, length, lines, unsure: !torn.is_empty(), _lock: lock }, revocations))
    }

    /// Lines in the file, those that are out of date included.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Writes these behind what is there and waits until they are on disk.
    ///
    /// # Errors
    /// What the system says. Nothing of them counts as written then; the next call mends the file first.
    pub fn append(&mut self, revocations: &[Revocation]) -> io::Result<()> {
        let mut text = String::new();
        revocations.iter().for_each(|revocation| text += &format!("{revocation}\n"));
        if self.unsure {
            self.file.set_len(self.length)?;
            self.file.sync_all()?;
            self.unsure = false;
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line must not stand before the next one. Where even this fails, the next call tries again.
            self.unsure = self.file.set_len(self.length).and_then(|()| self.file.sync_all()).is_err();
            return Err(error);
        }
        self.length += text.len() as u64;
        self.lines += revocations.len();
        Ok(())
    }

    /// Puts a file with these alone in the place of the old one, which stays whole until then.
    ///
    /// # Errors
    /// What the system says; the old file is still there.
    pub fn replace(&mut self, revocations: impl Iterator<Item = Revocation>) -> io::Result<()> {
        let beside = with_suffix(&self.path, ".new");
        let mut text = String::new();
        let lines = revocations.map(|revocation| text += &format!("{revocation}\n")).count();
        // What an earlier crash left of one is nobody's.
        let _ = std::fs::remove_file(&beside);
        let written = created(&beside, OpenOptions::new().append(true).create_new(true)).and_then(|mut new| {
            new.write_all(text.as_bytes())?;
            new.sync_all()?;
            std::fs::rename(&beside, &self.path)?;
            Ok(new)
        });
        match written {
            Ok(new) => self.file = new,
            Err(error) => {
                let _ = std::fs::remove_file(&beside);
                return Err(error);
            }
        }
        (self.length, self.lines, self.unsure) = (text.len() as u64, lines, false);
        // The new name is on disk once the directory is.
        File::open(folder_of(&self.path))?.sync_all()
    }

    /// Whether most lines are of revocations that are over.
    pub fn is_mostly_dead(&self, alive: usize) -> bool {
        self.lines > 2 * alive + SLACK
    }
}

/// Whether a store could be opened, without making or locking anything: a server may be using it.
///
/// # Errors
/// [`StoreFault`]: a broken line, or what the system says of the file, or of its folder where there is no file yet.
pub fn check_store(path: &Path) -> Result<(), StoreFault> {
    let failed = |path: &Path, reason| StoreFault::File { path: path.to_owned(), reason };
    match std::fs::read(path) {
        Ok(bytes) => read_whole_lines(path, split_torn(&bytes).0).map(drop),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            // It is made at the start; its folder is not.
            let folder = folder_of(path);
            std::fs::read_dir(folder).map(drop).map_err(|reason| failed(folder, reason))
        }
        Err(reason) => Err(failed(path, reason)),
    }
}

/// What was written whole, and a last line that a crash cut short.
fn split_torn(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1))
}

fn read_whole_lines(path: &Path, kept: &[u8]) -> Result<Vec<Revocation>, StoreFault> {
    let lines = kept.split_inclusive(|byte| *byte == b'\n').enumerate();
    let revocations = lines.map(|(index, line)| {
        let text = std::str::from_utf8(line).map_err(|error| LineFault::Json(error.to_string()));
        text.and_then(read_line).map_err(|fault| StoreFault::Broken { path: path.to_owned(), line: index + 1, fault })
    });
    revocations.collect()
}

/// The lines of a list that an operator keeps; see [`super::read_list`].
///
/// # Errors
/// File and line of the first that is broken, or what the system says of the file; more than [`MAX_REVOCATIONS`].
pub fn read_list_file(path: &Path) -> Result<Vec<Revocation>, StoreFault> {
    let text = std::fs::read_to_string(path).map_err(|reason| StoreFault::File { path: path.to_owned(), reason })?;
    let broken = |(line, fault)| StoreFault::Broken { path: path.to_owned(), line, fault };
    let list = super::read_list(&text).map_err(broken)?;
    let fits = list.len() <= MAX_REVOCATIONS;
    if fits { Ok(list) } else { Err(StoreFault::TooMany { path: path.to_owned(), most: MAX_REVOCATIONS }) }
}

/// Those that still matter.
pub fn alive(revocations: Vec<Revocation>, now: UnixSeconds) -> impl Iterator<Item = Revocation> {
    revocations.into_iter().filter(move |revocation| revocation.until > now)
}

fn lock(path: &Path) -> Result<File, StoreFault> {
    let beside = with_suffix(path, ".lock");
    let failed = |reason| StoreFault::File { path: beside.clone(), reason };
    let lock = created(&beside, OpenOptions::new().write(true).create(true).truncate(false)).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreFault::InUse(path.to_owned())),
        Err(TryLockError::Error(reason)) => Err(failed(reason)),
    }
}

/// Names of players are nobody else's business on the machine.
fn created(path: &Path, how: &mut OpenOptions) -> io::Result<File> {
    how.mode(0o600).open(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Dead lines that are not worth replacing a file for.
const SLACK: usize = 1_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// A store of its own for each test, gone with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn holding(test: &str, text: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("muster-store-{}-{test}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("revoked.jsonl"), text).unwrap();
            Self(folder)
        }

        fn path(&self) -> PathBuf {
            self.0.join("revoked.jsonl")
        }

        fn text(&self) -> String {
            std::fs::read_to_string(self.path()).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    fn one(jti: &str) -> Revocation {
        read_line(&format!("{{\"jti\":\"{jti}\",\"until\":9}}")).unwrap()
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart() {
        let scratch = Scratch::holding("restart", "");
        let (mut store, read) = Store::open(&scratch.path()).unwrap();
        assert!(read.is_empty());
        store.append(&[one("a"), one("b")]).unwrap();
        store.append(&[one("c")]).unwrap();
        drop(store);
        let (mut store, read) = Store::open(&scratch.path()).unwrap();
        assert_eq!(read, [one("a"), one("b"), one("c")]);
        store.replace([one("c")].into_iter()).unwrap();
        store.append(&[one("d")]).unwrap();
        assert_eq!(store.lines(), 2);
        drop(store);
        assert_eq!(Store::open(&scratch.path()).unwrap().1, [one("c"), one("d")]);
    }

    #[test]
    fn a_last_line_that_was_cut_short_at_any_byte_is_dropped_and_the_next_stands_alone() {
        let (first, second) = (format!("{}\n", one("a")), format!("{}\n", one("b")));
        for cut in 1..second.len() {
            let scratch = Scratch::holding("torn", &format!("{first}{}", &second[..cut]));
            let (mut store, read) = Store::open(&scratch.path()).unwrap();
            assert_eq!(read, [one("a")], "cut at {cut}");
            store.append(&[one("c")]).unwrap();
            assert_eq!(scratch.text(), format!("{first}{}\n", one("c")), "cut at {cut}");
        }
    }

    #[test]
    fn any_other_broken_line_is_refused_with_its_number_and_left_as_it_is() {
        let text = format!("{}\n{{\"jti\":\n{}\n", one("a"), one("b"));
        let scratch = Scratch::holding("broken", &text);
        let fault = Store::open(&scratch.path()).err().expect("refused").to_string();
        assert!(fault.contains("revoked.jsonl:2: "), "{fault}");
        assert_eq!(scratch.text(), text);
    }

    #[test]
    fn a_check_says_what_an_opening_would_and_makes_nothing() {
        let checked = |text: &str| {
            let scratch = Scratch::holding("check", text);
            let fault = check_store(&scratch.path()).err().map(|fault| fault.to_string());
            assert_eq!((scratch.text(), std::fs::read_dir(&scratch.0).unwrap().count()), (text.to_owned(), 1));
            fault
        };
        assert_eq!(checked(&format!("{}\n{{\"jti\":", one("a"))), None, "a torn last line is dropped at the start");
        assert!(checked("{\"jti\":\n{}\n").unwrap().contains("revoked.jsonl:1: "));
        let scratch = Scratch::holding("check-none", "");
        assert!(check_store(&scratch.0.join("not-yet.jsonl")).is_ok());
        assert!(check_store(&scratch.0.join("nowhere/x.jsonl")).unwrap_err().to_string().contains("nowhere: "));
        let (_store, _) = Store::open(&scratch.path()).unwrap();
        assert!(check_store(&scratch.path()).is_ok(), "while a server has it");
    }

    #[test]
    fn one_store_has_one_owner() {
        let scratch = Scratch::holding("owner", "");
        let (store, _) = Store::open(&scratch.path()).unwrap();
        assert!(matches!(Store::open(&scratch.path()), Err(StoreFault::InUse(_))));
        drop(store);
        assert!(Store::open(&scratch.path()).is_ok());
    }

    #[test]
    fn the_store_is_readable_by_its_owner_only_and_a_failed_replacing_leaves_it_whole() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = Scratch::holding("mode", "");
        std::fs::remove_file(scratch.path()).unwrap();
        let (mut store, _) = Store::open(&scratch.path()).unwrap();
        store.append(&[one("a")]).unwrap();
        assert_eq!(std::fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777, 0o600);
        // A directory in the way of the new file.
        std::fs::create_dir(scratch.0.join("revoked.jsonl.new")).unwrap();
        assert!(store.replace([one("b")].into_iter()).is_err());
        store.append(&[one("c")]).unwrap();
        assert_eq!(scratch.text(), format!("{}\n{}\n", one("a"), one("c")));
    }
}
