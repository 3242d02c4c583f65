//! The house of `docs/architecture.md`, proven by reading the sources: imports go downward only, pure rooms know no
//! runtime, no socket, no clock and no lock, and each library that is to be replaceable is used in one room.
//!
//! Only the code that ships is read: comments and `#[cfg(test)]` modules are left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every room with its floor; a room may use what is on lower floors only. `main` and `lib` are the house itself.
const ROOMS: &[(&str, u8, Kind)] = &[
    ("ids", 0, Kind::Pure),
    ("limits", 1, Kind::Pure),
    ("codec", 1, Kind::Pure),
    ("text", 1, Kind::Pure),
    ("wire", 2, Kind::Pure),
    ("ticket", 2, Kind::Pure),
    ("lobby", 2, Kind::Pure),
    ("game", 2, Kind::Pure),
    ("session", 3, Kind::Pure),
    ("outbox", 4, Kind::Runtime),
    ("directory", 4, Kind::Runtime),
    ("metrics", 5, Kind::Runtime),
    ("ticker", 6, Kind::Runtime),
    ("certificate", 4, Kind::Runtime),
    ("clock", 3, Kind::Runtime),
    ("config", 3, Kind::Runtime),
    ("logging", 4, Kind::Runtime),
    ("request", 5, Kind::Runtime),
    ("fetch", 4, Kind::Runtime),
    ("jwks", 6, Kind::Runtime),
    ("forward", 6, Kind::Runtime),
    ("hub", 7, Kind::Runtime),
    ("admission", 8, Kind::Runtime),
    ("http", 9, Kind::Runtime),
    ("client", 9, Kind::Runtime),
    ("transport", 10, Kind::Runtime),
    ("server", 11, Kind::Runtime),
    ("cli", 12, Kind::Runtime),
];

/// What a room may not use although it is on a lower floor: the rules never see the protocol, and a client never sees
/// the server's insides.
const NEVER: &[(&str, &[&str])] = &[
    ("session", &["wire", "ticket", "lobby"]),
    ("client", &["lobby", "session", "hub", "admission", "directory", "ticker"]),
];

/// What a pure room does not name: time, randomness and the world come in as values.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "axum",
    "quinn",
    "wtransport",
    "fastwebsockets",
    "rustls",
    "socket2",
    "std::net",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "UNIX_EPOCH",
    "parking_lot",
    "Mutex",
    "RwLock",
    "Condvar",
    "getrandom",
    "rand::rng(",
];

/// A library, and the one room that uses it.
const KEPT_IN: &[(&str, &str)] = &[("bincode", "codec"), ("jsonwebtoken", "ticket"), ("hyper_rustls", "fetch")];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pure,
    Runtime,
}

