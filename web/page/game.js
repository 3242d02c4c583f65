// One running arena: reads the keys, sends the inputs, shows the state.

import { Interpolation, Prediction } from '../client/index.js';
import { FULL, advance, makeField, readSettings, readState, writeInput } from './arena.js';
import { colour } from './draw.js';
import { find, make, say } from './dom.js';

/** @import { Muster } from '../client/index.js' */
/** @import { ArenaState, Body, Move, Place } from './arena.js' */
/** @import { Painter, Shown } from './draw.js' */

export class ArenaGame {
  /** What the overlay's switches say. */
  predicting = true;
  interpolating = true;

  /** @type {Muster} */
  #muster;
  /** @type {Painter} */
  #painter;
  /** @type {Controls} */
  #controls;
  /** @type {number | null} */
  #seat;
  #field;
  #tick;
  /** @type {Interpolation<ArenaState>} */
  #others;
  /** @type {Prediction<Place, Move>} */
  #own;
  /** @type {ArenaState | null} */
  #newest = null;
  /** One's own place at the last two steps, and how far the shown one is off after a correction. */
  #before = { x: 0, y: 0 };
  #after = { x: 0, y: 0 };
  #off = { x: 0, y: 0 };
  #stepped = 0;
  #aim = 0;
  #aimSent = 0;
  #drawnAt = 0;
  #frame = 0;
  #running = true;
  #toldAt = 0;
  #bytes = { in: 0, out: 0, at: 0 };
  /** Milliseconds of script per frame, a running mean. */
  #cost = 0;
  #frames = 0;
  /** @type {Shown[]} */
  #shown = [];
  #panels = { left: 0, right: 0 };
  /** @type {Map<number, string>} */
  #names = new Map();
  /** @type {(() => void)[]} */
  #stop;

