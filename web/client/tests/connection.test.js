// The connection against a server in memory: the race, the ticket's way, resume and its counting, inputs, errors.

import assert from 'node:assert/strict';
import { before, describe, mock, test } from 'node:test';

import { MusterError, connect } from '../index.js';
import { FakeServer, seated, settle, snapshot, welcome } from './fakes.js';

/** A server that welcomes, at once or after Hello. @param {(link: import('./fakes.js').FakeLink) => void} [then] */
function host(then = () => {}) {
  const server = new FakeServer();
  server.onLink = (link) => {
    const greet = () => {
      if (link.closed) return;
      link.send(welcome());
      then(link);
    };
    if (link.protocols.length > 1) greet();
    else link.onMessage = (message) => message.kind === 'Hello' && greet();
  };
  return server;
}

/** @param {Promise<unknown>} promise @returns {Promise<MusterError>} */
const refused = (promise) => promise.then(() => assert.fail('it was not refused'), (error) => error);
const URL_ = 'https://play.example';
const reply = (/** @type {number} */ request, refusal = null) => ({ kind: 'Reply', request, refusal });

describe('the race', () => {
  test('WebTransport that is up within the head start is alone, and says Hello with the ticket', async () => {
    const server = host();
    const muster = await connect(URL_, server.options({ join: 'quick:arena' }));
    assert.equal(muster.transport, 'webtransport');
    assert.deepEqual(server.links.map(({ transport }) => transport), ['webtransport']);
    assert.deepEqual(server.links[0].of('Hello'), [{ kind: 'Hello', ticket: 'aaa.bbb.ccc', join: 'quick:arena', resume: null }]);
    assert.equal(server.links[0].url.href, 'https://play.example/v1/play', 'no ticket in a URL that could be logged');
    await muster.close();
  });

  test('the winner alone sees the ticket, when WebTransport hangs', async () => {
    const server = host();
    server.doors.webtransport = 'hang';
    const muster = await connect(URL_, server.options());
    const [loser, winner] = server.links;
    assert.equal(muster.transport, 'websocket');
    assert.deepEqual(winner.protocols, ['muster.1'], 'held back while there was a rival');
    assert.equal(winner.of('Hello').length, 1);
    assert.ok(loser.closed && loser.got.length === 0);
    await muster.close();
  });

  test('without a rival the ticket travels in the request', async () => {
    const server = host();
    server.doors.webtransport = 'fail';
    const muster = await connect(URL_, server.options({ join: 'code:ABCDEF', headStart: 5_000 }));
    const [, link] = server.links;
    assert.deepEqual(link.protocols, ['muster.1', 'ticket.aaa.bbb.ccc']);
    assert.equal(link.url.searchParams.get('join'), 'code:ABCDEF');
    assert.equal(link.of('Hello').length, 0);
    await muster.close();
  });

  test('prefer turns the order round', async () => {
    const server = host();
    const muster = await connect(URL_, server.options({ prefer: 'websocket' }));
    assert.deepEqual(server.links.map(({ transport }) => transport), ['websocket']);
    await muster.close();
  });

  test('what worked is remembered for ten minutes', async (t) => {
    const server = host();
    const kept = new Map();
    const storage = { getItem: (/** @type {string} */ k) => kept.get(k) ?? null, setItem: kept.set.bind(kept) };
    server.doors.webtransport = 'fail';
    await (await connect(URL_, server.options({ storage }))).close();
    server.doors.webtransport = 'open';
    const second = await connect(URL_, server.options({ storage }));
    assert.equal(second.transport, 'websocket');
    await second.close();
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 10 * 60_000 + 1 });
    const third = await connect(URL_, server.options({ storage }));
    assert.equal(third.transport, 'webtransport');
    await third.close();
  });

  test('when nothing gets through it is one error with both causes', async () => {
    const server = host();
    server.doors = { websocket: 'fail', webtransport: 'fail' };
    const error = await refused(connect(URL_, server.options()));
    assert.deepEqual([error.code, error.slug, error.act], [0, 'no-connection', 'retry']);
    assert.equal(/** @type {AggregateError} */ (error.cause).errors.length, 2);
  });

  test('a server that never answers is given up', async () => {
    const server = host();
    server.doors = { websocket: 'hang', webtransport: 'hang' };
    const error = await refused(connect(URL_, server.options({ timeout: 80 })));
    assert.equal(error.slug, 'no-connection');
    await settle();
    assert.ok(server.links.every(({ closed }) => closed));
  });

  test('a browser that has only createWritable sends its inputs as datagrams too', async () => {
    const server = host((link) => link.send(seated()));
    server.safari = true;
    const muster = await connect(URL_, server.options({ transport: 'webtransport' }));
    await settle();
    assert.equal(muster.input(new Uint8Array([1])), 1);
    await settle();
    assert.equal(server.links[0].datagrams.length, 1);
    await muster.close();
  });

  test('WebTransport that goes silent is left for WebSocket, and the place is kept', { timeout: 20_000 }, async () => {
    const server = host();
    const muster = await connect(URL_, server.options());
    const lost = new Promise((done) => muster.on('lost', done));
    const back = new Promise((done) => muster.on('open', done));
    server.onLink = (link) => (link.onMessage = (message) => message.kind === 'Hello' && link.send(welcome({ outcome: 'Resumed' })));
    assert.equal((await lost).error.slug, 'stalled');
    assert.deepEqual(await back, { transport: 'websocket', outcome: 'Resumed' });
    assert.ok(server.links.at(-1)?.of('Hello')[0].resume);
    await muster.close();
  });

  test('WebTransport that is up and never says Welcome is left for WebSocket', { timeout: 20_000 }, async () => {
    const server = host();
    const onLink = server.onLink;
    server.onLink = (link) => link.transport === 'websocket' && onLink(link);
    const muster = await connect(URL_, server.options());
    assert.equal(muster.transport, 'websocket');
    await muster.close();
  });
});

