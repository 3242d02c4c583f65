// The arena's bytes and its movement, as docs/games.md has them.

import { bool, decode, encode, i8, pair, struct, u16, u32, u8, vec } from '../client/codec.js';

/** @import { ValueOf } from '../client/codec.js' */
/** @typedef {ValueOf<typeof State>} ArenaState */
/** @typedef {ArenaState['bodies'][number]} Body */
/** @typedef {{ x: number, y: number }} Place */
/** @typedef {{ dx: number, dy: number, aim: number }} Move */

const Settings = struct({ size: u16, timeLimit: u16, targetScore: u16 });
const Input = struct({ dx: i8, dy: i8, aim: u8 });
const State = struct({
  ticksLeft: u32,
  pickups: vec(pair(u16, u16)),
  bodies: vec(struct({ seat: u16, x: u16, y: u16, aim: u8, score: u16, absent: bool })),
});
const Scores = vec(struct({ seat: u16, score: u16 }));

const DEFAULTS = { size: 10_000, timeLimit: 180, targetScore: 30 };

/** @param {Partial<typeof DEFAULTS>} settings */
export const writeSettings = (settings) => encode(Settings, { ...DEFAULTS, ...settings });
/** @param {Uint8Array} bytes */
export const readSettings = (bytes) => (bytes.length ? decode(Settings, bytes) : DEFAULTS);
/** @param {Move} move */
export const writeInput = (move) => encode(Input, move);
/** @param {Uint8Array} bytes */
export const readState = (bytes) => decode(State, bytes);
/** @param {Uint8Array} bytes */
export const readScores = (bytes) => (bytes.length ? decode(Scores, bytes) : []);

export const RADIUS = 200;

/** @param {number} size @param {number} tickHz */
export function makeField(size, tickHz) {
  const [half, near] = [size >> 1, size >> 2];
  const far = size - near;
  const [large, small] = [Math.trunc(size / 16), Math.trunc(size / 24)];
  const pillars = [
    [half, half, large], [near, near, small], [far, near, small], [near, far, small], [far, far, small],
  ].map(([x, y, radius]) => ({ x, y, radius }));
  return { size, step: Math.min(Math.trunc(4_000 / tickHz), RADIUS), pillars };
}

/**
 * One move, exactly as the server makes it: integers only.
 * @param {ReturnType<typeof makeField>} field
 * @param {Place} from
 * @param {Move} move
 * @returns {Place}
 */
export function advance({ size, step, pillars }, from, { dx, dy }) {
  const square = dx * dx + dy * dy;
  if (square > FULL * FULL) {
    const length = Math.ceil(Math.sqrt(square));
    dx = Math.trunc((dx * FULL) / length);
    dy = Math.trunc((dy * FULL) / length);
  }
  let x = from.x + Math.trunc((dx * step) / FULL);
  let y = from.y + Math.trunc((dy * step) / FULL);
  for (const pillar of pillars) {
    const reach = pillar.radius + RADIUS;
    const [ox, oy] = [x - pillar.x, y - pillar.y];
    const apart = ox * ox + oy * oy;
    if (apart >= reach * reach) continue;
    const length = Math.floor(Math.sqrt(apart));
    x = length ? pillar.x + Math.trunc((ox * reach) / length) : pillar.x + reach;
    y = length ? pillar.y + Math.trunc((oy * reach) / length) : pillar.y;
  }
  const inside = (/** @type {number} */ place) => Math.min(Math.max(place, RADIUS), size - RADIUS);
  return { x: inside(x), y: inside(y) };
}

/** The length of a direction that means full speed. */
export const FULL = 127;
