// The connection of one player: `connect`, and what it returns. See docs/browser.md.

import { MusterError, actOf, slugOf } from './codes.js';
import { Clock } from './clock.js';
import { DecodeError, Writer, encode } from './codec.js';
import { defaultStorage, openWebSocket, openWebTransport, race, remembered } from './links.js';
import { ClientMessage, readServerMessage } from './messages.js';

/** @import { Link, Transport } from './links.js' */
/** @import { AnyClientMessage, AnyRequest, Message } from './messages.js' */

/**
 * @typedef {object} Options
 * @property {string | (() => string | Promise<string>)} ticket a ticket, or better a function that gets one from the
 *   game's backend; it is called whenever a new one is needed. A ticket works once
 * @property {string | (() => string)} [join] where to: `quick:GAME`, `lobby:ID`, `code:CODE`, `session:ID`, or nowhere yet.
 *   A function is asked again when the player has to arrive anew
 * @property {Transport | 'auto'} [transport] `auto`, the default, races both
 * @property {Transport} [prefer] who gets the head start; by default WebTransport, or what worked in the last ten minutes
 * @property {number} [headStart] ms, 200 by default
 * @property {number} [timeout] ms for one attempt, 10,000 by default
 * @property {AbortSignal} [signal] ends the attempt, or the connection later on
 * @property {WebTransportHash[]} [certificateHashes] for a certificate that no authority signed; on a loopback address the
 *   development server is asked for it
 * @property {typeof WebSocket} [WebSocket] for Node: the `ws` package
 * @property {typeof WebTransport} [WebTransport]
 * @property {Pick<Storage, 'getItem' | 'setItem'> | null} [storage] where it is remembered what worked
 */

/**
 * A snapshot as it is handed over. Times in ms of the server's clock.
 * @typedef {object} Snapshot
 * @property {number} tick
 * @property {number} time when the tick was due
 * @property {number} applied the newest of one's own inputs in it, 0 for none
 * @property {[number, number][]} table the newest input of each seat: `[seat, input]`
 * @property {Uint8Array} state the game's own bytes
 */

/**
 * @typedef {object} Events
 * @property {{ transport: Transport, outcome: 'Arrived' | 'Resumed' | 'Restarted' }} open a link is up. After `Arrived` and
 *   `Restarted` everything known before is void
 * @property {{ error: MusterError, wait: number }} lost the link is gone; the next attempt comes in `wait` ms
 * @property {{ error: MusterError | null }} closed for good; null after `close()`
 * @property {Message<'List'>['lobbies']} list
 * @property {Message<'Lobby'>} lobby
 * @property {Message<'LobbyLeft'>} left
 * @property {Message<'Chat'>} chat
 * @property {Message<'Seated'>} seated
 * @property {Message<'Roster'>} roster
 * @property {Message<'Ended'>} ended
 * @property {Snapshot} snapshot
 * @property {{ within: number }} wanted the server wants a fresh ticket in so many ms; a ticket function is called by itself
 * @property {{ error: MusterError | null, endsIn: number | null }} renewed a fresh ticket was taken, and one may stay so many
 *   ms, or for good; or there was none, or it was refused: then another one is tried a little later
 * @property {{ roundTrip: number }} pong
 */

const now = () => performance.now();
/** After everything that waits for a promise, and before the page is painted where the browser lets one say so. */
const soon = (/** @type {() => void} */ act) => {
  const { scheduler } = /** @type {any} */ (globalThis);
  if (scheduler?.postTask) scheduler.postTask(act, { priority: 'user-blocking' });
  else setTimeout(act);
};

/**
 * Connects, and stays connected: a lost link is replaced, over the same or the other transport, and the seat is kept.
 * @param {string | URL} url of the server, such as `https://play.example.org`
 * @param {Options} options
 * @returns {Promise<Muster>} once the server has said Welcome
 * @throws {MusterError} when it refused, or could not be reached
 */
export function connect(url, options) {
  return new Promise((resolve, reject) => new Muster(url, options, resolve, reject));
}