describe('errors', () => {
  for (const transport of /** @type {const} */ (['websocket', 'webtransport'])) {
    test(`Goodbye over ${transport} is a typed error with what to do next`, async () => {
      const server = new FakeServer();
      server.onLink = (link) => link.send({ kind: 'Goodbye', code: 4429, reason: 'too-fast', retryAfterMs: 1_500 });
      const error = await refused(connect(URL_, server.options({ transport })));
      assert.ok(error instanceof MusterError);
      assert.deepEqual([error.code, error.slug, error.retryAfter, error.act], [4429, 'too-fast', 1_500, 'new ticket']);
    });

    test(`bytes that are no message over ${transport} are an error, not a crash`, async () => {
      const server = host((link) => link.sendBytes(new Uint8Array([6, 1, 2])));
      const muster = await connect(URL_, server.options({ transport }));
      const error = await muster.closed;
      assert.deepEqual([error?.slug, error?.act], ['undecodable', 'report']);
    });
  }

  test('a close code without Goodbye tells as much', async () => {
    const server = new FakeServer();
    server.onLink = (link) => link.end(4401);
    const error = await refused(connect(URL_, server.options({ transport: 'websocket' })));
    assert.deepEqual([error.code, error.slug, error.act], [4401, 'bad-ticket', 'new ticket']);
  });

  test('a message before Welcome is not of this protocol', async () => {
    const server = new FakeServer();
    server.onLink = (link) => link.send({ kind: 'Pong', nonce: 1, serverTimeUs: 1 });
    assert.equal((await refused(connect(URL_, server.options({ transport: 'websocket' })))).slug, 'undecodable');
  });

  test('a ticket source that fails, a wrong URL, and an abort each say so', async () => {
    const server = host();
    const failing = connect(URL_, server.options({ ticket: async () => { throw new Error('HTTP 500'); } }));
    const noTicket = await refused(failing);
    assert.deepEqual([noTicket.slug, noTicket.act, /** @type {Error} */ (noTicket.cause).message], ['no-ticket', 'retry', 'HTTP 500']);
    for (const url of ['ftp://x', 'http://', 'play']) assert.equal((await refused(connect(url, server.options()))).slug, 'bad-url');
    server.doors = { websocket: 'hang', webtransport: 'hang' };
    const controller = new AbortController();
    const aborted = refused(connect(URL_, server.options({ signal: controller.signal })));
    await settle();
    controller.abort();
    assert.equal((await aborted).slug, 'aborted');
    assert.equal((await refused(connect(URL_, server.options({ signal: AbortSignal.abort() })))).slug, 'aborted');
  });

  test('aborting later leaves for good', async () => {
    const server = host();
    const controller = new AbortController();
    const muster = await connect(URL_, server.options({ signal: controller.signal, transport: 'websocket' }));
    controller.abort();
    await settle();
    assert.equal(server.links[0].of('Bye').length, 1);
    assert.equal(await muster.closed, null);
  });
});

