// What the browser tests stand on: the real server on a free port, and Debian's Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';
// @ts-expect-error it brings no types; what the client needs of it is the browser's WebSocket
import WebSocket from 'ws';

import { connect } from '../client/index.js';
import { writeSettings } from '../page/arena.js';

/** @import { Browser, BrowserContext, Page } from 'playwright-core' */

export const ARTEFACTS = fileURLToPath(new URL('../artefacts/', import.meta.url));
mkdirSync(ARTEFACTS, { recursive: true });

export const BIN = process.env.MUSTER_BIN ?? fileURLToPath(new URL('../../target/debug/muster', import.meta.url));

/** Seconds of the run in which the heap is watched; `MUSTER_LONG=1` makes it the ten minutes of the figure. */
export const LONG = process.env.MUSTER_LONG ? 600 : 30;
delete process.env.MUSTER_LONG; // a server that inherits it takes it for a setting that it does not know

/** @returns {Promise<number>} */
export async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, '127.0.0.1', () => done(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  await new Promise((done) => server.close(done));
  return port;
}

/** A running `muster serve --dev`. */
export class Server {
  /** @type {import('node:child_process').ChildProcess | null} */
  #process = null;
  log = '';

  /** @param {number} port @param {string[]} more */
  constructor(port, more) {
    this.port = port;
    this.more = more;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** @param {string[]} more parameters */
  static async start(...more) {
    const server = new Server(await freePort(), more);
    await server.start();
    return server;
  }

  async start() {
    const child = spawn(BIN, ['serve', '--dev', '--listen', `127.0.0.1:${this.port}`, ...this.more], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (this.log += text));
    child.on('error', (error) => (this.log += error));
    await until('the server is ready', async () => {
      assert.equal(child.exitCode, null, this.log);
      return (await fetch(`${this.url}/readyz`)).ok;
    }, 30_000);
  }

  async stop() {
    const child = this.#process;
    this.#process = null;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 8_000);
    await gone;
    clearTimeout(timer);
  }

  /** The sum of the samples of a metric whose labels hold all of these. @param {string} name @param {string[]} labels */
  async metric(name, ...labels) {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(name) && labels.every((label) => line.includes(label)));
    assert.ok(lines.length > 0, `there is a metric ${name} with ${labels}`);
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }
}

/**
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} holds
 * @param {number} [timeout]
 * @returns {Promise<NonNullable<T>>} what it gave once it was something
 */
export async function until(what, holds, timeout = 20_000) {
  const end = Date.now() + timeout;
  /** @type {unknown} */
  let last;
  for (;;) {
    try {
      last = await holds();
      if (last) return /** @type {NonNullable<T>} */ (last);
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`not within ${timeout} ms: ${what} (last: ${last})`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** @param {string[]} more parameters @returns {Promise<Browser>} */
export const launch = (...more) => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', ...more],
});

/**
 * An arena that goes on for an hour, whatever is collected in it. Its host needs no browser, and stands still.
 * @param {Server} server
 */
export async function hosted(server) {
  const ticket = async () => (await (await fetch(`${server.url}/dev/ticket?sub=host-of-${server.port}`)).json()).ticket;
  const host = await connect(server.url, { ticket, WebSocket, storage: null });
  try {
    await host.create({ game: 'arena', name: 'Hosted', capacity: 64, settings: writeSettings({ timeLimit: 3_600, targetScore: 10_000 }) });
    await host.start();
    await until('the host has a seat', () => host.snapshot);
    return { host, code: host.lobby?.code ?? '' };
  } catch (error) {
    await host.close(); // or the run would never end
    throw error;
  }
}

/** @param {number} ms */
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** A page that keeps account of everything that went wrong in it. */
export class Watched {
  /** @type {string[]} */
  faults = [];
  /** @type {string[]} */
  policy = [];

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    page.on('pageerror', (error) => this.faults.push(String(error)));
    page.on('console', (message) => {
      const text = message.text();
      if (/Content Security Policy|Content-Security-Policy/i.test(text)) this.policy.push(text);
      // What the network stack itself prints when a server is not there is no fault of the page.
      if (message.type() === 'error' && !/ERR_|Failed to load resource|WebSocket connection to/.test(text)) this.faults.push(text);
    });
  }

  /** @param {BrowserContext} context @param {string} url @param {number} [rest] ms between the opening of the tab and of the page */
  static async open(context, url, rest = 0) {
    const page = await context.newPage();
    const watched = new Watched(page);
    await pause(rest);
    await page.addInitScript(() => {
      addEventListener('securitypolicyviolation', (event) => console.error('Content Security Policy', event.violatedDirective, event.blockedURI));
      addEventListener('unhandledrejection', (event) => console.error('unhandled', String(event.reason)));
    });
    await page.goto(url);
    return watched;
  }

  /** @param {string} name of the view @param {number} [timeout] */
  view = (name, timeout) => until(`the view ${name}`, async () => (await this.page.evaluate(() => document.body.dataset.view)) === name, timeout);

  /** @returns {Promise<string>} */
  transport = () => this.page.evaluate(() => document.body.dataset.transport ?? '');

  /** From `connect()` to a mark of the page, in ms; null before. @param {'muster:open' | 'muster:drawn'} mark */
  since = (mark) => this.page.evaluate((mark) => {
    const [connect, reached] = ['muster:connect', mark].map((name) => performance.getEntriesByName(name)[0]);
    return reached ? reached.startTime - connect.startTime : null;
  }, mark);

  /** Where oneself is shown. @returns {Promise<number[]>} */
  place = () => this.page.evaluate(() => (document.body.dataset.place ?? '').split(',').map(Number));

  clean() {
    assert.deepEqual(this.faults, []);
    assert.deepEqual(this.policy, []);
  }
}
