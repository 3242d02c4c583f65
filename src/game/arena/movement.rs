//! How a player moves in the arena: integers only, so that a browser foretells it exactly.
//!
//! Owns: the field, its pillars, one move. Must not know: players, scores, ticks. `docs/games.md` has the same
//! formula in JavaScript and `tests/vectors/arena_movement.json` holds what it must give.

use crate::codec::{Decode, Encode};

/// A place on the field, in units from the upper left corner; x to the right, y down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Point {
    /// To the right.
    pub x: u16,
    /// Down.
    pub y: u16,
}

/// A round obstacle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pillar {
    /// Its middle.
    pub x: i32,
    /// Its middle.
    pub y: i32,
    /// In units.
    pub radius: i32,
}

/// A square field with a wall around it, one large pillar in the middle and four small ones around that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    size: i32,
    step: i32,
    pillars: [Pillar; 5],
}

impl Field {
    /// The field of a side of `size` units, at a tick rate.
    pub fn new(size: u16, tick_hz: u8) -> Self {
        let size = i32::from(size.max(MIN_SIZE));
        let (half, near, far) = (size / 2, size / 4, size - size / 4);
        let small = |x, y| Pillar { x, y, radius: size / 24 };
        let large = Pillar { x: half, y: half, radius: size / 16 };
        Self {
            size,
            step: (SPEED / i32::from(tick_hz.max(1))).min(RADIUS),
            pillars: [large, small(near, near), small(far, near), small(near, far), small(far, far)],
        }
    }

    /// The pillars, in the order in which they push.
    pub fn pillars(&self) -> &[Pillar] {
        &self.pillars
    }

    /// One move: a whole step in the direction (`dx`, `dy`), or less when that is shorter than 127. Longer is no
    /// faster.
    #[must_use]
    pub fn advance(&self, from: Point, dx: i8, dy: i8) -> Point {
        let (mut dx, mut dy) = (i32::from(dx), i32::from(dy));
        let square = dx * dx + dy * dy;
        if square > FULL * FULL {
            let length = (square - 1).isqrt() + 1; // rounded up, so that rounding never makes faster
            dx = dx * FULL / length;
            dy = dy * FULL / length;
        }
        let (x, y) = (i32::from(from.x), i32::from(from.y));
        self.contain(x + dx * self.step / FULL, y + dy * self.step / FULL)
    }

    /// The nearest place for a player's middle: out of each pillar in turn, then inside the walls.
    pub(super) fn contain(&self, mut x: i32, mut y: i32) -> Point {
        for pillar in &self.pillars {
            let reach = pillar.radius + RADIUS;
            let (dx, dy) = (x - pillar.x, y - pillar.y);
            if dx.abs() >= reach || dy.abs() >= reach {
                continue;
            }
            let square = dx * dx + dy * dy;
            if square >= reach * reach {
                continue;
            }
            let length = square.isqrt();
            (x, y) = if length == 0 {
                (pillar.x + reach, pillar.y)
            } else {
                (pillar.x + dx * reach / length, pillar.y + dy * reach / length)
            };
        }
        let inside = |place: i32| place.clamp(RADIUS, self.size - RADIUS) as u16;
        Point { x: inside(x), y: inside(y) }
    }

    /// Two players who stand in each other are pushed apart, half each.
    pub(super) fn separate(&self, a: Point, b: Point) -> Option<(Point, Point)> {
        let (ax, ay, bx, by) = (i32::from(a.x), i32::from(a.y), i32::from(b.x), i32::from(b.y));
        let (mut dx, dy) = (bx - ax, by - ay);
        if dx.abs() >= 2 * RADIUS || dy.abs() >= 2 * RADIUS {
            return None;
        }
        let square = dx * dx + dy * dy;
        if square >= 4 * RADIUS * RADIUS {
            return None;
        }
        let mut length = square.isqrt();
        if length == 0 {
            (dx, length) = (1, 1);
        }
        let push = (2 * RADIUS - length + 1) / 2;
        let (px, py) = (dx * push / length, dy * push / length);
        Some((self.contain(ax - px, ay - py), self.contain(bx + px, by + py)))
    }

    /// The side, in units.
    pub(super) fn size(&self) -> i32 {
        self.size
    }
}

/// How large a player is.
pub const RADIUS: i32 = 200;

/// How far a player comes in a second; never more than [`RADIUS`] in a tick.
pub const SPEED: i32 = 4_000;

/// The smallest side of a field.
pub const MIN_SIZE: u16 = 4_000;

/// The length of a direction that means full speed.
const FULL: i32 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_direction_is_faster_than_straight_ahead() {
        let field = Field::new(10_000, 20);
        let from = Point { x: 5_000, y: 8_000 };
        assert_eq!(field.advance(from, 127, 0), Point { x: 5_200, y: 8_000 });
        assert_eq!(field.advance(from, 0, 0), from);
        assert_eq!(field.advance(from, -64, 0), Point { x: 4_900, y: 8_000 });
        for dx in i8::MIN..=i8::MAX {
            for dy in i8::MIN..=i8::MAX {
                let to = field.advance(from, dx, dy);
                let (mx, my) = (i32::from(to.x) - 5_000, i32::from(to.y) - 8_000);
                assert!(mx * mx + my * my <= 200 * 200, "{dx}, {dy} moved {mx}, {my}");
            }
        }
    }

    #[test]
    fn nobody_comes_to_stand_in_a_wall_or_a_pillar() {
        for (size, hz) in [(4_000, 1), (10_000, 20), (60_000, 128)] {
            let field = Field::new(size, hz);
            for x in (0..=i32::from(size)).step_by(97) {
                for y in (0..=i32::from(size)).step_by(89) {
                    let at = field.contain(x, y);
                    let (x, y) = (i32::from(at.x), i32::from(at.y));
                    let wall = RADIUS..=i32::from(size) - RADIUS;
                    assert!(wall.contains(&x) && wall.contains(&y));
                    for pillar in field.pillars() {
                        let (dx, dy) = (x - pillar.x, y - pillar.y);
                        let apart = f64::from(dx).hypot(f64::from(dy)) as i32;
                        assert!(apart + 2 >= pillar.radius + RADIUS, "{apart} from {pillar:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn two_players_in_one_place_are_pushed_apart() {
        let field = Field::new(10_000, 20);
        let at = Point { x: 2_000, y: 5_000 };
        assert_eq!(
            field.separate(at, at),
            Some((Point { x: 1_800, y: 5_000 }, Point { x: 2_200, y: 5_000 })),
            "also where there is no direction to push in"
        );
        assert_eq!(field.separate(at, Point { x: 2_400, y: 5_000 }), None, "to touch is not to overlap");
    }
}
