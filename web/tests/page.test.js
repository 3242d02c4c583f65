// The page in a real browser against the real server.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { connect as dial, createServer } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';

import { writeInput } from '../page/arena.js';
import { ARTEFACTS, LONG, BIN, Server, Watched, freePort, hosted, launch, pause, until } from './harness.js';

/** @import { Browser, BrowserContext } from 'playwright-core' */

/** @type {Server} */
let server;
/** @type {Browser} */
let browser;
/** @type {BrowserContext[]} */
let contexts = [];

before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});
afterEach(async () => {
  await Promise.all(contexts.splice(0).map((context) => context.close()));
});

/** @param {import('playwright-core').BrowserContextOptions} [options] */
async function fresh(options) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 760 }, ...options });
  contexts.push(context);
  return context;
}

let players = 0;
/** A page of a player of its own. @param {string} [query] @param {BrowserContext} [context] @param {Server} [on] */
async function open(query = '', context, on = server) {
  return Watched.open(context ?? (await fresh()), `${on.url}/?sub=player-${++players}&name=Player%20${players}${query}`);
}

/** A lobby with a running game, and its host's page. @param {string} [query] */
async function running(query = '') {
  const host = await open(query);
  await host.view('lobbies');
  await host.page.fill('#lobby-name', `Lobby of ${players}`);
  await host.page.fill('#capacity', '64');
  await host.page.click('#create button');
  await host.view('lobby');
  const code = await host.page.textContent('#lobby-code');
  await host.page.click('#start');
  await host.view('game');
  return { host, code };
}

describe('the way in', () => {
  for (const transport of /** @type {const} */ (['webtransport', 'websocket'])) {
    test(`a page joins over ${transport}, and both ends say so`, async () => {
      const name = 'muster_handshakes_total';
      const before = await server.metric(name, `transport="${transport}"`);
      const page = await open(`&transport=${transport}&join=quick:arena`);
      await page.view('game');
      assert.equal(await page.transport(), transport);
      assert.equal(await server.metric(name, `transport="${transport}"`), before + 1);
      page.clean();
    });
  }

  test('left to itself the page takes WebTransport, and shows no ticket twice', async () => {
    // On a machine with much to do WebSocket may win once, after the head start.
    await until('over WebTransport', async () => {
      const page = await open('&join=quick:arena');
      await page.view('game');
      page.clean();
      return (await page.transport()) === 'webtransport';
    });
    assert.equal(await server.metric('muster_refusals_total', 'ticket-used'), 0);
  });

  test('without WebTransport in the browser the page joins over WebSocket', async () => {
    const context = await fresh();
    await context.addInitScript(() => Reflect.deleteProperty(globalThis, 'WebTransport'));
    const page = await open('&join=quick:arena', context);
    const span = await until('a link', () => page.since('muster:open'));
    assert.equal(await page.transport(), 'websocket');
    assert.ok(span < 3_000, `after ${span} ms`);
    page.clean();
  });

  test('where UDP vanishes on the way the page joins over WebSocket within 3 s', async () => {
    const way = await withoutUdp(server.port);
    try {
      const page = await open('', undefined, /** @type {any} */ ({ url: way.url }));
      const span = await until('a link', () => page.since('muster:open'));
      console.log(`connected over WebSocket after ${span.toFixed(0)} ms; ${way.lost()} datagrams vanished`);
      assert.equal(await page.transport(), 'websocket');
      assert.ok(span < 3_000, `after ${span} ms`);
      assert.ok(way.lost() > 0, 'WebTransport was tried');
      page.clean();
    } finally {
      await way.close();
    }
  });

  for (const transport of ['webtransport', 'websocket']) {
    test(`a refused ticket shows its code in the page, over ${transport}`, async () => {
      const context = await fresh();
      await context.route('**/dev/ticket*', (route) => route.fulfill({ json: { ticket: 'eyJhbGciOiJub25lIn0.e30.e30' } }));
      const page = await open(`&transport=${transport}`, context);
      await until('the code', async () => /4401/.test((await page.page.textContent('#connecting-text')) ?? ''));
      assert.match((await page.page.textContent('#connecting-text')) ?? '', /not valid/);
      page.clean();
    });
  }

  test('a player in Node comes over WebSocket, and the server takes its inputs', async () => {
    const { host } = await hosted(server);
    try {
      assert.equal(host.transport, 'websocket');
      const seq = host.input(writeInput({ dx: 127, dy: 0, aim: 0 }));
      assert.equal(seq, 1);
      await until('it is applied', () => host.snapshot?.applied === seq);
    } finally {
      assert.equal(await host.close(), null);
    }
  });

  test('an invite link leads into the lobby, once', async () => {
    const { code } = await running();
    const guest = await open(`&code=${code}`);
    await guest.view('game');
    assert.equal(await guest.page.evaluate(() => location.search), '');
    guest.clean();
  });
});

