// A server in memory, for both transports, that speaks the real bytes.

import { decode, encode } from '../codec.js';
import { ClientMessage, Deframer, ServerMessage, frame } from '../messages.js';

export const welcome = (/** @type {any} */ changes = {}) => ({
  kind: 'Welcome', player: 'ada', name: 'Ada', resume: new Uint8Array(32).fill(7), outcome: 'Arrived', counted: 0, lastRequest: 0,
  serverTimeUs: 1_000_000, heartbeatMs: 5_000, graceMs: 15_000, maxMessage: 4_096, ...changes,
});
export const seated = (/** @type {any} */ changes = {}) => ({
  kind: 'Seated', session: '1'.padStart(32, '0'), tag: 1, lobby: '2'.padStart(32, '0'), game: 'arena', seat: 0, tickHz: 20,
  settings: new Uint8Array(0), lastInput: 0, ...changes,
});
export const snapshot = (/** @type {number} */ tick, /** @type {any} */ changes = {}) => ({
  kind: 'Snapshot', tag: 1, tick, timeUs: 1_000_000 + tick * 50_000, applied: [], state: new Uint8Array([tick]), ...changes,
});

export const settle = (ms = 5) => new Promise((done) => setTimeout(done, ms));

/** What the server has of one link. */
export class FakeLink {
  /** @param {string} transport @param {string} url @param {string[]} protocols */
  constructor(transport, url, protocols) {
    Object.assign(this, { transport, url: new URL(url), protocols });
    this.transport = transport;
    this.url = new URL(url);
    this.protocols = protocols;
    /** @type {any[]} */
    this.got = [];
    /** @type {any[]} */
    this.datagrams = [];
    this.closed = false;
    /** @type {(message: any) => void} */
    this.onMessage = () => {};
    /** @type {(bytes: Uint8Array) => void} */
    this.sendBytes = () => {};
    /** @type {(message: any) => void} */
    this.sendDatagram = () => {};
    /** @type {(code: number) => void} */
    this.end = () => {};
  }

  /** @param {any[]} messages */
  send(...messages) {
    for (const message of messages) this.sendBytes(encode(ServerMessage, message));
  }

  /** @param {Uint8Array} bytes */
  take(bytes) {
    const message = decode(ClientMessage, bytes);
    this.got.push(message);
    if (message.kind === 'Bye') this.send({ kind: 'Goodbye', code: 1000, reason: 'left', retryAfterMs: null });
    this.onMessage(message);
  }

  /** @param {string} kind */
  of(kind) {
    return this.got.filter((message) => message.kind === kind);
  }
}

/** The classes a browser has, bound to one server. */
export class FakeServer {
  /** @type {FakeLink[]} */
  links = [];
  /** @type {(link: FakeLink) => void} */
  onLink = () => {};
  /** @type {Record<string, 'open' | 'hang' | 'fail'>} */
  doors = { websocket: 'open', webtransport: 'open' };
  delay = 1;
  bufferedAmount = 0;
  datagramRoom = 1;
  safari = false;

  options = (/** @type {any} */ changes = {}) => ({
    ticket: 'aaa.bbb.ccc', certificateHashes: [], storage: null, WebSocket: this.WebSocket, WebTransport: this.WebTransport, headStart: 40, ...changes,
  });

  /** @type {any} */
  WebSocket = ((server) => class {
    readyState = 0;
    binaryType = '';
    /** @type {any} */ onopen;
    /** @type {any} */ onmessage;
    /** @type {any} */ onclose;
    /** @type {any} */ onerror;

    /** @param {string} url @param {string[]} protocols */
    constructor(url, protocols) {
      this.link = new FakeLink('websocket', url, protocols);
      server.links.push(this.link);
      this.link.sendBytes = (bytes) => setTimeout(() => this.readyState === 1 && this.onmessage({ data: bytes.slice().buffer }));
      this.link.end = (code) => this.#end(code);
      if (server.doors.websocket === 'fail') setTimeout(() => this.#end(1006), server.delay);
      if (server.doors.websocket !== 'open') return;
      setTimeout(() => {
        if (this.readyState !== 0) return;
        this.readyState = 1;
        this.onopen();
        server.onLink(this.link);
      }, server.delay);
    }

    get bufferedAmount() {
      return server.bufferedAmount;
    }

    /** @param {Uint8Array} bytes */
    send(bytes) {
      this.link.take(bytes.slice());
    }

    close() {
      setTimeout(() => this.#end(1000));
    }

    /** @param {number} code */
    #end(code) {
      if (this.readyState === 3) return;
      this.readyState = 3;
      this.link.closed = true;
      this.onclose({ code });
    }
  })(this);

  /** @type {any} */
  WebTransport = ((server) => class {
    /** @param {string} url @param {any} options */
    constructor(url, options) {
      const link = (this.link = new FakeLink('webtransport', url, []));
      this.options = options;
      server.links.push(link);
      /** @type {any} */ let control, /** @type {any} */ snapshots, /** @type {any} */ opened, /** @type {any} */ refused, /** @type {any} */ close;
      this.ready = new Promise((resolve, reject) => ([opened, refused] = [resolve, reject]));
      this.ready.catch(() => {});
      this.closed = new Promise((resolve) => (close = resolve));
      const deframer = new Deframer();
      this.stream = {
        readable: new ReadableStream({ start: (c) => void (control = c) }),
        writable: new WritableStream({ write: (bytes) => deframer.take(bytes).forEach((message) => link.take(message)) }),
      };
      const outgoing = new WritableStream(
        { write: (payload) => server.datagramRoom > 0 ? void link.datagrams.push(decode(ClientMessage, payload.slice(1))) : new Promise(() => {}) },
        { highWaterMark: 1 });
      const readable = new ReadableStream({ start: (c) => void (snapshots = c) });
      this.datagrams = server.safari
        ? { readable, createWritable: () => outgoing, get writable() { throw new TypeError('not in this browser'); } }
        : { readable, writable: outgoing };
      const end = (/** @type {number} */ code) => {
        if (link.closed) return;
        link.closed = true;
        close({ closeCode: code, reason: '' });
        try { control.close(); snapshots.close(); } catch {}
        refused(new Error('closed'));
      };
      this.close = () => end(0);
      link.end = end;
      link.sendBytes = (bytes) => link.closed || control.enqueue(frame(bytes));
      link.sendDatagram = (message) => snapshots.enqueue(new Uint8Array([0, ...encode(ServerMessage, message)]));
      if (server.doors.webtransport === 'fail') setTimeout(() => refused(new Error('no QUIC')), server.delay);
      if (server.doors.webtransport === 'open') setTimeout(() => {
        if (link.closed) return;
        opened();
        server.onLink(link);
      }, server.delay);
    }

    createBidirectionalStream = async () => this.stream;
  })(this);
}
