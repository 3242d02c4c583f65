// The page: connects, and shows the lobbies, the lobby, or the game.

import { MusterError, connect } from '../client/index.js';
import { readScores, writeSettings } from './arena.js';
import { find, make, rows, say } from './dom.js';
import { Painter } from './draw.js';
import { ArenaGame, Controls } from './game.js';
import { words } from './words.js';

/** @import { Muster, Transport } from '../client/index.js' */

const query = new URLSearchParams(location.search);
const button = (/** @type {string} */ id) => find(id, HTMLButtonElement);
const input = (/** @type {string} */ id) => find(id, HTMLInputElement);

/** @type {Muster | null} */
let muster = null;
/** @type {ArenaGame | null} */
let game = null;
let attempt = 0;
const field = find('field', HTMLCanvasElement);
const painter = new Painter(field);
const controls = new Controls(field);

// ---- Who one is. A tab is a player; the name is kept for the next time. ----

const random = (/** @type {number} */ below) => crypto.getRandomValues(new Uint32Array(1))[0] % below;
const BIRDS = ['Heron', 'Wren', 'Swift', 'Plover', 'Finch', 'Kestrel', 'Siskin', 'Avocet', 'Linnet', 'Dipper'];
const player = query.get('sub') ?? sessionStorage.getItem('player') ?? `guest-${random(2 ** 32).toString(36)}`;
sessionStorage.setItem('player', player);
input('name').value = query.get('name') ?? localStorage.getItem('name') ?? `${BIRDS[random(BIRDS.length)]} ${1 + random(99)}`;

async function ticket() {
  const response = await fetch(`/dev/ticket?${new URLSearchParams({ sub: player, name: input('name').value })}`);
  if (!response.ok) throw new Error(`/dev/ticket answered ${response.status}`);
  return (await response.json()).ticket;
}

// ---- The connection ----

/** Whether the list of lobbies has come: before it, an invitation may still lead elsewhere. */
let listed = false;
/** Where to at an arrival: an invitation counts until it was followed. After a reload, it is back to the lobby. */
let invitation = query.get('code') ? `code:${query.get('code')}` : (query.get('join') ?? lastPlace());

/** The lobby this tab was in a moment ago, before it was reloaded. */
function lastPlace() {
  const [code, at] = (sessionStorage.getItem('place') ?? '').split(' ');
  sessionStorage.removeItem('place');
  return code && Date.now() - Number(at) < 15_000 ? `code:${code}` : '';
}

async function begin() {
  const own = ++attempt;
  muster?.close();
  endGame();
  pill('connecting', 'connecting');
  view('connecting');
  say(find('connecting-title', HTMLElement), 'Connecting');
  say(find('connecting-text', HTMLElement), 'Looking for the server.');
  button('again').hidden = true;
  for (const mark of ['muster:connect', 'muster:open', 'muster:drawn']) performance.clearMarks(mark);
  performance.mark('muster:connect');
  try {
    const transport = /** @type {Transport | null} */ (query.get('transport')) ?? 'auto';
    const made = await connect(location.origin, { ticket, join: () => invitation, transport });
    if (own !== attempt) return void made.close();
    listed = false;
    listen((muster = made));
  } catch (error) {
    if (own === attempt) stopped(/** @type {MusterError} */ (error));
  }
}

/** @param {Muster} made */
function listen(made) {
  const on = made.on.bind(made);
  const opened = () => {
    if (made !== muster) return;
    pill('open', made.transport === 'webtransport' ? 'WebTransport' : 'WebSocket');
    document.body.dataset.transport = made.transport ?? '';
    performance.mark('muster:open');
    notice('');
    show();
  };
  on('open', ({ outcome }) => {
    if (outcome !== 'Resumed') {
      endGame();
      find('chat', HTMLElement).replaceChildren();
    }
    opened();
  });
  on('lost', ({ error }) => {
    if (made !== muster) return;
    pill('lost', 'reconnecting');
    document.body.dataset.transport = '';
    notice(`${words(error)} Coming back.`);
  });
  on('closed', ({ error }) => made === muster && error && stopped(error));
  on('lobby', ({ code, status }) => {
    if (invitation) {
      invitation = '';
      history.replaceState(null, '', location.pathname);
    }
    document.body.dataset.code = code;
    // A game that runs seats whoever comes at once: its lobby would only flash up on the way.
    if (status.kind === 'Playing' && document.body.dataset.view === 'connecting') return void setTimeout(show, 200);
    show();
  });
  on('left', ({ reason }) => {
    endGame();
    find('chat', HTMLElement).replaceChildren();
    find('result', HTMLElement).hidden = true;
    if (reason === 'Kicked') notice('The host removed you from the lobby.');
    if (reason === 'Closed') notice('The lobby was closed.');
    show();
  });
  on('list', () => {
    listed = true;
    show();
  });
  on('seated', ({ game: name }) => {
    endGame();
    if (name !== 'arena') return notice(`This page shows the arena only, and this is ${name}.`);
    game = new ArenaGame(made, painter, controls);
    game.predicting = input('s-prediction').checked;
    game.interpolating = input('s-interpolation').checked;
    show();
  });
  let names = new Map();
  on('roster', ({ seats }) => (names = new Map(seats.map(({ seat, name }) => [seat, name]))));
  on('ended', ({ reason, result }) => {
    endGame();
    if (reason === 'Crashed') notice('The game failed on the server. You are back in the lobby.');
    find('result', HTMLElement).hidden = reason !== 'Finished';
    const rows = reason === 'Finished' ? readScores(result).slice(0, 10) : [];
    find('scores', HTMLElement).replaceChildren(...rows.map(({ seat, score }, place) =>
      make('li', {}, make('span', { text: `${place + 1}.` }), make('span', { className: 'what', text: names.get(seat) ?? '' }), make('b', { text: String(score) }))));
    show();
  });
  on('chat', ({ name, text }) => {
    const log = find('chat', HTMLElement);
    log.append(make('li', {}, make('b', { text: `${name}: ` }), make('span', { text })));
    while (log.childElementCount > 200) log.firstElementChild?.remove();
    log.scrollTop = log.scrollHeight;
  });
  opened();
  made.watch({ game: 'arena' }).catch(complain);
}