describe('playing', () => {
  for (const [one, other] of [['webtransport', 'webtransport'], ['websocket', 'webtransport']]) {
    test(`two pages see each other move (${one}, ${other})`, async () => {
      const { host, code } = await running(`&transport=${one}`);
      const guest = await open(`&transport=${other}&code=${code}`);
      await guest.view('game');
      await guest.page.bringToFront();
      const names = async (/** @type {Watched} */ page) => (await page.page.textContent('#ranking')) ?? '';
      await until('the host sees the guest', async () => (await names(host)).includes(`Player ${players}`));
      const seen = () => host.page.evaluate(() => document.body.dataset.others ?? '');
      const before = await until('the guest is on the host\'s field', seen);
      const start = await guest.place();
      await guest.page.keyboard.down(start[0] > 5_000 ? 'ArrowLeft' : 'ArrowRight');
      await until('the guest sees itself move', async () => Math.abs((await guest.place())[0] - start[0]) > 1_000);
      await until('the host sees it too', async () => Math.abs(Number((await seen()).split(',')[0]) - Number(before.split(',')[0])) > 1_000);
      await guest.page.keyboard.up('ArrowLeft');
      await guest.page.keyboard.up('ArrowRight');
      await until('they agree in the end', async () => {
        const [at, told] = [await guest.place(), (await seen()).split(',').map(Number)];
        return Math.hypot(at[0] - told[0], at[1] - told[1]) < 60;
      });
      await host.page.screenshot({ path: join(ARTEFACTS, `two-players-${one}-${other}.png`) });
      host.clean();
      guest.clean();
    });
  }

  test('the transport is switched in the midst of the game, and the seat is kept', async () => {
    const { host } = await running('&transport=webtransport');
    const tickets = await server.metric('muster_tickets_consumed_total');
    const resumes = await server.metric('muster_resumes_total');
    await host.page.selectOption('#s-transport', 'websocket');
    await until('over WebSocket', async () => (await host.transport()) === 'websocket');
    const tick = async () => Number(await host.page.textContent('#o-tick'));
    const then = await tick();
    await until('it goes on', async () => (await tick()) > then + 10);
    assert.equal(await host.page.evaluate(() => document.body.dataset.view), 'game');
    assert.equal(await server.metric('muster_tickets_consumed_total'), tickets, 'no new ticket');
    assert.equal(await server.metric('muster_resumes_total'), resumes + 1);
    await host.page.selectOption('#s-transport', 'webtransport');
    await until('and back', async () => (await host.transport()) === 'webtransport');
    host.clean();
  });

  for (const transport of ['webtransport', 'websocket']) {
    test(`a page that is reloaded is back in its seat (${transport})`, async () => {
      const { host, code } = await running(`&transport=${transport}`);
      const guest = await open(`&transport=${transport}&code=${code}`);
      await guest.view('game');
      await until('both', () => host.page.evaluate(() => document.body.dataset.bodies === '2'));
      // The address of an invitation is used up by now: what is left is the tab's memory.
      await guest.page.reload();
      await guest.view('game');
      assert.equal(await guest.page.evaluate(() => document.body.dataset.code), code);
      await until('both again', () => guest.page.evaluate(() => document.body.dataset.bodies === '2'));
      await guest.page.click('#game-leave');
      await guest.view('lobbies');
      await guest.page.reload();
      await guest.view('lobbies');
      host.clean();
      guest.clean();
    });
  }

  test('without prediction and interpolation it still plays', async () => {
    const { host } = await running();
    await host.page.click('#s-prediction');
    await host.page.click('#s-interpolation');
    const start = await until('a place', async () => ((await host.place()).length === 2 ? host.place() : null));
    await host.page.keyboard.down(start[1] > 5_000 ? 'KeyW' : 'KeyS');
    await until('it moves', async () => Math.abs((await host.place())[1] - start[1]) > 800);
    host.clean();
  });

  test('on a phone one plays by dragging, and nothing is wider than the screen', async () => {
    const context = await fresh({ viewport: { width: 360, height: 700 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
    const page = await open('', context);
    await page.view('lobbies');
    const wide = () => page.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok((await wide()) <= 0, 'the list fits');
    await page.page.screenshot({ path: join(ARTEFACTS, 'phone-lobbies.png') });
    await page.page.tap('#create button');
    await page.view('lobby');
    assert.ok((await wide()) <= 0, 'the lobby fits');
    await page.page.screenshot({ path: join(ARTEFACTS, 'phone-lobby.png') });
    await page.page.tap('#start');
    await page.view('game');
    const start = await until('a place', async () => ((await page.place()).length === 2 ? page.place() : null));
    const cdp = await context.newCDPSession(page.page);
    const to = start[0] > 5_000 ? 60 : 300;
    await cdp.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: [{ x: 180, y: 450 }] });
    await cdp.send('Input.dispatchTouchEvent', { type: 'touchMove', touchPoints: [{ x: to, y: 450 }] });
    await until('it moves', async () => Math.abs((await page.place())[0] - start[0]) > 800);
    await page.page.screenshot({ path: join(ARTEFACTS, 'phone-game.png') });
    await cdp.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] });
    page.clean();
  });

  test('everything can be done with the keyboard alone', async () => {
    const page = await open();
    await page.view('lobbies');
    const press = async (/** @type {string} */ id) => {
      for (let tabs = 0; tabs < 30; tabs++) {
        if ((await page.page.evaluate(() => document.activeElement?.id)) === id) return page.page.keyboard.press('Enter');
        await page.page.keyboard.press('Tab');
      }
      assert.fail(`${id} is not reached by Tab`);
    };
    await press('lobby-name');
    await page.view('lobby');
    await press('start');
    await page.view('game');
    assert.equal(await page.page.evaluate(() => document.activeElement?.id), 'field');
    await press('game-leave');
    await page.view('lobbies');
    assert.equal(await page.page.evaluate(() => document.activeElement?.id), 'quick');
    page.clean();
  });

  test('the live list keeps its rows, and the focus in them, while it changes', async () => {
    const { host } = await running();
    const page = await open();
    await page.view('lobbies');
    const name = await host.page.textContent('#lobby-name-shown');
    const row = page.page.locator('#list li', { hasText: String(name) });
    await row.locator('button').focus();
    const facts = await row.locator('small').textContent();
    const guest = await open(`&code=${await host.page.textContent('#lobby-code')}`);
    await guest.view('game');
    await until('one more player is shown', async () => (await row.locator('small').textContent()) !== facts);
    assert.equal(await page.page.evaluate(() => document.activeElement?.getAttribute('aria-label')), `Join ${name}`);
    await page.page.keyboard.press('Enter');
    await page.view('game');
    page.clean();
  });
});

