// Interpolation, prediction, and the server's clock.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Clock } from '../clock.js';
import { Interpolation, Prediction } from '../play.js';

test('the clock goes by the sample with the smallest round trip of the last eight', () => {
  const clock = new Clock();
  clock.guess(100, 1_000);
  assert.equal(clock.server(100), 1_000);
  clock.sample(100, 300, 5_100); // 200 ms: offset 4,900
  assert.equal(clock.server(0), 4_900);
  clock.sample(400, 410, 5_405); // 10 ms: offset 5,000
  assert.equal(clock.server(0), 5_000);
  for (let n = 0; n < 7; n++) clock.sample(1_000, 1_100, 9_000);
  assert.equal(clock.server(0), 5_000, 'the best one is still among the last eight');
  clock.sample(1_000, 1_100, 9_000);
  assert.equal(clock.server(0), 7_950, 'and now it is not');
  assert.equal(clock.roundTrip, 100);
});

test('others are shown one tick in the past, between two snapshots', () => {
  /** @type {Interpolation<number>} */
  const shown = new Interpolation({ tick: 50 });
  assert.equal(shown.sample(0), null);
  for (const time of [1_000, 1_050, 1_100]) shown.push(time, time, time);
  const between = shown.sample(1_125);
  assert.deepEqual(between, { from: 1_050, to: 1_100, t: 0.5 });
  assert.deepEqual(shown.sample(1_130), { from: 1_050, to: 1_100, t: 0.6 });
  assert.equal(shown.sample(1_131), between, 'no new object per frame');
  assert.deepEqual(shown.sample(1_400), { from: 1_100, to: 1_100, t: 1 }, 'it stands still when nothing comes');
});

test('what comes late makes the delay longer, at once; what comes in time makes it shorter, slowly', () => {
  /** @type {Interpolation<number>} */
  const shown = new Interpolation({ tick: 50, most: 200 });
  shown.push(1_000, 1, 1_040);
  assert.equal(shown.delay, 90);
  shown.push(1_050, 2, 1_050);
  assert.ok(shown.delay < 90 && shown.delay > 85);
  shown.push(1_100, 3, 3_000);
  assert.equal(shown.delay, 200);
});

test('the moment shown never goes back, and older snapshots are not taken', () => {
  /** @type {Interpolation<number>} */
  const shown = new Interpolation({ tick: 50 });
  for (const time of [1_000, 1_050, 1_100, 1_150]) shown.push(time, time, time);
  shown.push(1_020, -1, 1_150);
  const before = { .../** @type {any} */ (shown.sample(1_170)) };
  const after = /** @type {any} */ (shown.sample(1_160));
  assert.deepEqual({ ...after }, before);
});

test('the buffer is a ring: a thousand snapshots keep no more than it holds', () => {
  /** @type {Interpolation<number>} */
  const shown = new Interpolation({ tick: 50, keep: 4 });
  for (let n = 1; n <= 1_000; n++) shown.push(n * 50, n, n * 50);
  assert.deepEqual(shown.sample(50 * 999 + 75), { from: 999, to: 1_000, t: 0.5 });
  shown.clear();
  assert.equal(shown.sample(50_000), null);
});

test('one sees oneself at once, and the server is right in the end', () => {
  /** @type {Prediction<number, number>} */
  const own = new Prediction((place, move) => Math.min(place + move, 100));
  own.push(1, 5, 0);
  assert.equal(own.state, null, 'nothing to predict from yet');
  assert.equal(own.reconcile(10, 0, 0), 15, 'the input on its way is replayed');
  own.push(2, 5, 0);
  own.push(3, 5, 0);
  assert.equal(own.state, 25);
  assert.equal(own.reconcile(15, 1, 10), 25, 'no jump where the server agrees');
  assert.equal(own.ahead, 2);
  assert.equal(own.reconcile(50, 2, 10), 55, 'pushed by somebody: corrected');
  assert.equal(own.reconcile(55, 3, 10), 55);
  assert.equal(own.ahead, 0);
});

test('an input that the server never shows is not replayed for ever', () => {
  /** @type {Prediction<number, number>} */
  const own = new Prediction((place, move) => place + move, { patience: 500 });
  own.reconcile(0, 0, 0);
  own.push(1, 5, 0);
  assert.equal(own.reconcile(0, 0, 400), 5);
  assert.equal(own.reconcile(0, 0, 600), 0);
});