describe('requests', () => {
  test('are numbered from 1 and settled by their replies', async () => {
    const server = host();
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    const [link] = server.links;
    const [ready, start] = [muster.ready(), muster.start()];
    start.catch(() => {});
    await settle();
    assert.deepEqual(link.of('Request').map(({ id, body }) => [id, body.kind]), [[1, 'Ready'], [2, 'Start']]);
    link.send(reply(2, /** @type {any} */ ({ code: 4403, reason: 'not-host' })), reply(1));
    await ready;
    assert.deepEqual([(await refused(start)).code, (await refused(start)).slug], [4403, 'not-host']);
    assert.equal((await refused(muster.chat('x'.repeat(5_000)))).code, 4413);
    await muster.close();
  });
});

describe('a lost link', () => {
  before(() => mock.method(Math, 'random', () => 0.1)); // the waits of the back-off are short, and the same each time
  const lobby = {
    kind: 'Lobby', id: '2'.padStart(32, '0'), code: 'ABCDEF', game: 'arena', name: 'x', public: true, locked: false, capacity: 8, minPlayers: 1,
    host: 'ada', status: { kind: 'Gathering' }, members: [],
  };

  test('is resumed with the token and the count, and requests that were not carried out are sent again', async () => {
    const server = host((link) => link.send(lobby, lobby, { kind: 'Pong', nonce: 99, serverTimeUs: 1 }, lobby));
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    await settle();
    const chats = [muster.chat('a'), muster.chat('b'), muster.chat('c')];
    await settle();
    /** @type {any[]} */
    const said = [];
    muster.on('chat', (line) => said.push(line.text));
    server.onLink = (link) => link.send(welcome({ outcome: 'Resumed', counted: 5, lastRequest: 2, resume: new Uint8Array(32).fill(9) }), reply(1), reply(2));
    server.links[0].end(1006);
    await settle(400);
    const token = Buffer.alloc(32, 7).toString('base64url');
    assert.deepEqual(server.links[1].protocols, ['muster.1', `resume.${token}.3`], 'three numbered messages had come; a Pong does not count');
    assert.deepEqual(server.links[1].of('Request').map(({ id, body }) => [id, body.text]), [[3, 'c']]);
    server.links[1].send(reply(3));
    await Promise.all(chats);
    assert.equal(muster.lobby?.code, 'ABCDEF', 'what was known still holds');
    server.onLink = (link) => link.send(welcome({ outcome: 'Resumed', counted: 6, lastRequest: 3 }));
    server.links[1].end(1006);
    await settle(400);
    assert.equal(server.links[2].protocols[1], `resume.${Buffer.alloc(32, 9).toString('base64url')}.6`, 'the newest token, and all that came since');
    await muster.close();
  });

  test('that is Restarted begins anew from the count it is told', async () => {
    const server = host((link) => link.send(lobby, seated()));
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    await settle();
    const request = muster.ready();
    server.onLink = (link) => link.send(welcome({ outcome: 'Restarted', counted: 40, lastRequest: 1 }), lobby);
    server.links[0].end(4008);
    const error = await refused(request);
    assert.equal(error.slug, 'outcome-unknown');
    await settle();
    assert.equal(muster.seated, null);
    assert.equal(muster.lobby?.code, 'ABCDEF');
    server.links[1].end(1006);
    await settle(400);
    assert.match(server.links[2].protocols[1], /\.41$/);
    await muster.close();
  });

  test('whose place is gone arrives anew with a new ticket, and watches the list again', async () => {
    const server = host();
    let tickets = 0;
    const muster = await connect(URL_, server.options({ transport: 'websocket', ticket: async () => `t.${++tickets}` }));
    muster.watch({ game: 'arena' }).catch(() => {}); // not answered before the link is lost
    const anew = new Promise((done) => muster.on('open', done));
    const greet = server.onLink;
    server.onLink = (link) => {
      if (!link.protocols[1]?.startsWith('resume.')) return greet(link);
      link.send({ kind: 'Goodbye', code: 4401, reason: 'bad-ticket', retryAfterMs: null });
    };
    server.links[0].end(1006);
    assert.deepEqual(await anew, { transport: 'websocket', outcome: 'Arrived' });
    await settle();
    assert.equal(server.links[2].of('Hello')[0].ticket, 't.2');
    assert.deepEqual(server.links[2].of('Request').map(({ id, body }) => [id, body.kind, body.game]), [[1, 'Watch', 'arena']]);
    await muster.close();
  });

  test('arrives without the wish when the lobby it wished for is gone', async () => {
    const server = host();
    const muster = await connect(URL_, server.options({ transport: 'websocket', join: 'code:ABCDEF', ticket: () => 'a.b' }));
    const gone = { kind: 'Goodbye', code: 4404, reason: 'not-found', retryAfterMs: null };
    server.onLink = (link) => {
      if (link.protocols.length > 1) return link.send(gone); // the resume
      link.onMessage = ({ kind, join }) => kind === 'Hello' && link.send(join ? gone : welcome());
    };
    const back = new Promise((done) => muster.on('open', done));
    server.links[0].end(1006);
    assert.equal((await back).outcome, 'Arrived');
    await muster.close();
  });

  test('with one ticket only says that a new one is needed', async () => {
    const server = host();
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    server.onLink = (link) => link.send({ kind: 'Goodbye', code: 4401, reason: 'bad-ticket', retryAfterMs: null });
    server.links[0].end(1006);
    const error = await muster.closed;
    assert.deepEqual([error?.code, error?.act], [4401, 'new ticket']);
    assert.equal(server.links.length, 2);
  });

  test('that a newer login replaced is not fought for', async () => {
    const server = host();
    const muster = await connect(URL_, server.options({ transport: 'websocket', ticket: () => 'a.b' }));
    server.links[0].send({ kind: 'Goodbye', code: 4410, reason: 'replaced', retryAfterMs: null });
    assert.equal((await muster.closed)?.code, 4410);
    await settle(300);
    assert.equal(server.links.length, 1);
  });

  test('waits as long as the server asks', async () => {
    const server = host();
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    const lost = new Promise((done) => muster.on('lost', done));
    server.links[0].send({ kind: 'Goodbye', code: 4001, reason: 'draining', retryAfterMs: 700 });
    const { error, wait } = await lost;
    assert.equal(error.act, 'resume');
    assert.ok(wait >= 700);
    await muster.close();
  });

  test('goes on over the other transport when asked', async () => {
    const server = host();
    const muster = await connect(URL_, server.options());
    const back = new Promise((done) => muster.on('open', done));
    muster.use('websocket');
    assert.equal((await back).transport, 'websocket');
    await muster.close();
  });
});

