//! `docs/protocol.md` is enough to write a client from: this test reads its tables, encodes every golden vector by them
//! alone, and finds the same bytes. What is written by hand here is what a stranger writes by hand: the varint, the
//! zigzag and a dozen types. It uses nothing of the crate but the code table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use muster::wire::{Act, Code};
use serde_json::{Value, json};

#[test]
fn the_page_alone_encodes_every_message_of_the_vectors() {
    let page = Page::read();
    for (file, root) in [("client.json", "ClientMessage"), ("server.json", "ServerMessage")] {
        for vector in vectors(file) {
            let mut bytes = Vec::new();
            page.put(root, &vector["message"], &mut bytes);
            assert_eq!(hex(&bytes), vector["hex"], "{file}: {}", vector["name"]);
        }
    }
}

#[test]
fn the_page_alone_encodes_every_value_of_the_vectors() {
    let page = Page::read();
    for vector in vectors("codec.json") {
        let mut bytes = Vec::new();
        page.put(vector["type"].as_str().unwrap(), &vector["value"], &mut bytes);
        assert_eq!(hex(&bytes), vector["hex"], "{}", vector["name"]);
    }
}

#[test]
fn every_message_of_the_page_has_a_vector() {
    let page = Page::read();
    let mut seen = BTreeSet::new();
    for vector in vectors("client.json").iter().chain(&vectors("server.json")) {
        seen.insert(vector["message"]["kind"].as_str().unwrap().to_owned());
        if let Some(request) = vector["message"]["body"]["kind"].as_str() {
            seen.insert(request.to_owned());
        }
    }
    for root in ["ClientMessage", "ServerMessage", "Request"] {
        for (number, (name, _)) in &page.enums[root] {
            assert!(seen.contains(name), "{root} {number}, {name}, has no vector");
        }
    }
}

#[test]
fn every_variant_of_the_source_is_on_the_page_under_its_number() {
    let page = Page::read();
    let source = read("src/wire/message.rs");
    let mut enums = 0;
    for part in source.split("\npub enum ").skip(1) {
        let (name, rest) = part.split_once(" {\n").unwrap();
        let body = rest.split("\n}").next().unwrap();
        let on_page = &page.enums[if name == "WireRole" { "Role" } else { name }];
        let variants: Vec<_> = body
            .lines()
            .filter_map(|line| {
                line.strip_prefix("    ").filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
            })
            .map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap())
            .collect();
        let written: Vec<_> = on_page.values().map(|(name, _)| name.as_str()).collect();
        assert_eq!(variants, written, "{name}");
        assert!(on_page.keys().copied().eq(0..variants.len() as u32), "{name}: numbers");
        enums += 1;
    }
    assert_eq!(enums, page.enums.len(), "an enum on the page that the source does not have");
}

#[test]
fn the_code_table_of_the_page_is_that_of_the_source() {
    let text = read("docs/protocol.md");
    let rows: Vec<Vec<_>> =
        section(&text, "## Codes").filter_map(row).filter(|cells| cells[0].parse::<u16>().is_ok()).collect();
    assert_eq!(rows.len(), Code::ALL.len());
    for (cells, code) in rows.iter().zip(Code::ALL) {
        let act = match code.act() {
            Act::Stop => "stop",
            Act::Report => "report",
            Act::Retry => "retry",
            Act::Resume => "resume",
            Act::NewTicket => "new ticket",
        };
        let (number, slug) = (code.number().to_string(), format!("`{}`", code.slug()));
        assert_eq!(cells[..4], [number, slug, code.http_status().to_string(), act.to_owned()]);
    }
}

#[test]
fn the_worked_example_is_made_of_vectors() {
    let known: BTreeMap<_, _> = ["client.json", "server.json"]
        .into_iter()
        .flat_map(vectors)
        .map(|vector| (vector["name"].as_str().unwrap().to_owned(), vector["hex"].as_str().unwrap().to_owned()))
        .collect();
    let text = read("docs/protocol.md");
    let example = section(&text, "## A worked example").collect::<Vec<_>>().join("\n");
    let mut steps = 0;
    for (before, after) in example.match_indices("```hex\n").map(|(at, fence)| example.split_at(at + fence.len())) {
        let name = before.rsplit("\n\n").nth(1).unwrap().split('`').nth(1).unwrap();
        let block = after.split("```").next().unwrap();
        let bytes: String = block.lines().flat_map(|line| line.split('#').next().unwrap().split_whitespace()).collect();
        assert_eq!(Some(&bytes), known.get(name), "{name}");
        steps += 1;
    }
    assert_eq!(steps, 10);
}

