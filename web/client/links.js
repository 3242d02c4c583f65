// One live connection, over either transport, behind one small face; and the race between the two.

import { Deframer, Pieces, frame } from './messages.js';

/** @typedef {'webtransport' | 'websocket'} Transport */

/**
 * @typedef {object} Link
 * @property {Transport} transport
 * @property {boolean} greeted whether the request itself carried the ticket, so that no Hello must follow
 * @property {(message: Uint8Array) => void} send reliably and in order
 * @property {((payload: Uint8Array) => boolean) | null} datagram false when the uplink is full and it was shed
 * @property {() => number} waiting bytes that were sent and have not left yet
 * @property {(onMessage: (message: Uint8Array) => void, onClose: (code: number, cause?: unknown) => void) => void} attach
 *   messages that came before are handed over first; `onClose` is called once, with 1006 when the link was lost
 * @property {(code?: number) => void} close
 */

/** Holds what comes until somebody listens. */
class Inbox {
  /** @type {Uint8Array[]} */
  #early = [];
  /** @type {{ code: number, cause?: unknown } | null} */
  #end = null;
  /** @type {((message: Uint8Array) => void) | null} */
  #onMessage = null;
  /** @type {(code: number, cause?: unknown) => void} */
  #onClose = () => {};

  /** @param {Uint8Array} message */
  message(message) {
    if (this.#end) return;
    if (this.#onMessage) this.#onMessage(message);
    else this.#early.push(message);
  }

  /** @param {number} code @param {unknown} [cause] */
  end(code, cause) {
    if (this.#end) return;
    this.#end = { code, cause };
    if (this.#onMessage) this.#onClose(code, cause);
  }

  /** @type {Link['attach']} */
  attach = (onMessage, onClose) => {
    [this.#onMessage, this.#onClose] = [onMessage, onClose];
    for (const message of this.#early.splice(0)) onMessage(message);
    if (this.#end) onClose(this.#end.code, this.#end.cause);
  };
}

/**
 * @param {typeof globalThis.WebSocket} WebSocket
 * @param {string} url
 * @param {string[]} carriers subprotocols beside `muster.1`
 * @param {AbortSignal} signal
 * @returns {Promise<Link>}
 */
export function openWebSocket(WebSocket, url, carriers, signal) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, ['muster.1', ...carriers]);
    const inbox = new Inbox();
    const give_up = () => socket.close();
    signal.addEventListener('abort', give_up, { once: true });
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      signal.removeEventListener('abort', give_up);
      if (signal.aborted) return socket.close();
      resolve({
        transport: 'websocket',
        greeted: carriers.length > 0,
        send: (message) => socket.readyState === 1 && socket.send(/** @type {Uint8Array<ArrayBuffer>} */ (message)),
        datagram: null,
        waiting: () => socket.bufferedAmount,
        attach: inbox.attach,
        close(code) {
          inbox.end(code ?? 1000);
          socket.close(code);
        },
      });
    };
    // A text frame is none of this protocol: handed on as no message at all, which is refused.
    socket.onmessage = ({ data }) => inbox.message(typeof data === 'string' ? new Uint8Array(0) : new Uint8Array(data));
    socket.onerror = () => {}; // onclose follows
    socket.onclose = ({ code }) => {
      signal.removeEventListener('abort', give_up);
      reject(new Error(`WebSocket did not open (${code})`));
      inbox.end(code);
    };
  });
}

/**
 * @param {typeof globalThis.WebTransport} WebTransport
 * @param {string} url
 * @param {WebTransportHash[]} hashes of certificates that are trusted though no authority signed them
 * @param {AbortSignal} signal
 * @returns {Promise<Link>}
 */
export async function openWebTransport(WebTransport, url, hashes, signal) {
  const session = new WebTransport(url, hashes.length ? { serverCertificateHashes: hashes } : {});
  const close = (code = 1000) => {
    try {
      session.close({ closeCode: code, reason: '' });
    } catch {
      // It is closed already.
    }
  };
  session.closed.catch(() => {}); // told below; a loser of the race is nobody's concern
  const give_up = () => close();
  signal.addEventListener('abort', give_up, { once: true });
  try {
    signal.throwIfAborted();
    await session.ready;
    const { readable, writable } = await session.createBidirectionalStream();
    signal.throwIfAborted();
    return runWebTransport(session, readable.getReader(), writable.getWriter(), close);
  } catch (error) {
    close();
    throw error;
  } finally {
    signal.removeEventListener('abort', give_up);
  }
}

/**
 * @param {WebTransport} session
 * @param {ReadableStreamDefaultReader<Uint8Array>} incoming
 * @param {WritableStreamDefaultWriter<Uint8Array>} control
 * @param {(code?: number) => void} close
 * @returns {Link}
 */
function runWebTransport(session, incoming, control, close) {
  const inbox = new Inbox();
  const deframer = new Deframer();
  const pieces = new Pieces();
  // Safari has only createWritable() and throws when `writable` is touched.
  const datagrams = /** @type {any} */ (session.datagrams);
  /** @type {WritableStreamDefaultWriter<Uint8Array>} */
  const outgoing = (datagrams.createWritable?.() ?? datagrams.writable).getWriter();
  const snapshots = session.datagrams.readable.getReader();
  let waiting = 0;
  let ended = false;

  /** @param {unknown} [cause] */
  const lost = async (cause) => {
    if (ended) return;
    ended = true;
    // The reason of a close by the server may still be on its way when the stream breaks.
    const info = await Promise.race([session.closed.catch(() => null), new Promise((done) => setTimeout(done, 100))]);
    inbox.end(/** @type {WebTransportCloseInfo | undefined} */ (info)?.closeCode || 1006, cause);
    close();
  };
  /** @param {ReadableStreamDefaultReader<Uint8Array>} reader @param {(chunk: Uint8Array) => void} take */
  const pump = async (reader, take) => {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      take(value);
    }
  };
  pump(incoming, (chunk) => deframer.take(chunk).forEach((message) => inbox.message(message))).then(lost, lost);
  pump(snapshots, (payload) => {
    const message = pieces.take(payload);
    if (message) inbox.message(message);
  }).catch(lost);
  session.closed.then(() => lost(), lost);
  control.closed.catch(lost);
  outgoing.closed.catch(() => {});

  return {
    transport: 'webtransport',
    greeted: false,
    send(message) {
      waiting += message.length;
      control.write(frame(message)).then(() => (waiting -= message.length), lost);
    },
    datagram(payload) {
      if (ended || (outgoing.desiredSize ?? 0) <= 0) return false;
      outgoing.write(payload).catch(() => {});
      return true;
    },
    waiting: () => waiting,
    attach: inbox.attach,
    close(code) {
      ended = true;
      inbox.end(code ?? 1000);
      close(code);
    },
  };
}

/**
 * The first link that is up; the other is given up. The second starts after the head start, or once the first has failed.
 * No credentials are at stake in a race, since they work once: `open` is told whether it is `alone`, when there is no
 * rival left and its request may carry them; else they go as Hello over the winner.
 * @param {{ transport: Transport, open: (signal: AbortSignal, alone: boolean) => Promise<Link> }[]} entrants in order
 * @param {number} headStart ms
 * @param {AbortSignal} signal
 * @returns {Promise<Link>}
 */
export function race(entrants, headStart, signal) {
  return new Promise((resolve, reject) => {
    const all = new AbortController();
    /** @type {unknown[]} */
    const failures = [];
    let next = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    /** @param {unknown} [failure] */
    const over = (failure) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      all.abort();
      reject(failure);
    };
    const abort = () => over(signal.reason);
    const start = () => {
      clearTimeout(timer);
      const entrant = entrants[next++];
      if (!entrant) return;
      const alone = next === entrants.length && failures.length === entrants.length - 1;
      entrant.open(all.signal, alone).then(
        (link) => {
          if (all.signal.aborted) return link.close();
          resolve(link);
          over();
        },
        (error) => {
          failures.push(error);
          if (failures.length === entrants.length) over(new AggregateError(failures, 'no transport got through'));
          else start();
        },
      );
      if (next < entrants.length) timer = setTimeout(start, headStart);
    };
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    else start();
  });
}

/** What worked is remembered for this long, so that the next connection need not find out again. */
const REMEMBERED = 10 * 60_000;

/**
 * @param {Pick<Storage, 'getItem' | 'setItem'> | null} storage
 * @param {string} host
 * @param {Transport} [worked] what to remember
 * @returns {Transport | null} what is remembered
 */
export function remembered(storage, host, worked) {
  const key = `muster:${host}`;
  try {
    if (worked) storage?.setItem(key, `${worked} ${Date.now()}`);
    const [transport, since] = storage?.getItem(key)?.split(' ') ?? [];
    const age = Date.now() - Number(since);
    return transport && age >= 0 && age < REMEMBERED ? /** @type {Transport} */ (transport) : null;
  } catch {
    return null; // storage may be forbidden or full
  }
}

/** Session storage where there is one; touching it may throw. @returns {Pick<Storage, 'getItem' | 'setItem'>} */
export function defaultStorage() {
  try {
    return globalThis.sessionStorage ?? memory;
  } catch {
    return memory;
  }
}

/** @type {Map<string, string>} */
const kept = new Map();
const memory = { getItem: (/** @type {string} */ key) => kept.get(key) ?? null, setItem: kept.set.bind(kept) };
