// Runs page.js with what a browser gives to a page: its address, its cookies, a WebSocket that tells its origin. Prints the
// player, or why there is none. Arguments: the site, the muster; the browser's cookies are in the variable COOKIES.
import WebSocket from 'ws';

const [site, server] = process.argv.slice(2);
const Cookie = process.env.COOKIES;
const nodeFetch = globalThis.fetch;
// The session's cookie is HttpOnly: it goes along, and no script sees it.
globalThis.document = Object.assign(new EventTarget(), { cookie: Cookie.replace(/sessionid=[^;]*/, '') });
globalThis.fetch = (path, how) => nodeFetch(new URL(path, site), { ...how, headers: { ...how.headers, Cookie } });
globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { origin: site });
  }
};

const { play } = await import('./page.js');
try {
  const muster = await play(server);
  await new Promise((came) => muster.on('snapshot', came));
  console.log(muster.player);
  muster.close();
} catch (error) {
  console.log(`${error.code} ${error.slug}`);
}