/** It is over, and does not come back by itself. @param {MusterError} error */
function stopped(error) {
  muster = null;
  endGame();
  pill('lost', 'not connected');
  document.body.dataset.transport = '';
  document.body.dataset.error = String(error.code || error.slug);
  say(find('connecting-title', HTMLElement), 'Not connected');
  say(find('connecting-text', HTMLElement), words(error));
  button('again').hidden = false;
  view('connecting');
  // An invitation to a lobby that is gone must not keep one out.
  if (error.code === 4404 || error.code >= 4500) invitation = '';
}

// ---- What is shown ----

function show() {
  if (!muster) return;
  if (game && muster.seated) return view('game');
  if (!muster.lobby) {
    if (invitation && !listed) return;
    showList(muster);
    return view('lobbies');
  }
  showLobby(muster);
  view('lobby');
}

/** @param {string} name */
function view(name) {
  const { body, activeElement } = document;
  if (body.dataset.view === name) return;
  const within = activeElement !== null && find(body.dataset.view ?? '', HTMLElement).contains(activeElement);
  body.dataset.view = name;
  controls.release();
  // What had the focus is hidden now: the keyboard goes on with what matters most here.
  if (name === 'game') field.focus({ preventScroll: true });
  else if (within) button(MAIN[name]).focus();
}

/** @type {Record<string, string>} */
const MAIN = { connecting: 'again', lobbies: 'quick', lobby: 'ready' };

/** @param {string} state @param {string} text */
function pill(state, text) {
  find('link', HTMLElement).dataset.state = state;
  say(find('link', HTMLElement), text);
}

/** @param {string} text */
function notice(text) {
  const line = find('notice', HTMLElement);
  line.hidden = text === '';
  say(line, text);
}

/** @param {unknown} error */
function complain(error) {
  if (!(error instanceof MusterError)) throw error;
  if (error.slug !== 'outcome-unknown') notice(words(error));
}

/** Does what was asked, and says what came of it. @param {(muster: Muster) => Promise<void>} ask */
async function attemptTo(ask) {
  notice('');
  if (!muster) return;
  try {
    await ask(muster);
  } catch (error) {
    complain(error);
  }
}

/** @param {Muster} muster */
function showList({ list }) {
  find('list-empty', HTMLElement).hidden = list.length > 0;
  rows(find('list', HTMLElement), list, ({ id }) => id, ({ id, name, players, capacity, playing, open }, row) => {
    if (!row) {
      const join = make('button', { text: 'Join', type: 'button', onclick: () => attemptTo((muster) => muster.join(`lobby:${id}`)) });
      join.setAttribute('aria-label', `Join ${name}`);
      row = make('li', {}, make('span', { className: 'what', text: name }, make('small')), join);
    }
    const [facts, join] = row.querySelectorAll('small, button');
    say(facts, `${players} of ${capacity}${playing ? ', playing' : ''}`);
    join.toggleAttribute('disabled', !open);
    return row;
  });
}