describe('hostile and unlucky', () => {
  test('markup as a name, a lobby\'s name and a line of chat stays text, and the policy has nothing to report', async () => {
    const evil = '<img src=x onerror=__xss=1>';
    const script = '"><script>__xss=1</script>';
    const context = await fresh();
    const page = await Watched.open(context, `${server.url}/?sub=evil&name=${encodeURIComponent(evil)}`);
    await page.view('lobbies');
    await page.page.fill('#lobby-name', script);
    await page.page.click('#create button');
    await page.view('lobby');
    const other = await open();
    await other.view('lobbies');
    await until('the list shows the name as text', async () => (await other.page.textContent('#list'))?.includes(script));
    const code = await page.page.textContent('#lobby-code');
    await other.page.fill('#code', String(code).toLowerCase());
    await other.page.click('#join button');
    await other.view('lobby');
    await page.page.fill('#chat-text', evil + script);
    await page.page.click('#chat-form button');
    await until('the chat', async () => (await other.page.textContent('#chat')) === `${evil}: ${evil}${script}`);
    await until('the member', async () => (await other.page.textContent('#members'))?.includes(evil));
    await page.page.click('#start');
    await other.view('game');
    await until('the score', async () => (await other.page.textContent('#ranking'))?.includes(evil));
    for (const { page: at } of [page, other]) {
      assert.equal(await at.evaluate(() => /** @type {any} */ (globalThis).__xss), undefined);
      assert.equal(await at.evaluate(() => document.querySelectorAll('main img, main script').length), 0);
    }
    page.clean();
    other.clean();
  });

  test('the policy is strict, and would stop what the page does not do', async () => {
    const response = await fetch(server.url);
    const policy = response.headers.get('content-security-policy') ?? '';
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe/);
    const page = await open();
    await page.view('lobbies');
    await page.page.evaluate(() => {
      const script = document.createElement('script');
      script.textContent = 'globalThis.__xss = 1';
      document.body.append(script);
    });
    assert.equal(await page.page.evaluate(() => /** @type {any} */ (globalThis).__xss), undefined);
    await until('the report', () => page.policy.length > 0);
  });

  for (const transport of ['webtransport', 'websocket']) {
    test(`a server restart brings the page back by itself, over ${transport}`, { timeout: 60_000 }, async () => {
      const own = await Server.start();
      try {
        const page = await open(`&transport=${transport}`, undefined, own);
        await page.view('lobbies');
        await own.stop();
        await until('it tells the player', async () => (await page.page.textContent('#link')) === 'reconnecting');
        assert.match((await page.page.textContent('#notice')) ?? '', /Coming back/);
        await own.start();
        await until('it is back', async () => (await page.transport()) === transport, 30_000);
        await page.view('lobbies');
        await page.page.click('#quick');
        await page.view('game');
        page.clean();
      } finally {
        await own.stop();
      }
    });
  }

  test('a ticket office that answers 500 is told in words, and can be tried again', async () => {
    const context = await fresh();
    await context.route('**/dev/ticket*', (route) => route.fulfill({ status: 500 }));
    const page = await open('', context);
    await until('the words', async () => /ticket office/.test((await page.page.textContent('#connecting-text')) ?? ''));
    await context.unroute('**/dev/ticket*');
    await page.page.click('#again');
    await page.view('lobbies');
    page.clean();
  });

  test('a certificate whose hash does not match: WebSocket takes over, or it is told', async () => {
    const context = await fresh();
    await context.route('**/v1/certificate-hash', (route) => route.fulfill({ json: { algorithm: 'sha-256', value: btoa('x'.repeat(32)) } }));
    const page = await open('', context);
    await page.view('lobbies');
    assert.equal(await page.transport(), 'websocket');
    const alone = await open('&transport=webtransport', context);
    await until('the words', async () => /cannot be reached/.test((await alone.page.textContent('#connecting-text')) ?? ''));
    page.clean();
    alone.clean();
  });

  test('a server that talks nonsense, or another version, is a typed error in words', async () => {
    for (const [say, expected] of /** @type {const} */ ([
      [Buffer.from([0x63, 1, 2, 3]), /undecodable/],
      [Buffer.from([1, 0xfb, 0x4a, 0x11, 7, ...Buffer.from('version'), 0]), /4426.*version/],
    ])) {
      const context = await fresh();
      await context.routeWebSocket('**/v1/play*', (socket) => setTimeout(() => socket.send(say), 50));
      const page = await open('&transport=websocket', context);
      await until(String(expected), async () => expected.test((await page.page.textContent('#connecting-text')) ?? ''));
      page.clean();
    }
  });

  test('a message in the midst that does not decode ends it with a word', async () => {
    const context = await fresh();
    /** @type {any} */
    let socket;
    await context.routeWebSocket('**/v1/play*', (route) => {
      route.connectToServer();
      socket = route;
    });
    const page = await open('&transport=websocket', context);
    await page.view('lobbies');
    socket.send(Buffer.from([5, 0xff]));
    await until('the words', async () => /undecodable/.test((await page.page.textContent('#connecting-text')) ?? ''));
    page.clean();
  });

  test('a wrong address is a typed error', async () => {
    const page = await open();
    const slugs = await page.page.evaluate(async () => {
      const { connect } = await import(/** @type {any} */ ('/client/index.js'));
      const ask = (/** @type {string} */ url) => connect(url, { ticket: 'a.b.c', timeout: 3_000 }).catch((/** @type {any} */ error) => error.slug);
      return [await ask('ftp://127.0.0.1'), await ask('wss://127.0.0.1:9')];
    });
    assert.deepEqual(slugs, ['bad-url', 'no-connection']);
    page.clean();
  });

  test('a page that slept for longer than its place waits comes back by itself', { timeout: 120_000 }, async () => {
    const page = await open();
    await page.view('lobbies');
    const cdp = await page.page.context().newCDPSession(page.page);
    await cdp.send('Page.setWebLifecycleState', { state: 'frozen' });
    await pause(SLEEP);
    await cdp.send('Page.setWebLifecycleState', { state: 'active' });
    const list = () => page.page.evaluate(() => document.body.dataset.transport);
    await until('it is back', list, 15_000);
    await page.page.click('#quick');
    await page.view('game', 15_000);
    page.clean();
  });
});