#[test]
fn the_resume_point_of_the_page_is_the_token_in_base64url() {
    use base64::Engine as _;
    let token: Vec<u8> = (0..32).collect();
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token);
    assert_eq!(text.len(), 43);
    assert!(read("docs/protocol.md").contains(&format!("`{text}.3`")));
}

#[test]
fn the_limits_of_the_page_are_the_defaults() {
    let limits = muster::limits::Limits::default();
    let text = read("docs/protocol.md");
    let bounds: BTreeMap<_, _> =
        section(&text, "## Limits").filter_map(row).map(|cells| (cells[0].clone(), cells[1].clone())).collect();
    let (rate, burst) = (limits.messages_per_second, 4 * limits.messages_per_second);
    let (connects, inputs) = (limits.connects_per_second, limits.inputs_per_tick);
    for (what, bound) in [
        ("a client's message", "4,096 bytes".to_owned()),
        ("fragments of one WebSocket message", limits.fragments.to_string()),
        ("a ticket", "2,048 bytes".to_owned()),
        ("a game's settings", "1,024 bytes".to_owned()),
        ("requests and pings", format!("{rate} a second, bursts of {burst}")),
        ("inputs", format!("{inputs} a tick, bursts of a second's")),
        ("reliable messages that wait for one link", format!("{} KiB", limits.queue_bytes / 1_024)),
        ("reliable messages kept for a resume", format!("{} KiB", limits.resume_bytes / 1_024)),
        ("the first message, without a carrier", format!("{} s", limits.first_message.as_secs())),
        ("silence", format!("{} s", limits.heartbeat.as_secs())),
        ("a lost link's place", format!("{} s", limits.grace.as_secs())),
        ("new links from one address", format!("{connects} a second, bursts of {}", 2 * connects)),
        ("links without a ticket from one address", limits.pending_per_address.to_string()),
        ("a server's message", format!("{} KiB", muster::codec::DECODE_LIMIT / 1_024)),
    ] {
        assert_eq!(bounds.get(what), Some(&bound), "{what}");
    }
    assert_eq!((limits.message_bytes, limits.ticket_bytes, limits.settings_bytes), (4_096, 2_048, 1_024));
    assert_eq!(limits.flood_grace.as_secs(), 3);
}

/// A field's name and type, in order.
type Fields = Vec<(String, String)>;

/// What the tables of the page say.
#[derive(Default)]
struct Page {
    aliases: BTreeMap<String, String>,
    structs: BTreeMap<String, Fields>,
    enums: BTreeMap<String, BTreeMap<u32, (String, Fields)>>,
}

impl Page {
    fn read() -> Self {
        let mut page = Self::default();
        let mut under = String::new();
        for line in read("docs/protocol.md").lines() {
            if let Some(title) = line.strip_prefix("### ").or(line.strip_prefix("## ")) {
                under = title.to_owned();
                if let Some((name, number, variant)) = variant_title(title) {
                    page.enums.entry(name).or_default().insert(number, (variant, vec![]));
                }
            } else if let Some(cells) = row(line) {
                page.take_row(&under, &cells);
            }
        }
        page
    }

    fn take_row(&mut self, under: &str, cells: &[String]) {
        let field = || Some((quoted(&cells[0])?, quoted(&cells[1])?));
        if under == "Names for plain types" {
            self.aliases.extend(field());
        } else if let Some((name, number, _)) = variant_title(under) {
            let (_, fields) = self.enums.get_mut(&name).unwrap().get_mut(&number).unwrap();
            fields.extend(field());
        } else if let Some(name) = quoted(under) {
            if let Some(field) = field() {
                self.structs.entry(name).or_default().push(field);
            } else if let (Ok(number), Some(variant)) = (cells[0].parse(), quoted(&cells[1])) {
                self.enums.entry(name).or_default().insert(number, (variant, vec![]));
            }
        }
    }

