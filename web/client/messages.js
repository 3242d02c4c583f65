// The messages of docs/protocol.md, field by field in the order of the wire; the names of the fields in camel case.

import { DecodeError, Reader, array, bool, bytes, decode, id, names, option, pair, str, struct, text, u16, u32, u64, u8, union, vec } from './codec.js';

/** @import { Type, ValueOf } from './codec.js' */

const playerId = text(/^(?!\p{White_Space})\P{Cc}+(?<!\p{White_Space})$/u);
const gameName = text(/^[a-z0-9-]{1,32}$/);
const joinCode = text(/^[A-HJ-NP-Z]{6}$/);
const token = array(32);

const Input = struct({ seq: u32, data: bytes });
const ResumePoint = struct({ token, received: u64 });

export const Request = union({
  Join: { wish: str },
  Create: { game: str, name: str, public: bool, capacity: u16, minPlayers: u16, settings: bytes },
  Leave: {},
  Ready: { ready: bool },
  Chat: { text: str },
  Kick: { player: playerId },
  Lock: { locked: bool },
  PassHost: { player: playerId },
  Start: {},
  Watch: { game: str, open: bool },
  Unwatch: {},
});

export const ClientMessage = union({
  Hello: { ticket: str, join: str, resume: option(ResumePoint) },
  Ping: { nonce: u32, received: u64 },
  Inputs: { seen: u32, inputs: vec(Input, 1, 16) },
  Request: { id: u32, body: Request },
  Bye: {},
  Renew: { ticket: str },
});

const Refusal = struct({ code: u16, reason: str });
const LobbySummary = struct({ id, game: gameName, name: str, players: u16, capacity: u16, playing: bool, open: bool });
const Member = struct({
  player: playerId, name: str, role: names(/** @type {const} */ (['Player', 'Spectator'])), ready: bool, connected: bool,
});
const LobbyStatus = union({ Gathering: {}, Playing: { session: id } });
const SeatInfo = struct({ seat: u16, player: playerId, name: str, connected: bool });

export const ServerMessage = union({
  Welcome: {
    player: playerId, name: str, resume: token, outcome: names(/** @type {const} */ (['Arrived', 'Resumed', 'Restarted'])),
    counted: u64, lastRequest: u32, serverTimeUs: u64, heartbeatMs: u32, graceMs: u32, maxMessage: u32,
  },
  Goodbye: { code: u16, reason: str, retryAfterMs: option(u32) },
  Pong: { nonce: u32, serverTimeUs: u64 },
  Snapshot: { tag: u32, tick: u32, timeUs: u64, applied: vec(pair(u16, u32)), state: bytes },
  Reply: { request: u32, refusal: option(Refusal) },
  List: { lobbies: vec(LobbySummary) },
  Lobby: {
    id, code: joinCode, game: gameName, name: str, public: bool, locked: bool, capacity: u16, minPlayers: u16,
    host: option(playerId), status: LobbyStatus, members: vec(Member),
  },
  LobbyLeft: { lobby: id, reason: names(/** @type {const} */ (['Left', 'Kicked', 'Closed'])) },
  Chat: { player: playerId, name: str, text: str },
  Seated: {
    session: id, tag: u32, lobby: id, game: gameName, seat: option(u16), tickHz: u8, settings: bytes, lastInput: u32,
  },
  Roster: { tag: u32, seats: vec(SeatInfo), spectators: u16 },
  Ended: { session: id, reason: names(/** @type {const} */ (['Finished', 'Abandoned', 'Crashed'])), result: bytes },
  TicketWanted: { withinMs: u32 },
  Renewed: { refusal: option(Refusal), endsInMs: option(u32) },
});

/** @typedef {ValueOf<typeof ServerMessage>} AnyServerMessage */
/** @typedef {ValueOf<typeof ClientMessage>} AnyClientMessage */
/** @typedef {ValueOf<typeof Request>} AnyRequest */
/** @template {AnyServerMessage['kind']} K @typedef {Extract<AnyServerMessage, { kind: K }>} Message */

const KNOWN = 14;
const FIRST_NUMBERED = 4;

/**
 * A server's message; null for a kind that was added later.
 * @param {Uint8Array} message
 * @returns {{ numbered: boolean, message: AnyServerMessage | null }}
 */
export function readServerMessage(message) {
  const kind = Number(new Reader(message).varint(4));
  return { numbered: kind >= FIRST_NUMBERED, message: kind < KNOWN ? decode(ServerMessage, message) : null };
}

/** Length, then the message: how it stands on the control stream. @param {Uint8Array} message */
export function frame(message) {
  const framed = new Uint8Array(4 + message.length);
  new DataView(framed.buffer).setUint32(0, message.length, true);
  framed.set(message, 4);
  return framed;
}

/** Takes the control stream apart. */
export class Deframer {
  #kept = new Uint8Array(0);

  /** @param {Uint8Array} chunk @returns {Uint8Array[]} the messages that are whole now */
  take(chunk) {
    let bytes = chunk;
    if (this.#kept.length) {
      bytes = new Uint8Array(this.#kept.length + chunk.length);
      bytes.set(this.#kept);
      bytes.set(chunk, this.#kept.length);
    }
    const messages = [];
    let at = 0;
    while (bytes.length - at >= 4) {
      const length = new Reader(bytes.subarray(at)).fixed(4);
      if (length > LONGEST) throw new DecodeError('a message too long');
      if (bytes.length - at - 4 < length) break;
      messages.push(bytes.slice(at + 4, (at += 4 + length)));
    }
    this.#kept = bytes.slice(at);
    return messages;
  }
}

/** The longest message a server sends. */
const LONGEST = 1024 * 1024;

/** Puts snapshots together that came in several datagrams: those of the newest tick only. */
export class Pieces {
  #tag = -1;
  #tick = -1;
  #missing = 0;
  /** @type {(Uint8Array | undefined)[]} */
  #parts = [];

  /** @param {Uint8Array} payload of a datagram @returns {Uint8Array | null} a whole message, when there is one now */
  take(payload) {
    if (payload[0] === 0 && payload.length > 1) return payload.subarray(1);
    if (payload[0] !== 1 || payload.length < 12) return null; // of a kind to come, or broken
    const header = new Reader(payload.subarray(1));
    const [tag, tick, index, count] = [header.fixed(4), header.fixed(4), header.u8(), header.u8()];
    if (count < 2 || count > 8 || index >= count || (tag === this.#tag && tick < this.#tick)) return null;
    if (tag !== this.#tag || tick !== this.#tick || count !== this.#parts.length) {
      [this.#tag, this.#tick, this.#missing, this.#parts] = [tag, tick, count, new Array(count)];
    }
    if (this.#parts[index]) return null;
    this.#parts[index] = payload.subarray(11);
    if (--this.#missing) return null;
    const parts = /** @type {Uint8Array[]} */ (this.#parts);
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}
