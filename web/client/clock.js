// The server's clock, estimated from the best of the last eight pings.

/** All times in milliseconds. */
export class Clock {
  /** @type {{ roundTrip: number, offset: number }[]} */
  #samples = [];
  #next = 0;
  #best = { roundTrip: Infinity, offset: 0 };

  /** How many of the last eight there are. */
  get samples() {
    return this.#samples.length;
  }

  /** The newest round trip; 0 before the first. */
  roundTrip = 0;

  /** @param {number} sent own clock @param {number} now own clock @param {number} server */
  sample(sent, now, server) {
    this.roundTrip = now - sent;
    this.#samples[this.#next++ % 8] = { roundTrip: this.roundTrip, offset: server + this.roundTrip / 2 - now };
    this.#best = this.#samples.reduce((best, sample) => (sample.roundTrip < best.roundTrip ? sample : best));
  }

  /** A first guess, until a ping says it better. @param {number} now @param {number} server */
  guess(now, server) {
    if (this.#best.roundTrip === Infinity) this.#best = { roundTrip: Infinity, offset: server - now };
  }

  /** The server's time at a time of one's own. @param {number} now */
  server(now) {
    return now + this.#best.offset;
  }

  /** Another node, another clock. */
  reset() {
    [this.#samples, this.#next, this.#best] = [[], 0, { roundTrip: Infinity, offset: 0 }];
  }
}