#[test]
fn the_sources_keep_to_the_house() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = Vec::new();
    let mut rooms = BTreeSet::new();
    for path in rust_files(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let first = inside.iter().next().unwrap().to_str().unwrap();
        let room = first.strip_suffix(".rs").unwrap_or(first);
        if room == "main" || room == "lib" {
            continue;
        }
        rooms.insert(room.to_owned());
        let code = shipped(&std::fs::read_to_string(&path).unwrap());
        faults.extend(violations(room, &code).into_iter().map(|fault| format!("{}: {fault}", inside.display())));
    }
    assert!(rooms.contains("wire") && rooms.contains("codec"), "the sources were not found: {rooms:?}");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_proof_sees_what_it_is_there_for() {
    let faults = |room, text: &str| violations(room, &shipped(text)).len();
    assert_eq!(faults("wire", "use crate::ids::Tick;\nuse crate::codec;\n"), 0);
    assert_eq!(faults("wire", "use crate::lobby::Lobby;\n"), 1, "a neighbour");
    assert_eq!(faults("ids", "use crate::{limits::Limits, wire::{Code, Act}};\n"), 2, "a group");
    assert_eq!(faults("lobby", "fn f() { crate::hub::call() }\n"), 1, "a path in the code");
    assert_eq!(faults("session", "use crate::wire::Code;\n"), 1, "lower, but never");
    assert_eq!(faults("lobby", "use super::wire::Code;\n"), 1, "around the corner");
    assert_eq!(faults("lobby", "let now = Instant::now();\n"), 1, "a clock");
    assert_eq!(faults("lobby", "use tokio_util::sync::CancellationToken;\n"), 1, "the runtime");
    assert_eq!(faults("hub", "let now = Instant::now();\n"), 0, "runtime rooms may");
    assert_eq!(faults("wire", "use bincode::Encode;\n"), 1, "a library out of its room");
    assert_eq!(faults("wire", "use crate::codec::bincode::enc::Encoder;\n"), 0, "through its room");
    assert_eq!(faults("cellar", "\n"), 1, "an unknown room");
    assert_eq!(faults("lobby", "// tokio\n/// crate::hub\n"), 0, "comments");
    let test = "#[cfg(test)]\nmod tests {\n    use crate::hub::Hub;\n    fn f() {\n    }\n}\nuse crate::hub::Hub;\n";
    assert_eq!(faults("lobby", test), 1, "a test module, and what follows it");
}

/// What is wrong with the code of a room.
fn violations(room: &str, code: &str) -> Vec<String> {
    let Some((_, floor, kind)) = ROOMS.iter().find(|(name, ..)| *name == room) else {
        return vec![format!("`{room}` is no room of the house: give it a floor in tests/architecture.rs")];
    };
    let mut faults = Vec::new();
    for used in rooms_used(room, code) {
        let below = ROOMS.iter().any(|(name, other, _)| *name == used && other < floor);
        let never = NEVER.iter().any(|(name, banned)| *name == room && banned.contains(&used.as_str()));
        if used != room && (!below || never) {
            faults.push(format!("`{room}` may not use `{used}`"));
        }
    }
    if *kind == Kind::Pure {
        let named = IMPURE.iter().filter(|word| names(code, word));
        faults.extend(named.map(|word| format!("`{room}` is pure and may not name `{word}`")));
    }
    for (library, home) in KEPT_IN {
        if room != *home && names(&code.replace("codec::bincode", ""), library) {
            faults.push(format!("`{library}` is kept in `{home}`"));
        }
    }
    faults
}

/// The rooms behind `crate::room`, `crate::{room, ...}`, and `super::room` where that climbs out of a room.
fn rooms_used(room: &str, code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        let after = &code[at + path.len()..];
        match after.strip_prefix('{') {
            Some(group) => used.extend(heads_of_group(group)),
            None => used.extend(head(after)),
        }
    }
    for (at, path) in code.match_indices("super::") {
        let climbed = head(&code[at + path.len()..]);
        let own_part = |name: &String| {
            let inside = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room);
            inside.join(format!("{name}.rs")).exists() || inside.join(name).exists()
        };
        used.extend(climbed.filter(|name| ROOMS.iter().any(|(room, ..)| room == name) && !own_part(name)));
    }
    used
}

fn heads_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut begins) = (0_i32, Vec::new(), true);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && !letter.is_whitespace() => {
                heads.extend(head(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    heads
}

/// The lower-case name at the front: a module; types and macros of the crate's root are not rooms.
fn head(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|letter| is_of_name(*letter)).collect();
    name.starts_with(|letter: char| letter.is_ascii_lowercase()).then_some(name)
}

fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(is_of_name))
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// The code without comments and without test modules, as rustfmt lays them out.
fn shipped(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indent}}}");
            let item = lines.by_ref().find(|line| !line.trim_start().starts_with("#[")).unwrap_or_default();
            if item.ends_with('{') {
                lines.by_ref().find(|line| *line == end);
            }
            continue;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// Every source file, without those of test modules, whose names end in `tests.rs`.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                open.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