    fn put(&self, kind: &str, value: &Value, out: &mut Vec<u8>) {
        let inner = |before| kind.strip_prefix(before).and_then(|rest| rest.strip_suffix('>'));
        if let Some(of) = inner("Option<") {
            out.push(u8::from(!value.is_null()));
            if !value.is_null() {
                self.put(of, value, out);
            }
        } else if let Some(of) = inner("Vec<") {
            let items = value.as_array().unwrap();
            put_varint(items.len() as u128, out);
            items.iter().for_each(|item| self.put(of, item, out));
        } else if let Some(pair) = kind.strip_prefix('(') {
            let (a, b) = pair.trim_end_matches(')').split_once(", ").unwrap();
            self.put(a, &value[0], out);
            self.put(b, &value[1], out);
        } else if kind.starts_with("[u8; ") {
            out.extend(unhex(value.as_str().unwrap()));
        } else if kind == "LobbyId" || kind == "SessionId" {
            put_varint(u128::from_str_radix(value.as_str().unwrap(), 16).unwrap(), out);
        } else if let Some(plain) = self.aliases.get(kind) {
            self.put(plain, value, out);
        } else if let Some(fields) = self.structs.get(kind) {
            self.put_fields(fields, value, out);
        } else if let Some(variants) = self.enums.get(kind) {
            let name = value.as_str().or(value["kind"].as_str()).unwrap();
            let (number, (_, fields)) = variants.iter().find(|(_, (variant, _))| variant == name).unwrap();
            put_varint(u128::from(*number), out);
            self.put_fields(fields, value, out);
        } else {
            put_plain(kind, value, out);
        }
    }

    fn put_fields(&self, fields: &Fields, value: &Value, out: &mut Vec<u8>) {
        let given = value.as_object().map_or(0, |object| object.keys().filter(|key| *key != "kind").count());
        assert_eq!(given, fields.len(), "the page and the vector know different fields: {fields:?} {value}");
        for (name, kind) in fields {
            self.put(kind, value.get(name).expect(name), out);
        }
    }
}

fn put_plain(kind: &str, value: &Value, out: &mut Vec<u8>) {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match kind {
        "bool" => out.push(u8::from(value == &json!(true))),
        "u8" => out.push(text.parse().unwrap()),
        "i8" => out.push(text.parse::<i8>().unwrap() as u8),
        "u16" | "u32" | "u64" | "u128" => put_varint(text.parse().unwrap(), out),
        "i16" | "i32" | "i64" => {
            let number: i128 = text.parse().unwrap();
            put_varint(if number < 0 { -2 * number - 1 } else { 2 * number } as u128, out);
        }
        "f32" => out.extend((value.as_f64().unwrap() as f32).to_bits().to_le_bytes()),
        "f64" => out.extend(value.as_f64().unwrap().to_bits().to_le_bytes()),
        "str" => {
            put_varint(text.len() as u128, out);
            out.extend(text.as_bytes());
        }
        "bytes" => {
            let bytes = unhex(&text);
            put_varint(bytes.len() as u128, out);
            out.extend(bytes);
        }
        _ => panic!("the page does not say what a {kind} is"),
    }
}

fn put_varint(number: u128, out: &mut Vec<u8>) {
    let (mark, width) = match number {
        0..=250 => return out.push(number as u8),
        251..=0xffff => (0xfb, 2),
        0x1_0000..=0xffff_ffff => (0xfc, 4),
        0x1_0000_0000..=0xffff_ffff_ffff_ffff => (0xfd, 8),
        _ => (0xfe, 16),
    };
    out.push(mark);
    out.extend((0..width).map(|byte| (number >> (8 * byte)) as u8));
}

/// Splits "`Request` 4: `Chat`".
fn variant_title(title: &str) -> Option<(String, u32, String)> {
    let (name, rest) = title.split_once("` ")?;
    let (number, variant) = rest.split_once(": ")?;
    Some((name.strip_prefix('`')?.to_owned(), number.parse().ok()?, quoted(variant)?))
}

fn quoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('`')?.strip_suffix('`')?;
    (!inner.contains('`')).then(|| inner.to_owned())
}

fn row(line: &str) -> Option<Vec<String>> {
    let cells: Vec<_> = line.strip_prefix('|')?.split('|').map(|cell| cell.trim().to_owned()).collect();
    (cells.len() > 2).then_some(cells)
}

fn section<'a>(text: &'a str, title: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().skip_while(move |line| *line != title).skip(1).take_while(|line| !line.starts_with("## "))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn vectors(file: &str) -> Vec<Value> {
    let mut all: Value = serde_json::from_str(&read(&format!("tests/vectors/{file}"))).unwrap();
    match all["vectors"].take() {
        Value::Array(vectors) => vectors,
        _ => panic!("{file} holds no vectors"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
