// What went wrong, in words for the player.

/** @import { MusterError } from '../client/index.js' */

/** @param {MusterError} error @returns {string} */
export function words(error) {
  const told = WORDS[error.slug] ?? BY_ACT[error.act];
  const wait = error.retryAfter ? ` Try again in ${Math.ceil(error.retryAfter / 1000)} s.` : '';
  return `${told}${wait} [${error.code ? `${error.code} ` : ''}${error.slug}]`;
}

/** @type {Record<string, string>} */
const BY_ACT = {
  stop: 'That is not possible now.',
  report: 'This page and the server do not understand each other. Please report it.',
  retry: 'The server cannot answer just now.',
  resume: 'The connection was lost.',
  'new ticket': 'The server did not accept that.',
};

/** @type {Record<string, string>} */
const WORDS = {
  'bad-url': 'This is not the address of a server.',
  'no-ticket': 'The ticket office does not answer, so that nobody gets in just now.',
  'no-connection': 'The server cannot be reached. Is it running?',
  lost: 'The connection was lost.',
  stalled: 'WebTransport went silent.',
  undecodable: 'The server said something that this page does not understand. Please report it.',
  'outcome-unknown': 'The connection was lost before the answer came.',
  draining: 'The server is about to restart.',
  restart: 'The server restarts.',
  internal: 'Something went wrong on the server.',
  overloaded: 'The server is full.',
  'bad-ticket': 'The ticket is not valid, or has expired.',
  'ticket-used': 'The ticket was used before.',
  forbidden: 'You may not do that.',
  'not-found': 'There is no such lobby any more.',
  replaced: 'You went on playing in another tab.',
  version: 'The server speaks another version of the protocol. Reload the page.',
  'too-fast': 'That was too much, too fast.',
  kicked: 'The host removed you.',
  'removed-by-host': 'The host removed you, so that you cannot come back to this lobby.',
  banned: 'You are banned from this server.',
  'lobby-full': 'The lobby is full.',
  'lobby-closed': 'The lobby is closed.',
  'lobby-locked': 'The host has locked the lobby.',
  'no-late-join': 'The game has begun, and nobody can join it any more.',
  'not-host': 'Only the host can do that.',
  'too-few-players': 'There are not enough players yet.',
  'already-playing': 'The game is running already.',
  'text-empty': 'There is nothing in it.',
  'text-too-long': 'That is too long.',
  'text-control': 'There are characters in it that cannot be shown.',
  'text-direction': 'There are characters in it that turn the direction of the text.',
  'text-invisible': 'There are invisible characters in it.',
};