describe('inputs and snapshots', () => {
  test('datagrams repeat what is not applied yet, oldest first', async () => {
    const server = host((link) => link.send(seated({ lastInput: 10 })));
    const muster = await connect(URL_, server.options({ transport: 'webtransport' }));
    await settle();
    const [link] = server.links;
    assert.equal(muster.input(new Uint8Array([1])), 11);
    await settle();
    muster.input(new Uint8Array([2]));
    await settle();
    link.sendDatagram(snapshot(3, { applied: [[0, 11], [1, 99]] }));
    await settle();
    muster.input(new Uint8Array([3]));
    await settle();
    const sent = link.datagrams.map(({ seen, inputs }) => [seen, inputs.map((/** @type {any} */ i) => i.seq)]);
    assert.deepEqual(sent, [[0, [11]], [0, [11, 12]], [3, [12, 13]]]);
    assert.equal(muster.snapshot?.applied, 11);
    for (let n = 0; n < 10; n++) {
      muster.input(new Uint8Array([n]));
      await settle(2);
    }
    assert.equal(link.datagrams.at(-1).inputs.length, 4);
    await muster.close();
  });

  test('the last input before a rest is repeated until a snapshot shows it', async () => {
    const server = host((link) => link.send(seated()));
    const muster = await connect(URL_, server.options({ transport: 'webtransport' }));
    await settle();
    muster.input(new Uint8Array([1]));
    await settle(80);
    server.links[0].sendDatagram(snapshot(1));
    await settle(80);
    server.links[0].sendDatagram(snapshot(2, { applied: [[0, 1]] }));
    await settle(80);
    server.links[0].sendDatagram(snapshot(3, { applied: [[0, 1]] }));
    await settle();
    assert.deepEqual(server.links[0].datagrams.map(({ seen, inputs }) => [seen, inputs.length]), [[0, 1], [1, 1]]);
    await muster.close();
  });

  test('an input too large for a datagram goes on the control stream', async () => {
    const server = host((link) => link.send(seated()));
    const muster = await connect(URL_, server.options({ transport: 'webtransport' }));
    await settle();
    muster.input(new Uint8Array(2_000));
    await settle();
    assert.equal(server.links[0].datagrams.length, 0);
    assert.equal(server.links[0].of('Inputs')[0].inputs[0].data.length, 2_000);
    await muster.close();
  });

  test('over WebSocket each is sent once, and held back while the uplink is full', async () => {
    const server = host((link) => link.send(seated()));
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    await settle();
    muster.input(new Uint8Array([1]));
    muster.input(new Uint8Array([2]));
    server.bufferedAmount = 100_000;
    for (let n = 0; n < 20; n++) muster.input(new Uint8Array([n]));
    server.bufferedAmount = 0;
    muster.input(new Uint8Array([99]));
    await settle();
    const sent = server.links[0].of('Inputs').map(({ inputs }) => inputs.map((/** @type {any} */ i) => i.seq));
    assert.deepEqual(sent, [[1], [2], Array.from({ length: 16 }, (_, i) => i + 8)], 'the newest sixteen, together');
    assert.equal(muster.stats.shed, 20);
    await muster.close();
  });

  test('a full datagram queue sheds, and never holds up the heartbeat', async () => {
    const server = host((link) => link.send(seated()));
    server.datagramRoom = 0;
    const muster = await connect(URL_, server.options({ transport: 'webtransport' }));
    await settle();
    for (let n = 0; n < 10; n++) muster.input(new Uint8Array([n]));
    await settle(600);
    assert.ok(muster.stats.shed >= 8);
    assert.ok(server.links[0].of('Ping').length >= 2);
    await muster.close();
  });

  test('nobody sends inputs without a seat', async () => {
    const server = host();
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    assert.equal(muster.input(new Uint8Array([1])), 0);
    await settle();
    assert.equal(server.links[0].of('Inputs').length, 0);
    await muster.close();
  });

  test('snapshots of another session, doubled ones and late ones are dropped', async () => {
    const server = host((link) => link.send(snapshot(9), seated(), snapshot(2, { tag: 7 }), snapshot(3), snapshot(3), snapshot(2), snapshot(4)));
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    /** @type {number[]} */
    const ticks = [];
    muster.on('snapshot', ({ tick }) => ticks.push(tick));
    await settle();
    assert.deepEqual(ticks, [3, 4]);
    await muster.close();
  });

  test('a snapshot may overtake the Welcome: it is dropped', async () => {
    const server = new FakeServer();
    server.onLink = (link) => {
      link.sendDatagram(snapshot(1));
      setTimeout(() => link.send(welcome({ outcome: 'Arrived' }), seated()), 20);
    };
    const muster = await connect(URL_, server.options({ transport: 'webtransport' }));
    await settle();
    assert.equal(muster.snapshot, null);
    assert.equal(muster.seated?.tag, 1);
    await muster.close();
  });

  test('who listens right after connect misses nothing', async () => {
    const server = new FakeServer();
    server.onLink = (link) => link.send(welcome(), seated(), { kind: 'Chat', player: 'bob', name: 'Bob', text: 'hi' });
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    const line = await muster.each('chat').next();
    assert.equal(/** @type {any} */ (line.value).text, 'hi');
    await muster.close();
  });

  test('an iterator of snapshots skips to the newest, and ends with the connection', async () => {
    const server = host((link) => link.send(seated(), snapshot(1), snapshot(2), snapshot(3)));
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    const ticks = [];
    for await (const { tick } of muster.each('snapshot')) {
      ticks.push(tick);
      await settle(20);
      if (tick === 3) void muster.close();
    }
    assert.equal(ticks.at(-1), 3);
    assert.ok(ticks.length < 3 || ticks.length === 3 && ticks[0] === 1);
  });

  test('pings tell the round trip, the server clock and what was received', async () => {
    const server = host((link) => {
      link.onMessage = (message) => message.kind === 'Ping' && link.send({ kind: 'Pong', nonce: message.nonce, serverTimeUs: 5_000_000 });
      link.send({ kind: 'Chat', player: 'bob', name: 'Bob', text: 'hi' });
    });
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    await settle(500);
    assert.ok(muster.roundTrip > 0 && muster.roundTrip < 100);
    assert.ok(Math.abs(muster.serverTime() - 5_000) < 600);
    assert.equal(server.links[0].of('Ping').at(-1).received, 1);
    await muster.close();
  });

  test('a fault in a listener is not swallowed and does not harm the connection', async () => {
    const server = host((link) => link.send(seated(), snapshot(1), snapshot(2)));
    const muster = await connect(URL_, server.options({ transport: 'websocket' }));
    const faults = /** @type {unknown[]} */ ([]);
    const before = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', (error) => faults.push(error));
    muster.on('snapshot', () => { throw new Error('of the game'); });
    await settle(30);
    process.removeAllListeners('uncaughtException');
    before.forEach((listener) => process.on('uncaughtException', listener));
    assert.equal(faults.length, 2);
    assert.equal(muster.snapshot?.tick, 2);
    await muster.close();
  });
});

