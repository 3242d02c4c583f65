// The golden vectors of docs/protocol.md, both ways: the same files as the Rust tests read.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';

import { actOf } from '../codes.js';
import * as codec from '../codec.js';
import { ClientMessage, Deframer, Pieces, ServerMessage, frame, readServerMessage } from '../messages.js';

/** @param {string} name @returns {any[]} */
const vectors = (name) => JSON.parse(readFileSync(new URL(`../../../tests/vectors/${name}.json`, import.meta.url), 'utf8')).vectors;

const hex = (/** @type {Uint8Array} */ bytes) => Buffer.from(bytes).toString('hex');
const unhex = (/** @type {string} */ text) => new Uint8Array(Buffer.from(text, 'hex'));

/** A decoded value in the plain JSON of the vectors. @param {any} value @param {string} [name] @returns {any} */
function plain(value, name = '') {
  if (value instanceof Uint8Array) return hex(value);
  if (typeof value === 'bigint' || WIDE.has(name)) return String(value);
  if (Array.isArray(value)) return value.map((item) => plain(item));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => {
    const snake = key.replace(/[A-Z]/g, (letter) => '_' + letter.toLowerCase());
    return [snake, plain(item, snake)];
  }));
}

/** The other way. @param {any} value @param {string} [name] @returns {any} */
function rich(value, name = '') {
  if (BYTES.has(name)) return unhex(value);
  if (name === 'resume' && typeof value === 'string') return unhex(value);
  if (WIDE.has(name)) return BigInt(value);
  if (Array.isArray(value)) return value.map((item) => rich(item));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => {
    return [key.replace(/_(.)/g, (_, letter) => letter.toUpperCase()), rich(item, key)];
  }));
}

const WIDE = new Set(['received', 'counted', 'server_time_us', 'time_us']);
const BYTES = new Set(['data', 'settings', 'token', 'state', 'result']);

for (const [file, type] of /** @type {const} */ ([['client', ClientMessage], ['server', ServerMessage]])) {
  describe(`${file}.json`, () => {
    for (const { name, hex: bytes, message, numbered } of vectors(file)) {
      test(name, () => {
        assert.equal(hex(codec.encode(/** @type {any} */ (type), rich(message))), bytes);
        assert.deepEqual(plain(codec.decode(/** @type {any} */ (type), unhex(bytes))), message);
        if (file === 'server') {
          const read = readServerMessage(unhex(bytes));
          assert.equal(read.numbered, numbered);
          assert.deepEqual(plain(read.message), message);
        }
      });
    }
  });
}

describe('codec.json', () => {
  /** @type {Record<string, codec.Type<any>>} */
  const types = {
    u8: codec.u8, u16: codec.u16, u32: codec.u32, u64: codec.u64, u128: codec.u128, i8: codec.i8, i16: codec.i16, i32: codec.i32,
    i64: codec.i64, i128: codec.i128, f32: codec.f32, f64: codec.f64, bool: codec.bool, str: codec.str, bytes: codec.bytes,
  };
  /** @param {string} name @returns {codec.Type<any>} */
  const typeOf = (name) => {
    const [, outer, inner] = /^(Vec|Option)<(.*)>$/.exec(name) ?? [];
    if (outer) return (outer === 'Vec' ? codec.vec : codec.option)(typeOf(inner));
    const [, length] = /^\[u8; (\d+)\]$/.exec(name) ?? [];
    if (length) return codec.array(Number(length));
    const [, a, b] = /^\((.*), (.*)\)$/.exec(name) ?? [];
    if (a) return codec.pair(typeOf(a), typeOf(b));
    assert.ok(types[name], `the type ${name} is known`);
    return types[name];
  };
  for (const { name, type, value, hex: bytes } of vectors('codec')) {
    test(name, () => {
      const own = typeof value !== 'string' || type === 'str' ? value : /^[ui]/.test(type) ? BigInt(value) : unhex(value);
      assert.equal(hex(codec.encode(typeOf(type), own)), bytes);
      const decoded = codec.decode(typeOf(type), unhex(bytes));
      assert.ok(Object.is(plain(decoded), value) || JSON.stringify(plain(decoded, 'u64' === type ? 'counted' : '')) === JSON.stringify(value)
        || String(decoded) === value, `${plain(decoded)} is ${value}`);
    });
  }
});