describe('the drawing board', () => {
  test('what one paints the other sees, also who comes later', async () => {
    const context = await fresh();
    const ink = (/** @type {Watched} */ page) => page.page.evaluate(() => {
      const canvas = /** @type {HTMLCanvasElement} */ (document.querySelector('canvas'));
      const { data } = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')).getImageData(0, 0, canvas.width, canvas.height);
      let painted = 0;
      for (let at = 3; at < data.length; at += 4) if (data[at]) painted++;
      return painted;
    });
    const one = await Watched.open(context, `${server.url}/examples/board.html`);
    await until('a painter', async () => /painter/.test((await one.page.textContent('#status')) ?? ''));
    await one.page.mouse.move(200, 200);
    await one.page.mouse.down();
    for (let step = 1; step <= 20; step++) await one.page.mouse.move(200 + step * 20, 200 + step * 10);
    await one.page.mouse.up();
    await until('its own line', async () => (await ink(one)) > 1_000);
    const other = await Watched.open(await fresh(), `${server.url}/examples/board.html`);
    await until('the same board', async () => (await ink(other)) === (await ink(one)));
    await until('both painters', async () => /2 painters/.test((await other.page.textContent('#status')) ?? ''));
    await other.page.click('#clear');
    await until('cleared', async () => (await ink(one)) === 0);
    one.clean();
    other.clean();
  });
});

