// The arena's movement against the vectors of the Rust side, and the page's words against the codes.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { MusterError } from '../../client/index.js';
import { advance, makeField, readScores, readSettings, readState, writeInput, writeSettings } from '../arena.js';
import { words } from '../words.js';

const { walks } = JSON.parse(readFileSync(new URL('../../../tests/vectors/arena_movement.json', import.meta.url), 'utf8'));

test('every move of every walk ends where the server says', () => {
  assert.ok(walks.length > 0);
  for (const { start, moves, size, tick_hz } of walks) {
    const field = makeField(size, tick_hz);
    let at = { x: start[0], y: start[1] };
    for (const [dx, dy, x, y] of moves) {
      at = advance(field, at, { dx, dy, aim: 0 });
      assert.deepEqual(at, { x, y }, `${dx}, ${dy} on a field of ${size}`);
    }
  }
});

test('the bytes are those of docs/games.md', () => {
  const bytes = Uint8Array.from([251, 44, 1, 1, 1, 251, 251, 0, 1, 7, 250, 251, 0xe8, 3, 64, 3, 1]);
  assert.deepEqual(readState(bytes), {
    ticksLeft: 300, pickups: [[1, 251]], bodies: [{ seat: 7, x: 250, y: 1000, aim: 64, score: 3, absent: true }],
  });
  assert.deepEqual([...writeInput({ dx: -1, dy: 127, aim: 255 })], [0xff, 127, 255]);
  assert.deepEqual([...writeSettings({})], [0xfb, 0x10, 0x27, 0xb4, 0x1e]);
  assert.deepEqual(readSettings(new Uint8Array(0)), readSettings(writeSettings({})));
  assert.deepEqual(readScores(Uint8Array.from([1, 3, 9])), [{ seat: 3, score: 9 }]);
});

test('every code of the table has words, and shows its number', () => {
  const { vectors } = JSON.parse(readFileSync(new URL('../../../tests/vectors/codes.json', import.meta.url), 'utf8'));
  for (const { code, slug } of vectors) {
    const text = words(new MusterError(code, slug ?? `code-${code}`));
    assert.match(text, /^\S.*\. \[.*\]$/);
    if (code) assert.ok(text.includes(String(code)), text);
  }
});
