// A shared drawing board on `relay`: no Rust, no server code. Open it in two tabs and draw. Everybody gets everything that was
// said, in one order, from the beginning; docs/games.md says how `relay` works.

import { codec, connect } from '../client/index.js';

const { bytes, i16, str, struct, u16, u32, u64, u8, union, vec } = codec;

// The bytes of `relay`.
const Input = struct({ need: u64, action: union({ Nothing: {}, Say: { data: bytes }, Finish: { data: bytes } }) });
const Event = union({ Said: { data: bytes }, Joined: {}, Left: {}, Absent: {}, Present: {} });
const Run = struct({ first: u64, entries: vec(struct({ tick: u32, seat: u16, event: Event })) });
const State = struct({ seed: u64, oldest: u64, next: u64, catchUp: Run, live: Run });

// What the players of this game say.
const Saying = union({ Line: { points: vec(i16) }, Clear: {} });

const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById('board'));
const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
const status = /** @type {HTMLElement} */ (document.getElementById('status'));

/** The rules of the game: what a saying does to the board. @param {number} seat @param {Uint8Array} data */
function apply(seat, data) {
  const saying = codec.decode(Saying, data);
  if (saying.kind === 'Clear') return context.clearRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = `hsl(${(18 + seat * 137.5) % 360} 65% 52%)`;
  context.lineWidth = 6;
  context.lineCap = context.lineJoin = 'round';
  context.beginPath();
  for (let at = 0; at + 1 < saying.points.length; at += 2) context.lineTo(saying.points[at], saying.points[at + 1]);
  context.stroke();
}

const player = sessionStorage.getItem('painter') ?? `painter-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
sessionStorage.setItem('painter', player);

async function ticket() {
  const response = await fetch(`/dev/ticket?sub=${player}&name=${player}`);
  if (!response.ok) throw new Error(`/dev/ticket answered ${response.status}`);
  return (await response.json()).ticket;
}

let need = 0;
let saidAt = 0;
/** @type {Uint8Array[]} what waits for its turn: one input per tick */
const sayings = [];
/** @type {number[]} the line under the pointer, not said yet */
let points = [];

const muster = await connect(location.origin, { ticket, join: 'quick:relay' }).catch((error) => {
  status.textContent = `Not connected: ${error.slug}`;
  throw error;
});
muster.on('lost', () => (status.textContent = 'Reconnecting'));
muster.on('open', ({ outcome }) => outcome !== 'Resumed' && forget());
muster.on('closed', ({ error }) => (status.textContent = `Not connected: ${error?.slug ?? 'left'}`));
muster.on('seated', forget);
muster.on('roster', ({ seats }) => {
  const here = seats.filter(({ connected }) => connected).length;
  status.textContent = `${here} ${here === 1 ? 'painter' : 'painters'} here, over ${muster.transport}`;
});

/** A new session has a new log. */
function forget() {
  need = 0;
  context.clearRect(0, 0, canvas.width, canvas.height);
}

muster.on('snapshot', ({ state }) => {
  const { oldest, catchUp, live } = codec.decode(State, state);
  const before = need;
  need = Math.max(need, Number(oldest)); // what has left the log is gone
  for (const run of [catchUp, live]) {
    const first = Number(run.first);
    if (first > need) continue; // a gap: the missing part comes
    for (const { seat, event } of run.entries.slice(need - first)) if (event.kind === 'Said') apply(seat, event.data);
    need = Math.max(need, first + run.entries.length);
  }
  sayLine();
  const next = sayings[0];
  const quiet = performance.now() - saidAt > 900;
  if (!next && need === before && !quiet) return;
  const action = next ? { kind: /** @type {const} */ ('Say'), data: next } : { kind: /** @type {const} */ ('Nothing') };
  if (!muster.input(codec.encode(Input, { need, action }))) return;
  sayings.shift();
  saidAt = performance.now();
});

/** Puts the line so far into one saying; the next one begins where it ends. */
function sayLine() {
  if (points.length < 4) return;
  sayings.push(codec.encode(Saying, { kind: 'Line', points }));
  points = points.slice(-2);
}

canvas.addEventListener('pointerdown', (event) => {
  canvas.setPointerCapture(event.pointerId);
  points = [];
});
canvas.addEventListener('pointermove', (event) => {
  if (!event.buttons || points.length >= 300) return;
  const scale = canvas.width / canvas.clientWidth;
  points.push(Math.round(event.offsetX * scale), Math.round(event.offsetY * scale));
});
canvas.addEventListener('pointerup', () => {
  sayLine();
  points = [];
});
document.getElementById('clear')?.addEventListener('click', () => sayings.push(codec.encode(Saying, { kind: 'Clear' })));
addEventListener('pagehide', () => muster.close());