/** One player's connection. Made by `connect`. */
export class Muster {
  /** Who one is, by the ticket. */
  player = '';
  /** The name shown to others. */
  name = '';
  /** What is in use; null while there is no link. @type {Transport | null} */
  transport = null;
  /** The lobby one is in. @type {Message<'Lobby'> | null} */
  lobby = null;
  /** The seat one has in a session. @type {Message<'Seated'> | null} */
  seated = null;
  /** Who sits where. @type {Message<'Roster'> | null} */
  roster = null;
  /** The public lobbies, while they are watched. @type {Message<'List'>['lobbies']} */
  list = [];
  /** The newest snapshot. @type {Snapshot | null} */
  snapshot = null;
  stats = { bytesIn: 0, bytesOut: 0, snapshots: 0, inputs: 0, shed: 0, links: 0 };
  /** Resolves when it is over for good: with the reason, or with null after `close()`. @type {Promise<MusterError | null>} */
  closed;

  #options;
  #url = new URL('http://localhost');
  #clock = new Clock();
  /** @type {Map<string, Set<(event: any) => void>>} */
  #listeners = new Map();
  /** @type {Link | null} */
  #link = null;
  #abort = new AbortController();
  /** @type {(error: MusterError | null) => void} */
  #finished = () => {};
  #over = false;
  #leaving = false;
  /** @type {() => void} */
  #wake = () => {};

  // What outlives a link.
  /** @type {Uint8Array | null} */
  #token = null;
  #received = 0;
  #graceMs = 0;
  #lostAt = 0;
  #spent = false;
  /** @type {Transport | undefined} who goes first, since the other one stalled */
  #first;
  /** @type {{ game: string, open: boolean } | null} */
  #watched = null;
  /** @type {Map<number, { bytes: Uint8Array, resolve: () => void, reject: (error: MusterError) => void }>} */
  #requests = new Map();
  #lastRequest = 0;

  /** @type {Link | null} where a fresh ticket is wanted and being got */
  #renewing = null;
  #renewals = 0;

  // Inputs of the seat.
  #nextInput = 1;
  /** @type {{ seq: number, data: Uint8Array }[]} not applied yet (datagrams), or not sent yet */
  #inputs = [];
  #sentAt = 0;
  #writer = new Writer();

  // The heart of a link.
  #heartbeatMs = 5_000;
  #maxMessage = 4_096;
  #heard = 0;
  #beatAt = 0;
  #nextPing = 0;
  #nonce = 0;
  /** @type {Map<number, number>} */
  #pings = new Map();
  #snapshotAt = 0;

