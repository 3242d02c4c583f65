//! What the documentation says is there: functions, tests, files, commands, flags, metrics and settings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use muster::metrics::Metrics;

#[test]
fn every_function_of_the_walk_is_in_the_file_named_beside_it() {
    let rows = named_functions("docs/architecture.md");
    assert!(rows.len() > 40, "the tables of the walk were not found: {} rows", rows.len());
    let missing: Vec<_> = rows.iter().filter(|(function, file)| !defines(file, function)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_test_that_the_security_page_names_is_there() {
    let rows = named_functions("SECURITY.md");
    assert!(rows.len() > 15, "the table was not found: {} rows", rows.len());
    let missing: Vec<_> = rows.iter().filter(|(test, file)| !defines(file, test)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_test_that_the_page_of_threats_names_is_there_and_no_row_is_missing() {
    let rows = named_functions("docs/threats.md");
    assert!(rows.len() > 30, "the tables were not found: {} rows", rows.len());
    let missing: Vec<_> = rows.iter().filter(|(test, file)| !defines(file, test)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let page = read("docs/threats.md");
    for number in (1..=18).chain(25..=28) {
        assert!(page.contains(&format!("\n| T{number} |")), "no row T{number}");
    }
    assert!(!page.contains('@'), "a figure is missing");
}

#[test]
fn every_room_is_on_the_page_of_the_house() {
    let page = read("docs/architecture.md");
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let room = name.trim_end_matches(".rs");
        if !matches!(room, "lib" | "main") {
            assert!(page.contains(&format!("| `{room}` |")), "docs/architecture.md has no line for `{room}`");
        }
    }
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let mut dead = Vec::new();
    for page in pages() {
        let text = outside_code(&read(&page));
        for (at, _) in text.match_indices("](") {
            let target: String = text[at + 2..].chars().take_while(|letter| *letter != ')').collect();
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let folder = Path::new(&page).parent().unwrap();
            if !root().join(folder).join(path).exists() {
                dead.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn every_decision_that_the_sources_name_is_written() {
    let mut named = BTreeSet::new();
    for file in files_under("src") {
        let text = read(&file);
        for (at, _) in text.match_indices("docs/decisions/") {
            named.insert(text[at..].chars().take_while(|c| !c.is_whitespace() && *c != '`' && *c != ')').collect());
        }
    }
    assert!(named.len() >= 2, "{named:?}");
    let missing: Vec<&String> = named.iter().filter(|file: &&String| !root().join(file).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_ticket_programs_of_the_readme_are_the_ones_that_are_run() {
    let readme = read("README.md");
    for (language, file) in [("python", "examples/tickets/mint.py"), ("js", "examples/tickets/mint.mjs")] {
        let shown = fenced(&readme).into_iter().find(|(of, _)| of == language).map(|(_, text)| text);
        assert_eq!(shown, Some(read(file)), "README.md and {file} differ");
    }
}

#[test]
fn the_game_of_the_readme_is_the_one_of_the_example() {
    let readme = read("README.md");
    let example = read("examples/tug_of_war.rs");
    let shown = fenced(&readme).into_iter().find(|(of, _)| of == "rust").expect("a game in README.md").1;
    assert!(shown.contains("impl Game for"), "{shown}");
    assert!(example.contains(shown.trim_end()), "README.md and examples/tug_of_war.rs differ");
}

#[test]
fn the_code_on_the_page_of_backends_is_cut_from_the_programs_that_are_run() {
    let page = read("docs/backends.md");
    let mut shown = BTreeSet::new();
    for part in page.split("<!-- from ").skip(1) {
        let (file, rest) = part.split_once(" -->\n").expect("a marker names a file and ends its line");
        assert!(rest.starts_with("```"), "docs/backends.md: no code right below the marker of {file}");
        let (_, block) = fenced(rest).into_iter().next().expect("a block that ends");
        // Whole lines, so that nothing is cut off at either end.
        let there = format!("\n{}", read(file)).contains(&format!("\n{block}"));
        assert!(there, "docs/backends.md and {file} differ:\n{block}");
        shown.insert(file);
    }
    assert!(shown.len() >= 9, "only these are shown: {shown:?}");
}

#[test]
fn every_documented_command_and_flag_exists() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut seen = 0;
    for page in pages() {
        for command in commands(&read(&page)) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let verbs: Vec<String> =
                words.iter().take_while(|word| is_verb(word)).take(depth(&words)).map(|word| (*word).into()).collect();
            if verbs.is_empty() {
                continue;
            }
            let help = helps.entry(verbs.clone()).or_insert_with(|| help(&verbs, &page));
            for flag in words.iter().filter_map(|word| word.strip_prefix("--")) {
                let name: String = flag.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
                let there = help.split_whitespace().any(|word| word.trim_end_matches(',') == format!("--{name}"));
                assert!(name.is_empty() || there, "{page}: `{command}`: there is no --{name}");
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} commands were found");
}

#[test]
fn every_metric_and_variable_that_a_page_names_exists() {
    let metrics = Metrics::new();
    let _ = (metrics.of_issuer("site"), metrics.issuer_tickets(&["site".into()]));
    let exposed = metrics.expose();
    let reference = read("docs/configuration.md");
    for page in pages() {
        let text = read(&page);
        for name in words_with_prefix(&text, "muster_") {
            let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            let there = exposed.contains(&name) || exposed.contains(&format!("# TYPE {family} "));
            assert!(there, "{page} names the metric {name}, which does not exist");
        }
        for name in words_with_prefix(&text, "MUSTER_") {
            let Some((section, key)) = name.trim_start_matches("MUSTER_").split_once("__") else { continue };
            let there = reference.contains(&format!("## `[{}]`", section.to_lowercase()))
                && reference.contains(&format!("| `{}` |", key.to_lowercase()));
            assert!(there, "{page} names the variable {name}, which does not exist");
        }
    }
}

/// The rows of tables that end in a name and a file: `| … | `name` | `path` |`.
fn named_functions(page: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let mut cells = line.trim().trim_matches('|').rsplit('|').map(str::trim);
        let file = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        file.ends_with(".rs").then(|| (name.to_owned(), file.to_owned()))
    };
    read(page).lines().filter_map(row).collect()
}

fn defines(file: &str, function: &str) -> bool {
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
    [format!("fn {function}("), format!("fn {function}<")].iter().any(|head| text.contains(head.as_str()))
}

/// Commands of shell blocks: what follows `muster` or `cargo run --release --`, up to a comment or a pipe.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (language, block) in fenced(text) {
        if !matches!(language.as_str(), "sh" | "console") {
            continue;
        }
        for line in block.replace("\\\n", " ").lines() {
            let line = line.trim_start_matches("$ ").split(" #").next().unwrap_or_default();
            for part in line.split(['|', ';', '&']).map(str::trim) {
                let rest = ["muster ", "cargo run --release -- "].iter().find_map(|start| part.strip_prefix(start));
                found.extend(rest.map(str::to_owned));
            }
        }
    }
    found
}

fn is_verb(word: &str) -> bool {
    word.chars().all(|letter| letter.is_ascii_lowercase())
}

/// `serve` and `play` stand alone, the others have a verb below them.
fn depth(words: &[&str]) -> usize {
    if matches!(words.first(), Some(&("serve" | "play"))) { 1 } else { 2 }
}

fn help(verbs: &[String], page: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_muster")).args(verbs).arg("--help").output().unwrap();
    assert!(output.status.success(), "{page} names `muster {}`, which does not exist", verbs.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

fn words_with_prefix(text: &str, prefix: &str) -> BTreeSet<String> {
    let of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let starts = text.match_indices(prefix).filter(|(at, _)| !text[..*at].ends_with(of_name));
    let words = starts.map(|(at, _)| text[at..].chars().take_while(|letter| of_name(*letter)).collect::<String>());
    words.filter(|word| word.len() > prefix.len() && !word.ends_with('_')).collect()
}

/// The fenced blocks: language, then text.
fn fenced(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, body))) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

fn outside_code(text: &str) -> String {
    let mut code = false;
    let keep = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    };
    text.lines().filter(keep).collect::<Vec<_>>().join("\n")
}

/// Every page that people read.
fn pages() -> Vec<String> {
    let folders = ["docs", "certs", "examples", "web", "loadtest"];
    let all = folders.into_iter().flat_map(files_under);
    let mut pages: Vec<String> = all.filter(|file| file.ends_with(".md")).collect();
    pages.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(String::from));
    pages
}

fn files_under(folder: &str) -> Vec<String> {
    let (mut files, mut open) = (Vec::new(), vec![PathBuf::from(folder)]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                if !path.ends_with("node_modules") && !path.ends_with("target") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "md" || end == "rs") {
                files.push(path.into_os_string().into_string().unwrap());
            }
        }
    }
    files
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