  /** @param {Muster} muster @param {Painter} painter @param {Controls} controls */
  constructor(muster, painter, controls) {
    const seated = muster.seated;
    if (!seated) throw new Error('a game without a seat');
    [this.#muster, this.#painter, this.#controls, this.#seat] = [muster, painter, controls, seated.seat];
    this.#field = makeField(readSettings(seated.settings).size, seated.tickHz);
    this.#tick = 1000 / seated.tickHz;
    this.#others = new Interpolation({ tick: this.#tick });
    this.#own = new Prediction((place, move) => advance(this.#field, place, move));
    this.#stop = [
      muster.on('snapshot', ({ state, time, applied }) => this.#take(readState(state), time, applied)),
      muster.on('roster', () => this.#readRoster()),
      muster.on('open', () => this.#own.clear()), // what was on its way is lost with its link
    ];
    this.#readRoster();
    this.#frame = requestAnimationFrame((at) => this.#run(at));
  }

  end() {
    this.#running = false;
    cancelAnimationFrame(this.#frame);
    for (const stop of this.#stop) stop();
  }

  #readRoster() {
    this.#names.clear();
    for (const { seat, name } of this.#muster.roster?.seats ?? []) this.#names.set(seat, name);
    this.#toldAt = 0;
  }

  /** @param {number} seat */
  #name = (seat) => this.#names.get(seat) ?? '';

  /** @param {ArenaState} state @param {number} time @param {number} applied */
  #take(state, time, applied) {
    this.#newest = state;
    this.#others.push(time, state, this.#muster.serverTime());
    const body = this.#body(state);
    if (body) this.#correct(body, applied);
    // The first picture waits for no frame.
    if (!this.#drawnAt) {
      this.#draw(state, performance.now(), performance.now());
      performance.mark('muster:drawn');
    }
  }

  /** Sets oneself where the server has one. @param {Body} body @param {number} applied */
  #correct(body, applied) {
    const was = this.#own.state;
    const now = this.#own.reconcile({ x: body.x, y: body.y }, applied, performance.now());
    if (!was) {
      [this.#before, this.#after, this.#off] = [now, now, { x: 0, y: 0 }];
    } else if (now.x !== this.#after.x || now.y !== this.#after.y) {
      // Pushed, or an input was lost: the place is corrected at once, what is shown follows within moments.
      const [dx, dy] = [this.#after.x - now.x, this.#after.y - now.y];
      const far = dx * dx + dy * dy > 1_500 * 1_500;
      this.#off = far ? { x: 0, y: 0 } : { x: this.#off.x + dx, y: this.#off.y + dy };
      this.#before = { x: this.#before.x - dx, y: this.#before.y - dy };
      this.#after = now;
    }
  }

  /** @param {ArenaState} state @returns {Body | undefined} */
  #body(state) {
    return state.bodies.find(({ seat }) => seat === this.#seat);
  }

  /** One input per tick, while there is something to say. @param {number} now */
  #step(now) {
    if (now - this.#stepped < this.#tick) return;
    // Steps keep to the rate; after a pause they begin anew.
    this.#stepped = now - this.#stepped > 3 * this.#tick ? now : this.#stepped + this.#tick;
    const { dx, dy } = this.#controls.direction();
    if (dx || dy) this.#aim = Math.round((Math.atan2(dy, dx) / (2 * Math.PI)) * 256) & 255;
    this.#before = this.#after;
    if (!dx && !dy && this.#aim === this.#aimSent) return;
    const move = { dx, dy, aim: this.#aim };
    const seq = this.#muster.input(writeInput(move));
    if (!seq) return;
    this.#aimSent = this.#aim;
    find('hint', HTMLElement).hidden = true; // found out
    this.#own.push(seq, move, now);
    this.#after = this.#own.state ?? this.#after;
  }

  /** @param {number} at */
  #run(at) {
    if (!this.#running) return;
    this.#frame = requestAnimationFrame((next) => this.#run(next));
    const began = performance.now();
    if (this.#seat !== null) this.#step(began);
    if (this.#newest) this.#draw(this.#newest, began, at);
    if (began - this.#toldAt > 250) this.#tell(began);
    this.#mark();
    this.#cost += (performance.now() - began - this.#cost) / Math.min(++this.#frames, 120);
  }

  /** @param {ArenaState} newest @param {number} now @param {number} at */
  #draw(newest, now, at) {
    const sample = this.interpolating ? this.#others.sample(this.#muster.serverTime()) : null;
    const [from, to, t] = sample ? [sample.from, sample.to, sample.t] : [newest, newest, 1];
    const fade = Math.exp(-(at - this.#drawnAt) / 80);
    this.#drawnAt = at;
    this.#off.x *= fade;
    this.#off.y *= fade;
    const shown = this.#shown;
    shown.length = to.bodies.length;
    for (let i = 0, j = 0; i < to.bodies.length; i++) {
      const body = to.bodies[i];
      while (j < from.bodies.length && from.bodies[j].seat < body.seat) j++;
      const past = from.bodies[j]?.seat === body.seat ? from.bodies[j] : body;
      const player = (shown[i] ??= { x: 0, y: 0, aim: 0, seat: 0, absent: false, own: false });
      player.x = past.x + (body.x - past.x) * t;
      player.y = past.y + (body.y - past.y) * t;
      [player.aim, player.seat, player.absent, player.own] = [body.aim, body.seat, body.absent, body.seat === this.#seat];
      if (player.own && this.predicting && this.#own.state) {
        const part = Math.min(1, (now - this.#stepped) / this.#tick);
        player.x = this.#before.x + (this.#after.x - this.#before.x) * part + this.#off.x;
        player.y = this.#before.y + (this.#after.y - this.#before.y) * part + this.#off.y;
        player.aim = this.#aim;
      }
    }
    const ghost = find('overlay', HTMLDetailsElement).open ? (this.#body(newest) ?? null) : null;
    this.#painter.draw(this.#field, newest.pickups, shown, { name: this.#name, ghost, time: at, panels: this.#panels });
  }

  /** What the page shows, for those who look at the page from outside, such as tests. */
  #mark() {
    const { dataset } = document.body;
    const place = (/** @type {Shown | undefined} */ player) => (player ? `${Math.round(player.x)},${Math.round(player.y)}` : '');
    dataset.place = place(this.#shown.find(({ own }) => own));
    dataset.others = place(this.#shown.find(({ own }) => !own));
    dataset.bodies = String(this.#shown.length);
  }

  /** The numbers and the score, four times a second. @param {number} now */
  #tell(now) {
    const { stats, roundTrip, transport, snapshot } = this.#muster;
    const span = (now - this.#bytes.at) / 1000;
    const [down, up] = [(stats.bytesIn - this.#bytes.in) / span, (stats.bytesOut - this.#bytes.out) / span];
    if (this.#bytes.at) say(find('o-bytes', HTMLElement), `${kilo(down)} / ${kilo(up)} kB/s`);
    this.#bytes = { in: stats.bytesIn, out: stats.bytesOut, at: now };
    this.#toldAt = now;
    // Panels that stand beside the field rather than over it, where the window is wide.
    const wide = innerWidth > 720;
    const width = (/** @type {string} */ id) => (wide ? find(id, HTMLElement).offsetWidth + 20 : 0);
    this.#panels.left = width('ranking');
    this.#panels.right = find('overlay', HTMLDetailsElement).open ? width('overlay') : 0;
    say(find('o-transport', HTMLElement), transport ? TRANSPORTS[transport] : 'none');
    say(find('o-rtt', HTMLElement), `${roundTrip.toFixed(1)} ms`);
    say(find('o-tick', HTMLElement), String(snapshot?.tick ?? 0));
    say(find('o-age', HTMLElement), snapshot ? `${Math.max(0, this.#muster.serverTime() - snapshot.time).toFixed(0)} ms` : '');
    say(find('o-ahead', HTMLElement), String(this.#own.ahead));
    say(find('o-frame', HTMLElement), `${this.#cost.toFixed(2)} ms`);
    if (!this.#newest) return;
    const left = Math.ceil((this.#newest.ticksLeft * this.#tick) / 1000);
    say(find('clock', HTMLElement), `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`);
    const best = this.#newest.bodies.toSorted((a, b) => b.score - a.score || a.seat - b.seat);
    const own = best.findIndex(({ seat }) => seat === this.#seat);
    const listed = own < 6 ? best.slice(0, 6) : [...best.slice(0, 5), best[own]];
    find('ranking', HTMLElement).replaceChildren(...listed.map(({ seat, score }) => {
      const swatch = make('span', { className: 'swatch' });
      swatch.style.background = colour(seat);
      const who = make('span', { className: 'who', text: this.#name(seat) });
      return make('li', { className: seat === this.#seat ? 'own' : '' }, swatch, who, make('span', { text: String(score) }));
    }));
  }
}

const kilo = (/** @type {number} */ bytes) => (bytes / 1000).toFixed(1);

/** Keyboard and touch, as one direction. */
export class Controls {
  /** @type {Set<string>} */
  #held = new Set();
  /** @type {{ id: number, x: number, y: number, dx: number, dy: number } | null} */
  #drag = null;

  /** @param {HTMLElement} surface */
  constructor(surface) {
    addEventListener('keydown', (event) => {
      if (document.body.dataset.view !== 'game' || !KEYS[event.code] || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target instanceof HTMLSelectElement) return;
      this.#held.add(event.code);
      event.preventDefault();
    });
    addEventListener('keyup', (event) => this.#held.delete(event.code));
    addEventListener('blur', () => this.#held.clear());
    surface.addEventListener('pointerdown', (event) => {
      this.#drag = { id: event.pointerId, x: event.clientX, y: event.clientY, dx: 0, dy: 0 };
      surface.setPointerCapture(event.pointerId);
    });
    surface.addEventListener('pointermove', (event) => {
      if (event.pointerId !== this.#drag?.id) return;
      [this.#drag.dx, this.#drag.dy] = [event.clientX - this.#drag.x, event.clientY - this.#drag.y];
    });
    for (const type of ['pointerup', 'pointercancel']) surface.addEventListener(type, () => (this.#drag = null));
  }

  /** Nothing is held any more. */
  release() {
    this.#held.clear();
    this.#drag = null;
  }

  /** @returns {{ dx: number, dy: number }} -127 to 127 each */
  direction() {
    let [x, y] = [0, 0];
    for (const key of this.#held) [x, y] = [x + KEYS[key][0], y + KEYS[key][1]];
    let full = Math.hypot(x, y);
    if (this.#drag && Math.hypot(this.#drag.dx, this.#drag.dy) > DEAD) {
      [x, y] = [this.#drag.dx, this.#drag.dy];
      full = Math.max(FAR, Math.hypot(x, y));
    }
    return full ? { dx: Math.round((x / full) * FULL), dy: Math.round((y / full) * FULL) } : { dx: 0, dy: 0 };
  }
}

const TRANSPORTS = { webtransport: 'WebTransport', websocket: 'WebSocket' };

/** @type {Record<string, [number, number]>} */
const KEYS = {
  ArrowLeft: [-1, 0], KeyA: [-1, 0], ArrowRight: [1, 0], KeyD: [1, 0], ArrowUp: [0, -1], KeyW: [0, -1], ArrowDown: [0, 1], KeyS: [0, 1],
};
/** A touch that moved less is none; one that moved this far is full speed. In CSS pixels. */
const DEAD = 6;
const FAR = 40;
