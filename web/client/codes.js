// What went wrong, and what a client does about it: the code table of docs/protocol.md.

/** What a client does next. @typedef {'stop' | 'report' | 'retry' | 'resume' | 'new ticket'} Act */

/**
 * Errors of the client itself have code 0 and one of these slugs: `bad-url`, `no-ticket` (the ticket source failed; see
 * `cause`), `no-connection` (no transport got through; see `cause`), `lost`, `stalled`, `undecodable` (the server sent what is not
 * of this protocol), `outcome-unknown` (a request whose answer was lost with its link), `aborted`.
 */
export class MusterError extends Error {
  /**
   * @param {number} code
   * @param {string} slug
   * @param {{ act?: Act, retryAfter?: number | null, cause?: unknown }} [more]
   */
  constructor(code, slug, { act, retryAfter, cause } = {}) {
    super(code ? `${slug} (${code})` : slug, cause === undefined ? undefined : { cause });
    this.name = 'MusterError';
    /** The number from the table; 0 for an error of the client itself. */
    this.code = code;
    /** A stable word for it. */
    this.slug = slug;
    /** What to do next. @type {Act} */
    this.act = act ?? actOf(code);
    /** Milliseconds to wait at least, where the server asked for it. @type {number | null} */
    this.retryAfter = retryAfter ?? null;
  }
}

/** The act of any code, known or not. @param {number} code @returns {Act} */
export function actOf(code) {
  if (code === 0 || code === 1000 || code === 1001) return 'stop';
  if (code === 1005 || code === 1006) return 'resume'; // a link lost without a close frame
  if (code >= 1011 && code <= 1013) return 'retry';
  return (code >= 1000 && RANGES[Math.floor(code / 100)]) || 'report';
}

/** The slug of a code that came without one. @param {number} code */
export const slugOf = (code) => SLUGS[code] ?? `code-${code}`;

/** @type {Record<number, Act>} */
const RANGES = { 40: 'resume', 44: 'new ticket', 45: 'stop' };

/** @type {Record<number, string>} */
const SLUGS = {
  1000: 'left', 1002: 'protocol-error', 1003: 'text-frame', 1007: 'bad-utf8', 1009: 'frame-too-big', 1011: 'internal',
  1012: 'restart', 1013: 'overloaded', 4001: 'draining', 4008: 'slow-reader', 4009: 'heartbeat-lost',
  4011: 'session-crashed', 4012: 'moved', 4400: 'malformed', 4401: 'bad-ticket', 4403: 'forbidden', 4404: 'not-found',
  4408: 'ticket-timeout', 4409: 'ticket-used', 4410: 'replaced', 4413: 'message-too-big', 4426: 'version',
  4429: 'too-fast', 4500: 'session-over', 4501: 'kicked', 4502: 'banned', 4503: 'lobby-full', 4504: 'lobby-closed',
};