describe('a session with an end', () => {
  const wanted = { kind: 'TicketWanted', withinMs: 60_000 };
  const renewed = (/** @type {any} */ refusal = null) => ({ kind: 'Renewed', refusal, endsInMs: refusal ? 59_000 : 600_000 });

  test('is renewed on the link it has, by the ticket function, once however often it is asked', async () => {
    const server = host();
    let calls = 0;
    const muster = await connect(URL_, server.options({ ticket: async () => `ticket.${++calls}` }));
    const [link] = server.links;
    /** @type {any[]} */
    const told = [];
    muster.on('renewed', (event) => told.push(event));
    link.send(wanted, wanted);
    await settle(30);
    assert.deepEqual(link.of('Renew'), [{ kind: 'Renew', ticket: 'ticket.2' }]);
    link.send(renewed());
    await settle(30);
    assert.deepEqual(told, [{ error: null, endsIn: 600_000 }]);
    link.send(wanted);
    await settle(30);
    assert.equal(link.of('Renew').length, 2, 'the next end is another one');
    assert.equal(server.links.length, 1);
    await muster.close();
  });

  test('tries another ticket when one is refused or not to be had', async () => {
    const server = host();
    let calls = 0;
    const ticket = async () => {
      if (++calls === 2) throw new Error('the backend is down');
      return `ticket.${calls}`;
    };
    const muster = await connect(URL_, server.options({ ticket }));
    const [link] = server.links;
    /** @type {any[]} */
    const slugs = [];
    muster.on('renewed', ({ error }) => slugs.push(error?.slug ?? null));
    link.onMessage = (message) => {
      if (message.kind !== 'Renew') return;
      link.send(renewed(message.ticket === 'ticket.3' ? { code: 4409, reason: 'ticket-used' } : null));
    };
    link.send(wanted);
    while (slugs.length < 3) await settle(20);
    assert.deepEqual(slugs, ['no-ticket', 'ticket-used', null]);
    await muster.close();
  });

  test('with a plain ticket is told, and renewed by hand', async () => {
    const server = host();
    const muster = await connect(URL_, server.options());
    const [link] = server.links;
    muster.on('wanted', ({ within }) => muster.renew(`by.hand.${within}`));
    link.send(wanted);
    await settle(30);
    assert.deepEqual(link.of('Renew'), [{ kind: 'Renew', ticket: 'by.hand.60000' }]);
    await muster.close();
  });
});