  /**
   * @param {string | URL} url
   * @param {Options} options
   * @param {(muster: Muster) => void} resolve
   * @param {(error: MusterError) => void} reject
   */
  constructor(url, options, resolve, reject) {
    this.#options = options;
    this.closed = new Promise((done) => (this.#finished = done));
    const { signal } = options;
    const wrong = signal?.aborted ? local('aborted', 'stop', signal.reason) : this.#aim(url);
    if (wrong) {
      reject(wrong);
      return;
    }
    const aborted = () => (this.transport ? void this.close() : this.#abort.abort(local('aborted', 'stop', signal?.reason)));
    signal?.addEventListener('abort', aborted, { once: true });
    this.closed.then(() => signal?.removeEventListener('abort', aborted));
    void this.#run(resolve, reject);
  }

  /** @param {string | URL} url @returns {MusterError | undefined} */
  #aim(url) {
    try {
      this.#url = new URL(String(url).replace(/^ws/, 'http'), globalThis.location?.href);
      if (!/^https?:$/.test(this.#url.protocol)) throw new TypeError('neither http(s) nor ws(s)');
      if (this.#url.pathname === '/') this.#url.pathname = '/v1/play';
    } catch (cause) {
      return local('bad-url', 'report', cause);
    }
  }

  // ---- For the game ----

  /**
   * @template {keyof Events} K
   * @param {K} type
   * @param {(event: Events[K]) => void} listener
   * @returns {() => void} stops it
   */
  on(type, listener) {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * The events of one type as they come, until the end: `for await (const line of muster.each('chat'))`. Snapshots that
   * nobody has waited for give way to newer ones.
   * @template {keyof Events} K
   * @param {K} type
   * @returns {AsyncGenerator<Events[K], void, void>}
   */
  async *each(type) {
    /** @type {Events[K][]} */
    let waiting = [];
    let wake = () => {};
    const stop = this.on(type, (event) => {
      if (type === 'snapshot') waiting.length = 0;
      waiting.push(event);
      wake();
    });
    try {
      for (;;) {
        while (waiting.length) yield /** @type {Events[K]} */ (waiting.shift());
        if (this.#over) return;
        await Promise.race([new Promise((/** @type {(v: void) => void} */ r) => (wake = r)), this.closed]);
      }
    } finally {
      stop();
    }
  }

  /** Round trip of the newest ping, in ms. */
  get roundTrip() {
    return this.#clock.roundTrip;
  }

  /** The server's clock now, in ms. */
  serverTime() {
    return this.#clock.server(now());
  }

  /** @param {string} wish */
  join = (wish) => this.request({ kind: 'Join', wish });
  /** @param {{ game: string, name: string, public?: boolean, capacity?: number, minPlayers?: number, settings?: Uint8Array }} lobby */
  create = (lobby) =>
    this.request({ kind: 'Create', public: true, capacity: 0, minPlayers: 0, settings: new Uint8Array(0), ...lobby });
  leave = () => this.request({ kind: 'Leave' });
  ready = (ready = true) => this.request({ kind: 'Ready', ready });
  /** @param {string} text */
  chat = (text) => this.request({ kind: 'Chat', text });
  /** @param {string} player */
  kick = (player) => this.request({ kind: 'Kick', player });
  lock = (locked = true) => this.request({ kind: 'Lock', locked });
  /** @param {string} player */
  passHost = (player) => this.request({ kind: 'PassHost', player });
  start = () => this.request({ kind: 'Start' });
  /** The list of public lobbies, now and whenever it changes. @param {{ game?: string, open?: boolean }} [filter] */
  watch = ({ game = '', open = false } = {}) => this.request({ kind: 'Watch', ...(this.#watched = { game, open }) });
  unwatch = () => {
    this.#watched = null;
    return this.request({ kind: 'Unwatch' });
  };

  /**
   * Asks for something; safe across lost links.
   * @param {AnyRequest} body
   * @returns {Promise<void>} once it was carried out
   * @throws {MusterError} when it was refused
   */
  request(body) {
    return new Promise((resolve, reject) => {
      if (this.#over || this.#leaving) return reject(local('lost', 'stop'));
      const id = this.#lastRequest + 1;
      const bytes = encode(ClientMessage, { kind: 'Request', id, body });
      if (bytes.length > this.#maxMessage) return reject(refusal(4413));
      this.#lastRequest = id;
      this.#requests.set(id, { bytes, resolve, reject });
      this.#send(bytes);
    });
  }

  /**
   * Goes on over another transport; the seat is kept.
   * @param {Transport | 'auto'} transport
   */
  use(transport) {
    [this.#options, this.#first] = [{ ...this.#options, transport }, undefined];
    if (transport !== 'auto' && transport !== this.transport) this.#drop(local('lost', 'resume'));
  }

  /**
   * Sends an input of the game; once per tick is the right rate.
   * @param {Uint8Array} data in the game's own encoding
   * @returns {number} its number, or 0 when there is no seat or no link to send it on
   */
  input(data) {
    if (!this.#link || this.seated?.seat == null) return 0;
    const seq = this.#nextInput++;
    this.#inputs.push({ seq, data });
    if (this.#inputs.length > MOST_INPUTS) this.#inputs.shift();
    this.stats.inputs++;
    this.#flushInputs();
    return seq;
  }

  /** Shows a fresh ticket, after `wanted`: needed only where the ticket is a plain string. @param {string} ticket */
  renew(ticket) {
    this.#send(encode(ClientMessage, { kind: 'Renew', ticket }));
  }

  /** Leaves for good: the place is free at once. @returns {Promise<MusterError | null>} */
  close() {
    if (!this.#over && !this.#leaving) {
      this.#leaving = true;
      const link = this.#link;
      if (link) {
        this.#send(BYE);
        setTimeout(() => this.#drop(local('left', 'stop')), 500); // unless Goodbye comes first
      } else {
        this.#abort.abort(local('left', 'stop'));
        this.#wake();
      }
    }
    return this.closed;
  }

  // ---- Links come and go ----

  /** @param {(muster: Muster) => void} resolve @param {(error: MusterError) => void} reject */
  async #run(resolve, reject) {
    const stopListening = this.#listenToPage();
    let welcomed = false;
    let tries = 0;
    let wishless = false;
    /** @type {MusterError} */
    let error;
    for (;;) {
      let opened = 0;
      const resume = this.#token !== null;
      const join = this.#options.join;
      const wish = wishless ? '' : ((typeof join === 'function' ? join() : join) ?? '');
      try {
        const { end } = await this.#open(resume, wish);
        opened = now();
        wishless = false;
        if (!welcomed) resolve(this);
        welcomed = true;
        error = await end;
      } catch (failure) {
        error = failure instanceof MusterError ? failure : local('no-connection', 'retry', failure);
      }
      this.#lostAt = opened ? now() : this.#lostAt;
      this.transport = null;
      this.#inputs = [];
      if (!welcomed && !(error.slug === 'stalled' && tries++ === 0)) {
        this.#finish(error, stopListening);
        return reject(error);
      }
      if (!welcomed) continue;
      if (opened && now() - opened > STEADY) tries = 0;
      if (error.act === 'new ticket') this.#token = null;
      if (!resume && !opened && wish && NO_SUCH_PLACE.has(error.code)) wishless = true;
      else if (this.#leaving || !this.#mayTryAgain(error, resume || opened > 0, tries)) break;
      const most = Math.min(250 * 2 ** tries++, 10_000);
      const wait = Math.max(error.retryAfter ?? 0, Math.random() * most);
      this.#emit('lost', { error, wait });
      // The timers of a hidden page may take a minute, which is more than the grace.
      if (tries > 1 || !globalThis.document?.hidden || error.retryAfter) {
        await new Promise((/** @type {(v: void) => void} */ done) => {
          const timer = setTimeout(done, wait);
          this.#wake = () => {
            clearTimeout(timer);
            done();
          };
        });
      }
      if (this.#leaving) break;
      if (this.#token && now() - this.#lostAt >= this.#graceMs) this.#token = null;
      if (!this.#token && this.#spent) {
        error = local('no-ticket', 'new ticket', error);
        break;
      }
    }
    this.#finish(this.#leaving ? null : error, stopListening);
  }

  /**
   * @param {MusterError} error
   * @param {boolean} placed whether there was a place to lose, so that a new ticket may mend it
   * @param {number} tries
   */
  #mayTryAgain({ act, code, slug }, placed, tries) {
    if (act === 'stop' || act === 'report' || code === 4410 || code === 4426) return false;
    // A ticket that is not got by a function was good for the first arrival only.
    if (this.#token === null && this.#spent) return false;
    if (act !== 'new ticket' || slug === 'no-ticket') return true;
    return placed || (tries < 3 && PASSING.has(code));
  }

  /** @param {MusterError | null} error @param {() => void} stopListening */
  #finish(error, stopListening) {
    this.#over = true;
    stopListening();
    this.#forget();
    this.#emit('closed', { error });
    this.#finished(error);
  }

  /** Everything known from an earlier arrival is void. */
  #forget() {
    [this.lobby, this.seated, this.roster, this.snapshot, this.list] = [null, null, null, null, []];
    this.#inputs = [];
  }

  /** @param {number} above requests up to this one were carried out, with what outcome is not known */
  #forgetRequests(above) {
    for (const [id, { reject }] of this.#requests) {
      if (id > above) continue;
      this.#requests.delete(id);
      reject(local('outcome-unknown', 'stop'));
    }
  }

  /**
   * One attempt, until Welcome.
   * @param {boolean} resume
   * @param {string} wish
   * @returns {Promise<{ end: Promise<MusterError> }>}
   */
  async #open(resume, wish) {
    const abort = (this.#abort = new AbortController());
    const timer = setTimeout(() => abort.abort(local('no-connection', 'retry')), this.#options.timeout ?? 10_000);
    try {
      const ticket = resume ? Promise.resolve('') : this.#ticket();
      ticket.catch((error) => abort.abort(error));
      const link = await race(this.#entrants(resume, wish), this.#options.headStart ?? 200, abort.signal);
      return await this.#greet(link, ticket, resume, wish, abort.signal);
    } catch (error) {
      throw abort.signal.aborted ? abort.signal.reason : error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** @returns {Promise<string>} */
  async #ticket() {
    const { ticket } = this.#options;
    try {
      if (typeof ticket === 'function') return await ticket();
      this.#spent = true;
      return ticket;
    } catch (cause) {
      throw cause instanceof MusterError ? cause : local('no-ticket', 'retry', cause);
    }
  }

  /** @param {boolean} resume @param {string} wish */
  #entrants(resume, wish) {
    const options = this.#options;
    const chosen = options.transport ?? 'auto';
    const WebSocket = options.WebSocket ?? globalThis.WebSocket;
    const WebTransport = options.WebTransport ?? globalThis.WebTransport;
    const secure = new URL(this.#url);
    secure.protocol = 'https:';
    /** @type {{ transport: Transport, open: (signal: AbortSignal, alone: boolean) => Promise<Link> }[]} */
    const entrants = [];
    if (WebTransport && chosen !== 'websocket') {
      entrants.push({
        transport: 'webtransport',
        open: async (signal) => openWebTransport(WebTransport, secure.href, await this.#hashes(signal), signal),
      });
    }
    if (WebSocket && chosen !== 'webtransport') {
      entrants.push({
        transport: 'websocket',
        open: async (signal, alone) => {
          const url = new URL(this.#url);
          url.protocol = url.protocol.replace('http', 'ws');
          // What is at hand travels in the request, when nobody else may need it: that saves a round trip. A ticket that
          // has yet to be got is got meanwhile, and goes as Hello.
          const carrier = resume ? `resume.${this.#point()}` : `ticket.${typeof options.ticket === 'string' ? options.ticket : ' '}`;
          if (!alone || !/^[\w.~-]+$/.test(carrier)) {
            url.searchParams.set('hello', ''); // cookies come along by themselves; they are not what the page means
            return openWebSocket(WebSocket, url.href, [], signal);
          }
          if (wish && !resume) url.searchParams.set('join', wish);
          return openWebSocket(WebSocket, url.href, [carrier], signal);
        },
      });
    }
    if (!entrants.length) {
      const missing = chosen === 'auto' ? 'WebSocket is not there: in Node 20, pass that of `ws`' : `${chosen} is not there`;
      throw local('no-connection', 'report', new Error(missing));
    }
    const first = this.#first ?? options.prefer ?? remembered(this.#storage, this.#url.host);
    return entrants.sort((a, b) => Number(b.transport === first) - Number(a.transport === first));
  }

  get #storage() {
    return this.#options.storage === undefined ? defaultStorage() : this.#options.storage;
  }

  #point() {
    const token = btoa(String.fromCharCode(.../** @type {Uint8Array} */ (this.#token)));
    return `${token.replaceAll('+', '-').replaceAll('/', '_').replace('=', '')}.${this.#received}`;
  }

  /** @param {AbortSignal} signal @returns {Promise<WebTransportHash[]>} */
  async #hashes(signal) {
    const { certificateHashes } = this.#options;
    if (certificateHashes) return certificateHashes;
    if (!/^(localhost|127\.[\d.]+|\[::1\])$/.test(this.#url.hostname)) return [];
    try {
      const response = await fetch(new URL('/v1/certificate-hash', this.#url), { signal });
      const { algorithm, value } = await response.json();
      return [{ algorithm, value: Uint8Array.from(atob(value), (c) => c.charCodeAt(0)) }];
    } catch {
      return []; // a certificate that the browser trusts by itself, then
    }
  }

  /**
   * @param {Link} link
   * @param {Promise<string>} ticket
   * @param {boolean} resume
   * @param {string} wish
   * @param {AbortSignal} signal
   * @returns {Promise<{ end: Promise<MusterError> }>} in an object, since a promise of a promise is one promise
   */
  async #greet(link, ticket, resume, wish, signal) {
    if (!link.greeted) {
      try {
        const point = resume ? { token: /** @type {Uint8Array} */ (this.#token), received: this.#received } : null;
        const hello = { kind: /** @type {const} */ ('Hello'), ticket: await ticket, join: resume ? '' : wish, resume: point };
        this.#link = link;
        this.#send(encode(ClientMessage, hello));
      } catch (error) {
        link.close();
        throw error;
      }
    }
    return new Promise((resolve, reject) => {
      /** @type {Uint8Array[] | null} held back until the game has had the time to listen */
      let held = [];
      let welcomed = false;
      let over = false;
      /** @type {(error: MusterError) => void} */
      let ended = () => {};
      const end = new Promise((/** @type {(v: MusterError) => void} */ done) => (ended = done));
      const beat = setInterval(() => this.#beat(), 250);
      const mute = setTimeout(() => this.#stalled(), link.transport === 'webtransport' ? STALL : 2 ** 31 - 1);
      const done = (/** @type {MusterError} */ error) => {
        if (over) return;
        over = true;
        clearInterval(beat);
        clearTimeout(mute);
        if (this.#link === link) this.#link = null;
        signal.removeEventListener('abort', stop);
        link.close();
        ended(error);
        reject(error);
      };
      const stop = () => done(signal.reason);
      this.#link = link;
      this.#drop = (error) => this.#link === link && done(error);
      this.#heard = this.#beatAt = this.#snapshotAt = now();
      signal.addEventListener('abort', stop);
      /** @param {Uint8Array} bytes */
      const take = (bytes) => {
        if (over) return;
        try {
          const welcome = this.#take(bytes, welcomed);
          if (!welcome) return;
          welcomed = true;
          clearTimeout(mute);
          signal.removeEventListener('abort', stop);
          this.#welcome(welcome, link);
          resolve({ end });
          soon(() => {
            const early = held ?? [];
            held = null;
            early.forEach(take);
          });
        } catch (error) {
          done(error instanceof MusterError ? error : local('undecodable', 'report', error));
        }
      };
      link.attach(
        (bytes) => {
          this.#heard = now();
          this.stats.bytesIn += bytes.length;
          if (welcomed && held) held.push(bytes);
          else take(bytes);
        },
        (code, cause) => {
          held?.splice(0).forEach(take); // a Goodbye may be among them
          if (cause instanceof DecodeError) done(local('undecodable', 'report', cause));
          else done(code === 1005 || code === 1006 ? local('lost', 'resume', cause) : refusal(code));
        },
      );
    });
  }

  /** Ends the link in use. @type {(error: MusterError) => void} */
  #drop = () => {};

  /** @param {Message<'Welcome'>} welcome @param {Link} link */
  #welcome(welcome, link) {
    this.#token = welcome.resume;
    [this.player, this.name, this.transport] = [welcome.player, welcome.name, link.transport];
    [this.#heartbeatMs, this.#graceMs, this.#maxMessage] = [welcome.heartbeatMs, welcome.graceMs, welcome.maxMessage];
    this.stats.links++;
    this.#remember(link.transport);
    if (welcome.outcome !== 'Resumed') {
      this.#forget();
      this.#received = Number(welcome.counted);
    }
    if (welcome.outcome === 'Arrived') {
      this.#forgetRequests(Infinity);
      this.#lastRequest = 0;
      this.#clock.reset();
    } else {
      if (welcome.outcome === 'Restarted') this.#forgetRequests(welcome.lastRequest);
      for (const [id, { bytes }] of this.#requests) if (id > welcome.lastRequest) this.#send(bytes);
    }
    this.#clock.guess(now(), Number(welcome.serverTimeUs) / 1000);
    this.#pings.clear();
    this.#ping(now());
    this.#emit('open', { transport: link.transport, outcome: welcome.outcome });
    if (welcome.outcome === 'Arrived' && this.#watched) this.watch(this.#watched).catch(() => {});
  }

  /** @param {Transport} transport */
  #remember(transport) {
    if ((this.#options.transport ?? 'auto') === 'auto') remembered(this.#storage, this.#url.host, transport);
  }

  // ---- What comes ----

  /**
   * @param {Uint8Array} bytes
   * @param {boolean} welcomed
   * @returns {Message<'Welcome'> | void}
   */
  #take(bytes, welcomed) {
    const { numbered, message } = readServerMessage(bytes);
    if (message?.kind === 'Goodbye') {
      const { code, reason, retryAfterMs } = message;
      throw new MusterError(code, reason, { retryAfter: retryAfterMs });
    }
    if (message?.kind === 'Snapshot' && !welcomed) return; // a datagram that overtook the Welcome
    if ((message?.kind === 'Welcome') === welcomed) throw new DecodeError('Welcome comes first, and once');
    if (message?.kind === 'Welcome') return message;
    if (numbered) this.#received++;
    if (message) this.#handle(message);
    // The timers of a hidden page are slow; its messages are not.
    if (now() >= this.#nextPing) this.#ping(now());
  }

  /** @param {import('./messages.js').AnyServerMessage} message */
  #handle(message) {
    switch (message.kind) {
      case 'Pong':
        return this.#pong(message);
      case 'Snapshot':
        return this.#snapshot(message);
      case 'Reply': {
        const request = this.#requests.get(message.request);
        this.#requests.delete(message.request);
        const { refusal } = message;
        return refusal ? request?.reject(new MusterError(refusal.code, refusal.reason)) : request?.resolve();
      }
      case 'List':
        this.list = message.lobbies;
        return this.#emit('list', message.lobbies);
      case 'Lobby':
        this.lobby = message;
        return this.#emit('lobby', message);
      case 'LobbyLeft':
        [this.lobby, this.seated, this.roster, this.snapshot] = [null, null, null, null];
        return this.#emit('left', message);
      case 'Chat':
        return this.#emit('chat', message);
      case 'Seated':
        [this.seated, this.roster, this.snapshot] = [message, null, null];
        [this.#nextInput, this.#inputs, this.#snapshotAt] = [message.lastInput + 1, [], now()];
        return this.#emit('seated', message);
      case 'Roster':
        this.roster = message;
        return this.#emit('roster', message);
      case 'Ended':
        [this.seated, this.roster, this.snapshot] = [null, null, null];
        return this.#emit('ended', message);
      case 'TicketWanted':
        this.#emit('wanted', { within: message.withinMs });
        if (typeof this.#options.ticket !== 'function' || this.#renewing === this.#link) return;
        return void this.#renew((this.#renewing = this.#link));
      case 'Renewed':
        if (message.refusal) return this.#notRenewed(new MusterError(message.refusal.code, message.refusal.reason));
        [this.#renewing, this.#renewals] = [null, 0];
        return this.#emit('renewed', { error: null, endsIn: message.endsInMs });
    }
  }

  /** @param {Link | null} link */
  async #renew(link) {
    try {
      const ticket = await this.#ticket();
      if (link && this.#link === link) this.renew(ticket);
    } catch (error) {
      if (this.#link === link) this.#notRenewed(/** @type {MusterError} */ (error));
    }
  }

  /** Another ticket may do, after a while. @param {MusterError} error */
  #notRenewed(error) {
    const link = this.#renewing;
    this.#emit('renewed', { error, endsIn: null });
    const most = Math.min(500 * 2 ** this.#renewals++, 30_000);
    if (link) setTimeout(() => this.#link === link && this.#renewing === link && this.#renew(link), Math.random() * most);
  }

  /** @param {Message<'Snapshot'>} message */
  #snapshot({ tag, tick, timeUs, applied: table, state }) {
    if (tag !== this.seated?.tag || tick <= (this.snapshot?.tick ?? 0)) return;
    this.stats.snapshots++;
    this.#snapshotAt = now();
    const { seat } = this.seated;
    const applied = table.find(([whose]) => whose === seat)?.[1] ?? 0;
    this.snapshot = { tick, time: Number(timeUs) / 1000, applied, table, state };
    if (this.#link?.datagram) {
      while (this.#inputs.length && this.#inputs[0].seq <= applied) this.#inputs.shift();
    }
    this.#emit('snapshot', this.snapshot);
    // The last input before a rest would not be repeated otherwise, should its datagram be lost.
    if (this.#inputs.length && now() - this.#sentAt > 1000 / (this.seated?.tickHz ?? 20)) this.#flushInputs();
  }

  /** @param {Message<'Pong'>} pong */
  #pong({ nonce, serverTimeUs }) {
    const sent = this.#pings.get(nonce);
    if (sent === undefined) return;
    for (const older of this.#pings.keys()) if (older <= nonce) this.#pings.delete(older);
    this.#clock.sample(sent, now(), Number(serverTimeUs) / 1000);
    this.#emit('pong', { roundTrip: this.#clock.roundTrip });
  }

  /**
   * @template {keyof Events} K
   * @param {K} type
   * @param {Events[K]} event
   */
  #emit(type, event) {
    for (const listener of this.#listeners.get(type) ?? []) {
      try {
        listener(event);
      } catch (error) {
        // The game's own fault, and not to be swallowed: but the connection goes on.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  // ---- What goes ----

  /** @param {Uint8Array} message */
  #send(message) {
    if (!this.#link) return;
    this.stats.bytesOut += message.length;
    this.#link.send(message);
  }

  #flushInputs() {
    const link = this.#link;
    if (!link || !this.#inputs.length) return;
    this.#sentAt = now();
    const seen = this.snapshot?.tick ?? 0;
    if (link.datagram) {
      for (let last = REPEATED; last > 0; last--) {
        const payload = this.#encodeInputs(seen, this.#inputs.slice(-last), true);
        if (payload.length > MOST_DATAGRAM) continue;
        if (link.datagram(payload)) this.stats.bytesOut += payload.length;
        else this.stats.shed++; // the next one repeats it
        return;
      }
    }
    if (link.waiting() > SHED_ABOVE) return void this.stats.shed++; // they go together once there is room; the oldest go first
    this.#send(this.#encodeInputs(seen, link.datagram ? this.#inputs.slice(-1) : this.#inputs, false));
    if (!link.datagram) this.#inputs = [];
  }

  /** @param {number} seen @param {{ seq: number, data: Uint8Array }[]} inputs @param {boolean} datagram */
  #encodeInputs(seen, inputs, datagram) {
    this.#writer.reset();
    if (datagram) this.#writer.u8(0);
    ClientMessage.write(this.#writer, { kind: 'Inputs', seen, inputs });
    return this.#writer.bytes();
  }

  /** The heartbeat goes on the reliable way, apart from inputs and snapshots. @param {number} at */
  #ping(at) {
    const nonce = ++this.#nonce;
    this.#pings.set(nonce, at);
    // A few at once for the clock, then seldom.
    this.#nextPing = at + (this.#clock.samples < 4 ? 200 : Math.min(this.#heartbeatMs / 2, 2_000));
    this.#send(encode(ClientMessage, { kind: 'Ping', nonce, received: this.#received }));
  }

  /** Four times a second: pings when due, and gives up a link that is silent. */
  #beat() {
    const at = now();
    if (!this.transport) return;
    const slept = at - this.#beatAt > 3_000;
    this.#beatAt = at;
    if (slept) {
      // The page was asleep, not the link: it gets its chance to answer.
      this.#pings.clear();
      [this.#heard, this.#snapshotAt] = [at, at];
    }
    if (slept || at >= this.#nextPing) this.#ping(at);
    if (this.#inputs.length && !this.#link?.datagram) this.#flushInputs();
    const [asked] = this.#pings.values();
    const patience = this.transport === 'webtransport' ? Math.max(STALL, 8 * this.roundTrip) : 3 * this.#heartbeatMs;
    const silent = asked !== undefined && this.#heard < asked && at - asked > patience;
    const starved = this.transport === 'webtransport' && this.seated !== null && at - this.#snapshotAt > 2 * STALL;
    if (!silent && !starved) return;
    if (this.transport === 'webtransport') this.#stalled();
    else this.#drop(local('lost', 'resume'));
  }

  /** WebTransport got through and went silent: over WebSocket, then, for the next ten minutes. */
  #stalled() {
    this.#first = 'websocket';
    this.#remember('websocket');
    this.#drop(local('stalled', 'resume'));
  }

  /** A page that wakes up, or gets its network back, does not wait. @returns {() => void} */
  #listenToPage() {
    const { document } = globalThis;
    const wake = () => {
      if (document?.hidden) return;
      this.#wake();
      this.#beat();
    };
    document?.addEventListener('visibilitychange', wake);
    globalThis.addEventListener?.('online', wake);
    return () => {
      document?.removeEventListener('visibilitychange', wake);
      globalThis.removeEventListener?.('online', wake);
    };
  }
}

/** @param {string} slug @param {import('./codes.js').Act} act @param {unknown} [cause] */
const local = (slug, act, cause) => new MusterError(0, slug, { act, cause });
/** @param {number} code */
const refusal = (code) => new MusterError(code, slugOf(code), { act: actOf(code) });

const BYE = encode(ClientMessage, { kind: 'Bye' });

/** A link that held for so many ms was a good one: the back-off begins anew. */
const STEADY = 5_000;
/** A WebTransport link that answers nothing for so many ms is given up; some browsers' flow control stalls for good. */
const STALL = 3_000;
/** The most inputs that wait, and that one message holds. */
const MOST_INPUTS = 16;
/** So many of the last inputs are in each datagram. */
const REPEATED = 4;
const MOST_DATAGRAM = 1_100;
/** Inputs are held back while so many bytes wait in the uplink: old ones would only make newer ones late. */
const SHED_ABOVE = 4_096;
/** When an arrival is refused for these, another ticket a little later may do. */
const PASSING = new Set([4401, 4408, 4409, 4429]);
/** When the wish is refused for these, one arrives without it. */
const NO_SUCH_PLACE = new Set([4403, 4404, 4503, 4504]);

/** @typedef {AnyClientMessage} ClientMessages */
