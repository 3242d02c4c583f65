// What a browser reads of a refusal and of an end: the code table in Chromium, over both transports.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Server, Watched, launch } from './harness.js';

/** @type {Server} */
let server;
/** @type {import('playwright-core').Browser} */
let browser;

before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** What each row is called, and what the client is to do about it; whether a link was open before. */
const ROWS = [
  { row: 'bad ticket', code: 4401, slug: 'bad-ticket', act: 'new ticket', metric: 'muster_refusals_total' },
  { row: 'another lobby', code: 4403, slug: 'forbidden', act: 'new ticket', metric: 'muster_refusals_total' },
  { row: 'no such lobby', code: 4404, slug: 'not-found', act: 'new ticket', metric: 'muster_refusals_total' },
  { row: 'used ticket', code: 4409, slug: 'ticket-used', act: 'new ticket', metric: 'muster_refusals_total' },
  { row: 'full lobby', code: 4503, slug: 'lobby-full', act: 'stop', metric: 'muster_refusals_total' },
  { row: 'locked lobby', code: 4504, slug: 'lobby-locked', act: 'stop', metric: 'muster_refusals_total' },
  { row: 'newer login', code: 4410, slug: 'replaced', act: 'new ticket', metric: 'muster_close_total' },
  { row: 'kicked', code: 4501, slug: 'kicked', act: 'stop', metric: 'muster_close_total' },
];
/** The label of a code in the metrics, where the reason that is told is more telling. @type {Record<string, string>} */
const LABELS = { 'lobby-locked': 'lobby-closed' };

describe('a browser reads', () => {
  for (const transport of ['webtransport', 'websocket']) {
    test(`the code, the slug and the act of each row, over ${transport}`, { timeout: 60_000 }, async () => {
      // Any document of the server's origin will do: the client is driven by hand.
      const page = await Watched.open(await browser.newContext(), `${server.url}/client/index.js`);
      for (const { row, code, slug, act, metric } of ROWS) {
        const label = `code="${LABELS[slug] ?? slug}"`;
        const before = await server.metric(metric, label);
        const told = await page.page.evaluate(drive, { transport, row });
        assert.deepEqual(told, { code, slug, act }, row);
        assert.equal(await server.metric(metric, label), before + 1, row);
      }
      page.clean();
    });
  }
});

/**
 * In the page: brings a row about, and says what the client made of it.
 * @param {{ transport: string, row: string }} what
 */
async function drive({ transport, row }) {
  const path = '/client/index.js';
  /** @type {typeof import('../client/index.js')} */
  const { connect } = await import(path);
  const ticket = async (/** @type {Record<string, string>} */ claims) =>
    (await (await fetch(`/dev/ticket?${new URLSearchParams(claims)}`)).json()).ticket;
  /** @param {Record<string, string>} claims @param {string} [join] @param {string} [shown] */
  const enter = async (claims, join, shown) =>
    connect(location.origin, { ticket: shown ?? (await ticket(claims)), join, transport: /** @type {any} */ (transport), storage: null });
  const refused = (/** @type {Promise<import('../client/muster.js').Muster>} */ entering) =>
    entering.then(() => { throw new Error('let in'); }, (error) => error);

  const host = await enter({ sub: 'host' });
  await host.create({ game: 'arena', name: 'Ours', capacity: row === 'full lobby' ? 1 : 4 });
  while (!host.lobby) await new Promise((done) => setTimeout(done, 10));
  const ours = `lobby:${host.lobby.id}`;
  /** @type {any} */
  let error;
  switch (row) {
    case 'bad ticket':
      error = await refused(enter({}, ours, 'eyJhbGciOiJub25lIn0.e30.e30'));
      break;
    case 'another lobby':
      error = await refused(enter({ sub: 'eve', lobby: '2'.padStart(32, '0') }, ours));
      break;
    case 'no such lobby':
      error = await refused(enter({ sub: 'eve' }, `lobby:${'1'.padStart(32, '0')}`));
      break;
    case 'used ticket': {
      const used = await ticket({ sub: 'eve' });
      await (await enter({}, '', used)).close();
      error = await refused(enter({}, '', used));
      break;
    }
    case 'full lobby':
      error = await refused(enter({ sub: 'eve' }, ours));
      break;
    case 'locked lobby':
      await host.lock();
      error = await refused(enter({ sub: 'eve' }, ours));
      break;
    case 'newer login': {
      const older = await enter({ sub: 'eve' });
      const newer = await enter({ sub: 'eve' });
      error = await older.closed;
      await newer.close();
      break;
    }
    case 'kicked': {
      const guest = await enter({ sub: 'eve' }, ours);
      while (!guest.lobby) await new Promise((done) => setTimeout(done, 10));
      await host.kick('eve');
      error = await guest.closed;
      break;
    }
  }
  await host.close();
  const { code, slug, act } = error;
  return { code, slug, act };
}
