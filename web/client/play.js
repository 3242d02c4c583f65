// What a game's page needs between snapshots: others shown smoothly, oneself shown at once.

/**
 * Keeps the last snapshots and tells between which two a moment lies. The moment is a little in the past: one tick, and as
 * much as snapshots have lately come late. Nothing is allocated after the start.
 * @template S
 */
export class Interpolation {
  #size = 0;
  #head = -1;
  #late = 0;
  #shown = -Infinity;
  /** @type {{ time: number, state: S | undefined }[]} */
  #kept;
  /** @type {{ from: S, to: S, t: number }} */
  #answer = /** @type {any} */ ({ from: undefined, to: undefined, t: 0 });

  /** @param {{ tick: number, keep?: number, most?: number }} options `tick` in ms; the delay is at most `most` ms */
  constructor({ tick, keep = 32, most = 500 }) {
    this.tick = tick;
    this.most = most;
    this.#kept = Array.from({ length: keep }, () => ({ time: 0, state: undefined }));
  }

  /** How far in the past others are shown, in ms. */
  get delay() {
    return Math.min(this.tick + this.#late, this.most);
  }

  /** @param {number} time of the snapshot, ms of the server @param {S} state @param {number} now ms of the server */
  push(time, state, now) {
    if (this.#size && time <= this.#at(0).time) return;
    // Lateness rises at once and sinks slowly.
    this.#late = Math.max(Math.max(0, now - time), this.#late * 0.98);
    this.#head = (this.#head + 1) % this.#kept.length;
    this.#size = Math.min(this.#size + 1, this.#kept.length);
    const slot = this.#kept[this.#head];
    [slot.time, slot.state] = [time, state];
  }

  /** @param {number} back */
  #at(back) {
    return this.#kept[(this.#head - back + this.#kept.length) % this.#kept.length];
  }

  /**
   * The two states around the moment to show, and how far between them (0 to 1); the same object at each call. It never goes
   * back in time, and stands still when no snapshot came.
   * @param {number} now ms of the server
   * @returns {{ from: S, to: S, t: number } | null} null before the first snapshot
   */
  sample(now) {
    if (!this.#size) return null;
    const moment = Math.max(now - this.delay, Math.min(this.#shown, now));
    this.#shown = moment;
    let back = 0;
    while (back + 1 < this.#size && this.#at(back).time > moment) back++;
    const from = this.#at(back);
    const to = this.#at(Math.max(0, back - 1));
    const span = to.time - from.time;
    this.#answer.from = /** @type {S} */ (from.state);
    this.#answer.to = /** @type {S} */ (to.state);
    this.#answer.t = span > 0 ? Math.min(1, Math.max(0, (moment - from.time) / span)) : 1;
    return this.#answer;
  }

  clear() {
    [this.#size, this.#head, this.#late, this.#shown] = [0, -1, 0, -Infinity];
    for (const slot of this.#kept) slot.state = undefined;
  }
}

/**
 * Shows one's own inputs before the server has: they are replayed on each snapshot that does not contain them yet.
 * @template S, I
 */
export class Prediction {
  /** @type {{ seq: number, input: I, at: number }[]} */
  #pending = [];
  /** @type {S | null} */
  #state = null;

  /**
   * @param {(state: S, input: I) => S} step the game's own rule, the same as the server's; must not change its argument
   * @param {{ patience?: number }} [options] an input the server has not applied for so many ms is taken for lost
   */
  constructor(step, { patience = 1_000 } = {}) {
    this.step = step;
    this.patience = patience;
  }

  /** One's own state as it will be once the server has all inputs; null before the first snapshot. */
  get state() {
    return this.#state;
  }

  /** How many inputs the server has not shown yet. */
  get ahead() {
    return this.#pending.length;
  }

  /** An input was sent. @param {number} seq @param {I} input @param {number} now ms of any steady clock */
  push(seq, input, now) {
    this.#pending.push({ seq, input, at: now });
    if (this.#state !== null) this.#state = this.step(this.#state, input);
  }

  /**
   * A snapshot came.
   * @param {S} state one's own, as the server has it
   * @param {number} applied the newest input in it
   * @param {number} now as in `push`
   * @returns {S} the state with the inputs on their way replayed on it
   */
  reconcile(state, applied, now) {
    let gone = 0;
    const pending = this.#pending;
    while (gone < pending.length && (pending[gone].seq <= applied || now - pending[gone].at > this.patience)) gone++;
    if (gone) pending.splice(0, gone);
    this.#state = pending.reduce((state, { input }) => this.step(state, input), state);
    return this.#state;
  }

  clear() {
    [this.#pending, this.#state] = [[], null];
  }
}
