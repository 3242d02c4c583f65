//! A game's state as text.
//!
//! Owns: what is known of each game's state. Must not know: terminals. Unknown games are shown as bytes.

use crate::codec;
use crate::game::arena::{Point, Settings, State};
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
    let bodies = codec::decode::<State>(state).unwrap_or_default().bodies;
    bodies.into_iter().map(|body| (SeatId(body.seat), body.score)).collect()
}

/// The field from above: `*` to collect, `@` oneself, letters for the others (small when their link is lost).
fn arena_map(settings: &[u8], own: Option<SeatId>, state: &[u8]) -> Option<String> {
    let State { ticks_left, pickups, bodies } = codec::decode(state).ok()?;
    let size = codec::decode::<Settings>(settings).unwrap_or_default().size.max(1);
    let mut map = vec![vec![' '; COLUMNS]; ROWS];
    let mut put = |at: Point, mark: char| {
        let scale = |at: u16, cells: usize| (usize::from(at) * cells / usize::from(size)).min(cells - 1);
        if let Some(cell) = map.get_mut(scale(at.y, ROWS)).and_then(|row| row.get_mut(scale(at.x, COLUMNS))) {
            *cell = mark;
        }
    };
    pickups.into_iter().for_each(|at| put(at, '*'));
    // Oneself last, on top.
    let (own, others): (Vec<_>, Vec<_>) = bodies.into_iter().partition(|body| own == Some(SeatId(body.seat)));
    for body in others {
        let letter = char::from(b'A' + (body.seat % 26) as u8);
        put(body.at, if body.absent { letter.to_ascii_lowercase() } else { letter });
    }
    own.into_iter().for_each(|body| put(body.at, '@'));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::arena::Body;

    fn state() -> Vec<u8> {
        let body = |seat, at, score, absent| Body { seat, at: Point { x: at, y: at }, aim: 0, score, absent };
        let bodies = vec![body(0, 0, 3, false), body(1, 9_999, 5, true)];
        codec::encode(&State { ticks_left: 77, pickups: vec![Point { x: 5_000, y: 5_000 }], bodies })
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