/** How long a page sleeps: more than the server's patience and the grace together. */
const SLEEP = 60_000;

/** A way to the server on which TCP passes and UDP vanishes. @param {number} port */
async function withoutUdp(port) {
  const own = await freePort();
  /** @type {Set<import('node:net').Socket>} */
  const sockets = new Set();
  const tcp = createServer((from) => {
    const to = dial(port, '127.0.0.1');
    for (const [one, other] of [[from, to], [to, from]]) {
      sockets.add(one);
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => sockets.delete(one) && other.destroy());
    }
  });
  let lost = 0;
  const udp = createSocket('udp4', () => lost++);
  await new Promise((done) => tcp.listen(own, '127.0.0.1', () => done(undefined)));
  await new Promise((done) => udp.bind(own, '127.0.0.1', () => done(undefined)));
  return {
    url: `http://127.0.0.1:${own}`,
    lost: () => lost,
    async close() {
      sockets.forEach((socket) => socket.destroy());
      udp.close();
      await new Promise((done) => tcp.close(done));
    },
  };
}

// ---- The figures: measured and printed; held only against gross loss. ----

const median = (/** @type {number[]} */ values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** The browser's own windows load pages of their own for a while, which is none of what is measured. */
const BARE = '--disable-features=WebUIOmniboxPopup,WebUIOmniboxFullPopup,WebUIOmniboxAimPopup';

describe('figures', () => {
  /** @type {Browser} */
  let bare;
  /** @type {Awaited<ReturnType<typeof hosted>>} */
  let arena;
  before(async () => {
    [bare, arena] = await Promise.all([launch(BARE), hosted(server)]);
  });
  after(async () => {
    await bare?.close();
    await arena?.host.close();
  });

  test('from connect() to the first snapshot drawn', { timeout: 600_000 }, async () => {
    const way = await withoutUdp(server.port);
    try {
      /** @param {string} query @param {string} url @param {string} what @param {number} aim */
      const measure = async (query, url, what, aim) => {
        const context = await bare.newContext({ viewport: { width: 1200, height: 760 } });
        const values = [];
        for (let run = 0; run < 20; run++) {
          const page = await Watched.open(context, `${url}/?sub=player-${++players}&code=${arena.code}${query}`, 200);
          await pause(100); // to look costs the page time as well
          values.push(await until(`the first snapshot drawn, ${what}`, () => page.since('muster:drawn')));
          await page.page.click('#game-leave'); // or its place would wait, and be drawn
          await page.view('lobbies');
          page.clean();
          await page.page.close();
        }
        await context.close();
        const [figure, best] = [median(values), Math.min(...values)];
        console.log(`${what}: median of 20 ${figure.toFixed(0)} ms, from ${best.toFixed(0)} to ${Math.max(...values).toFixed(0)} (aim: under ${aim})`);
        // Others on the machine make the median worse, and hardly the best: that one is held.
        assert.ok(best < 2 * aim, `${what}: ${best} ms at best`);
      };
      await measure('&transport=webtransport', server.url, 'WebTransport', 150);
      await measure('&transport=websocket', server.url, 'WebSocket', 60);
      await measure('', way.url, 'fallback with UDP blocked', 1_500);
    } finally {
      await way.close();
    }
  });

  test('a frame with 50 players, and the heap', { timeout: 900_000 }, async () => {
    const context = await bare.newContext({ viewport: { width: 1200, height: 760 } });
    const bots = spawn(BIN, ['play', '--url', `muster://127.0.0.1:${server.port}`, '--join', `code:${arena.code}`, '--bots', '47', '--seconds', String(LONG + 120), '--json', '--transport', 'websocket'], { stdio: 'ignore' });
    try {
      const page = await open(`&code=${arena.code}`, context);
      const all = async () => (await page.page.evaluate(() => document.body.dataset.bodies)) === '50';
      await until('50 players', all, 60_000);
      const cdp = await context.newCDPSession(page.page);
      await cdp.send('HeapProfiler.enable');
      const heap = async () => {
        await cdp.send('HeapProfiler.collectGarbage');
        return (await cdp.send('Runtime.getHeapUsage')).usedSize / 1e6;
      };
      const tick = async () => Number(await page.page.textContent('#o-tick'));
      await page.page.keyboard.down('ArrowRight');
      const began = await tick();
      await pause(LONG / 10 * 1000);
      const first = await heap();
      await page.page.screenshot({ path: join(ARTEFACTS, 'fifty-players.png') });
      const cost = Number.parseFloat((await page.page.textContent('#o-frame')) ?? '');
      console.log(`script per frame with 50 players: ${cost.toFixed(2)} ms (aim: under 4)`);
      await pause(LONG * 0.9 * 1000);
      const last = await heap();
      console.log(`heap after ${LONG / 10} s: ${first.toFixed(2)} MB, after ${LONG} s: ${last.toFixed(2)} MB (aim: within 2 MB)`);
      assert.ok(cost < 16, 'a frame has 16 ms');
      assert.ok(last - first < 2, 'the heap does not grow');
      assert.ok(await all(), 'all are still there');
      assert.ok((await tick()) - began > LONG * 20 * 0.8, 'they have played all the time');
      page.clean();
    } finally {
      bots.kill();
      await context.close();
    }
  });
});