describe('refusals.json', () => {
  for (const { name, of, hex: bytes } of vectors('refusals')) {
    test(`${of}: ${name}`, () => {
      if (of === 'server-datagram') return assert.equal(new Pieces().take(unhex(bytes)), null);
      if (of === 'client') return assert.throws(() => codec.decode(ClientMessage, unhex(bytes)), codec.DecodeError);
      assert.throws(() => readServerMessage(unhex(bytes)), codec.DecodeError);
    });
  }
});

describe('framing.json', () => {
  for (const vector of vectors('framing')) {
    test(vector.name, () => {
      if (vector.form === 'control-stream') {
        const framed = vector.messages.map((/** @type {string} */ message) => hex(frame(unhex(message)))).join('');
        assert.equal(framed, vector.hex);
        for (const step of [1, 3, 7, 1_000_000]) {
          const [deframer, bytes, messages] = [new Deframer(), unhex(vector.hex), /** @type {string[]} */ ([])];
          for (let at = 0; at < bytes.length; at += step) messages.push(...deframer.take(bytes.subarray(at, at + step)).map(hex));
          assert.deepEqual(messages, vector.messages, `in chunks of ${step}`);
        }
      } else if (vector.form === 'snapshot-datagrams' && vector.payloads) {
        for (const order of [vector.payloads, vector.payloads.toReversed(), vector.payloads.flatMap((/** @type {string} */ p) => [p, p])]) {
          const pieces = new Pieces();
          const whole = order.map((/** @type {string} */ payload) => pieces.take(unhex(payload))).filter(Boolean);
          if (vector.payloads.length > 1) assert.equal(whole.length, 1, 'once, though pieces are doubled');
          assert.equal(hex(whole[0]), vector.message);
        }
      } else if (vector.form === 'input-datagram') {
        assert.equal('00' + hex(codec.encode(ClientMessage, codec.decode(ClientMessage, unhex(vector.message)))), vector.hex);
      } else {
        assert.ok(['websocket-header', 'snapshot-datagrams'].includes(vector.form), 'a form that is not ours to build');
      }
    });
  }
});

test('codes.json: every act', () => {
  for (const { code, act } of vectors('codes')) assert.equal(actOf(code), act, String(code));
});

test('a kind that was added later is counted and skipped', () => {
  assert.deepEqual(readServerMessage(unhex('0e010203')), { numbered: true, message: null });
});

test('pieces of an older tick do not disturb those of the newest', () => {
  const piece = (/** @type {number} */ tick, /** @type {number} */ index) => new Uint8Array([1, 1, 0, 0, 0, tick, 0, 0, 0, index, 2, tick, index]);
  const pieces = new Pieces();
  assert.equal(pieces.take(piece(5, 0)), null);
  assert.equal(pieces.take(piece(4, 1)), null);
  assert.deepEqual(pieces.take(piece(5, 1)), new Uint8Array([5, 0, 5, 1]));
  assert.equal(pieces.take(piece(6, 0)), null);
  assert.equal(pieces.take(piece(7, 1)), null);
  assert.equal(pieces.take(piece(6, 1)), null, 'given up when a newer one came');
});

test('values that do not fit are refused before they are sent', () => {
  assert.throws(() => codec.encode(codec.u16, 70_000), RangeError);
  assert.throws(() => codec.encode(codec.i8, 128), RangeError);
  assert.throws(() => codec.encode(codec.u32, 1.5), RangeError);
  assert.throws(() => codec.encode(codec.array(4), new Uint8Array(3)), RangeError);
});
