// The package as others get it: its size, its types, in a bundler, in Node.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

const client = fileURLToPath(new URL('..', import.meta.url));
/** @type {string} */
let folder;

before(() => (folder = mkdtempSync(join(tmpdir(), 'muster-client-'))));
after(() => rmSync(folder, { recursive: true }));

test('a bundle of all of it is at most 12 KB gzipped', async () => {
  const { outputFiles } = await build({ entryPoints: [join(client, 'index.js')], bundle: true, format: 'esm', minify: true, write: false });
  const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  console.log(`bundled, minified, gzipped: ${size} bytes`);
  assert.ok(size <= 12 * 1024, `${size} bytes`);
});

test('it has no runtime dependencies', () => {
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(client, 'package.json'), 'utf8'));
  assert.deepEqual([dependencies, peerDependencies], [undefined, undefined]);
  for (const file of readdirSync(client).filter((name) => name.endsWith('.js'))) {
    for (const [, from] of readFileSync(join(client, file), 'utf8').matchAll(/^(?:import|export) .*from '(.*)'/gm)) assert.match(from, /^\.\//);
  }
});

test('the packed package works in Node and type-checks strictly', () => {
  const run = (/** @type {string} */ command, /** @type {string[]} */ parameters, cwd = folder) =>
    execFileSync(command, parameters, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const tarball = run('npm', ['pack', '--silent', '--pack-destination', folder], client).trim().split('\n').at(-1);
  run('tar', ['xzf', String(tarball)]);
  const files = readdirSync(join(folder, 'package'));
  assert.deepEqual(files.filter((name) => /test|tsconfig/.test(name)), []);
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  writeFileSync(join(folder, 'use.mts'), `
    import { connect, MusterError, Prediction, codec } from 'muster-client';
    const muster = await connect('https://localhost', { ticket: async () => 'a', join: 'quick:arena' });
    const stop: () => void = muster.on('seated', ({ seat, tickHz }) => { const s: number | null = seat; const hz: number = tickHz; });
    muster.on('snapshot', ({ tick, state }) => { const t: number = tick; const bytes: Uint8Array = state; });
    for await (const line of muster.each('chat')) { const text: string = line.text; }
    const own = new Prediction((at: number, by: number) => at + by);
    const Body = codec.struct({ x: codec.u16, name: codec.str });
    const x: number = codec.decode(Body, new Uint8Array()).x;
    // @ts-expect-error no such event
    muster.on('nothing', () => {});
    try { await muster.join('code:ABCDEF'); } catch (e) { if (e instanceof MusterError) { const act: 'stop' | 'report' | 'retry' | 'resume' | 'new ticket' = e.act; } }
  `);
  run('mkdir', ['node_modules']);
  run('mv', ['package', 'node_modules/muster-client']);
  const tsc = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url));
  try {
    run(process.execPath, [tsc, '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', '--lib', 'es2022,dom,dom.iterable,dom.asynciterable', 'use.mts']);
  } catch (error) {
    assert.fail(/** @type {any} */ (error).stdout);
  }
  const printed = run(process.execPath, ['--input-type=module', '-e',
    `import { connect } from 'muster-client'; connect('ftp://x', { ticket: 'a' }).catch((e) => console.log(e.slug))`]);
  assert.equal(printed, 'bad-url\n');
});
