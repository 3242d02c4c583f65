//! A game's state as text.
//!
//! Owns: what is known of each game's state. Must not know: terminals. Unknown games are shown as bytes.

use crate::codec;
use crate::ids::SeatId;

/// A state as text of a few lines, each ended by a line feed. `own` is the player's seat, `settings` the session's.
pub(super) fn render_state(game: &str, settings: &[u8], own: Option<SeatId>, state: &[u8]) -> String {
    match game {
        "arena" => arena_map(settings, own, state).unwrap_or_else(|| hex(state)),
        _ => hex(state),
    }
}

/// Each player's score, by seat, where the game has such a thing.
pub(super) fn scores(game: &str, state: &[u8]) -> Vec<(SeatId, u16)> {
    if game != "arena" {
        return Vec::new();
    }
    let bodies = codec::decode::<Arena>(state).map(|(_, _, bodies)| bodies).unwrap_or_default();
    bodies.into_iter().map(|(seat, _, _, score, _)| (SeatId(seat), score)).collect()
}

/// The arena's state: ticks left, pick-ups, bodies.
type Arena = (u32, Vec<Point>, Vec<Body>);
type Point = (u16, u16);
/// Seat, place, aim, score, absent.
type Body = (u16, Point, u8, u16, bool);

/// The field from above: `*` to collect, `@` oneself, letters for the others (small when their link is lost).
fn arena_map(settings: &[u8], own: Option<SeatId>, state: &[u8]) -> Option<String> {
    let (ticks_left, pickups, bodies) = codec::decode::<Arena>(state).ok()?;
    let size = codec::decode_prefix::<u16>(settings).map_or(DEFAULT_SIZE, |(size, _)| size.max(1));
    let mut map = vec![vec![' '; COLUMNS]; ROWS];
    let mut put = |(x, y): Point, mark: char| {
        let scale = |at: u16, cells: usize| (usize::from(at) * cells / usize::from(size)).min(cells - 1);
        if let Some(cell) = map.get_mut(scale(y, ROWS)).and_then(|row| row.get_mut(scale(x, COLUMNS))) {
            *cell = mark;
        }
    };
    pickups.into_iter().for_each(|at| put(at, '*'));
    // Oneself last, on top.
    let is_own = |seat: u16| own == Some(SeatId(seat));
    for (seat, at, _, _, absent) in bodies.iter().filter(|body| !is_own(body.0)) {
        let letter = char::from(b'A' + (seat % 26) as u8);
        put(*at, if *absent { letter.to_ascii_lowercase() } else { letter });
    }
    bodies.iter().filter(|body| is_own(body.0)).for_each(|body| put(body.1, '@'));
    let edge = format!("+{}+\n", "-".repeat(COLUMNS));
    let mut text = edge.clone();
    for row in map {
        text.push('|');
        text.extend(row);
        text.push_str("|\n");
    }
    text.push_str(&edge);
    text.push_str(&format!("{ticks_left} ticks left\n"));
    Some(text)
}

/// The first bytes, sixteen a line.
fn hex(state: &[u8]) -> String {
    let mut text = String::new();
    for line in state.chunks(16).take(8) {
        line.iter().for_each(|byte| text.push_str(&format!("{byte:02x} ")));
        text.push('\n');
    }
    text
}

const COLUMNS: usize = 48;
const ROWS: usize = 16;
/// The side of the field when the settings are empty.
const DEFAULT_SIZE: u16 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> Vec<u8> {
        let bodies: Vec<Body> = vec![(0, (0, 0), 0, 3, false), (1, (9_999, 9_999), 0, 5, true)];
        codec::encode(&(77_u32, vec![(5_000_u16, 5_000_u16)], bodies))
    }

    #[test]
    fn the_arena_is_a_map_with_oneself_the_others_and_what_lies_about() {
        let text = render_state("arena", &[], Some(SeatId(0)), &state());
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("|@ "), "{text}");
        assert!(lines[ROWS].ends_with(" b|"), "{text}");
        assert_eq!(lines[1 + ROWS / 2].find('*'), Some(1 + COLUMNS / 2), "{text}");
        assert_eq!(lines.last(), Some(&"77 ticks left"));
        assert_eq!(scores("arena", &state()), [(SeatId(0), 3), (SeatId(1), 5)]);
    }

    #[test]
    fn what_is_not_known_is_shown_as_bytes() {
        assert_eq!(render_state("chess", &[], None, &[1, 0xAB]), "01 ab \n");
        assert_eq!(render_state("arena", &[], None, &[0xFF]), "ff \n");
        assert!(scores("chess", &state()).is_empty() && scores("arena", &[1]).is_empty());
    }
}