/** @param {Muster} muster */
function showLobby({ lobby, player, seated }) {
  if (!lobby) return;
  const host = lobby.host === player;
  const own = lobby.members.find((member) => member.player === player);
  const playing = lobby.status.kind === 'Playing';
  say(find('lobby-name-shown', HTMLElement), lobby.name);
  say(find('lobby-code', HTMLElement), lobby.code);
  const facts = [`${lobby.members.length} of ${lobby.capacity}`, lobby.public ? 'public' : 'by invitation only'];
  if (lobby.locked) facts.push('locked');
  if (playing && !seated) facts.push('a game is running');
  say(find('lobby-facts', HTMLElement), facts.join(' · '));
  rows(find('members', HTMLElement), lobby.members, (member) => member.player, (member, row) => {
    row ??= make('li', {}, make('span', { className: 'dot' }), make('span', { className: 'what' }, make('span'), make('small')),
      make('button', { className: 'small', text: 'Make host', type: 'button', onclick: () => attemptTo((muster) => muster.passHost(member.player)) }),
      make('button', { className: 'small', text: 'Remove', type: 'button', onclick: () => attemptTo((muster) => muster.kick(member.player)) }));
    const [name, facts] = row.querySelectorAll('.what > *');
    const said = [member.player === lobby.host && 'host', member.role === 'Spectator' && 'watches', !member.connected && 'reconnecting', member.ready && 'ready'];
    say(name, member.name);
    say(facts, said.filter(Boolean).join(' · ') || 'not ready');
    row.dataset.ready = String(member.ready);
    for (const button of row.querySelectorAll('button')) button.hidden = !host || member.player === player;
    return row;
  });
  button('ready').setAttribute('aria-pressed', String(own?.ready ?? false));
  say(button('ready'), own?.ready ? 'Not ready' : 'Ready');
  button('ready').disabled = playing;
  button('start').hidden = button('lock').hidden = !host;
  button('start').disabled = playing;
  button('lock').setAttribute('aria-pressed', String(lobby.locked));
  say(button('lock'), lobby.locked ? 'Unlock' : 'Lock');
}

function endGame() {
  game?.end();
  game = null;
  controls.release();
}

// ---- What one can do ----

/** @param {string} id @param {() => void} act */
const onSubmit = (id, act) => find(id, HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  act();
});

button('again').onclick = begin;
button('quick').onclick = () => attemptTo((muster) => muster.join('quick:arena'));
onSubmit('join', () => attemptTo((muster) => muster.join(`code:${input('code').value.trim().toUpperCase()}`)));
onSubmit('create', () => attemptTo((muster) => muster.create({
  game: 'arena',
  name: input('lobby-name').value,
  public: !input('private').checked,
  capacity: Number(input('capacity').value),
  settings: writeSettings({ timeLimit: Number(input('seconds').value) }),
})));
button('ready').onclick = () => attemptTo((muster) => muster.ready(button('ready').getAttribute('aria-pressed') !== 'true'));
button('start').onclick = () => attemptTo((muster) => muster.start());
button('lock').onclick = () => attemptTo((muster) => muster.lock(!muster.lobby?.locked));
for (const id of ['leave', 'game-leave']) button(id).onclick = () => attemptTo((muster) => muster.leave());
onSubmit('chat-form', () => attemptTo(async (muster) => {
  await muster.chat(input('chat-text').value);
  input('chat-text').value = '';
}));
button('copy').onclick = async () => {
  const link = `${location.origin}/?code=${muster?.lobby?.code}`;
  try {
    await navigator.clipboard.writeText(link);
    notice('The link is copied. Whoever opens it joins this lobby.');
  } catch {
    notice(`Whoever opens this joins the lobby: ${link}`);
  }
};
onSubmit('name-form', () => input('name').blur());
input('name').onchange = () => {
  localStorage.setItem('name', input('name').value);
  if (muster?.lobby) invitation = `code:${muster.lobby.code}`;
  void begin(); // the name stands in the ticket
};
input('s-prediction').onchange = () => game && (game.predicting = input('s-prediction').checked);
input('s-interpolation').onchange = () => game && (game.interpolating = input('s-interpolation').checked);
const transports = find('s-transport', HTMLSelectElement);
transports.value = query.get('transport') ?? 'auto';
transports.onchange = () => {
  muster?.use(/** @type {Transport | 'auto'} */ (transports.value));
  field.focus();
};
if (matchMedia('(max-width: 44rem)').matches) find('overlay', HTMLDetailsElement).open = false;

const root = document.documentElement;
const dark = matchMedia('(prefers-color-scheme: dark)');
/** @param {string | null} theme */
const wear = (theme) => {
  if (theme) root.dataset.theme = theme;
  painter.retheme();
};
button('theme').onclick = () => {
  const next = (root.dataset.theme ?? (dark.matches ? 'dark' : 'light')) === 'dark' ? 'light' : 'dark';
  localStorage.setItem('theme', next);
  wear(next);
};
dark.addEventListener('change', () => wear(null));
wear(localStorage.getItem('theme'));
input('lobby-name').value = `${input('name').value}'s lobby`;

// A reload keeps the place: the link is let go without a word, and the page that follows comes back as the same player. So
// the place of a closed tab waits as well, for the grace time. A page that is only put aside has its link back by itself.
addEventListener('pagehide', (event) => {
  if (event.persisted) return;
  if (muster?.lobby) sessionStorage.setItem('place', `${muster.lobby.code} ${Date.now()}`);
  else muster?.close();
});
// What only the first drawing has to do is done: the first picture waits for none of it.
painter.warm();
void begin();
