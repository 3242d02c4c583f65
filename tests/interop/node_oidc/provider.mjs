// An identity provider as OpenID Connect has them: it publishes its keys, and signs access and ID tokens with `jose`.
// node provider.mjs 8005; SIGHUP makes it sign with a new key, while the old one stays published.
import { createServer } from 'node:http';
import { scryptSync, timingSafeEqual } from 'node:crypto';
import { SignJWT, calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose';

const scrambled = (password) => scryptSync(password, 'players', 32);
const users = new Map([
  ['ada', { id: 'u-1815', password: scrambled('correct horse'), disabled: false }],
  ['mallory', { id: 'u-1984', password: scrambled('battery staple'), disabled: true }],
]);
// What each application gets; a kiosk's token ends at once, so that nobody plays on with it.
const clients = new Map([['game', { seconds: 300 }], ['kiosk', { seconds: 1 }]]);

const keys = []; // the newest first
async function addKey(alg) {
  const { publicKey, privateKey } = await generateKeyPair(alg);
  const jwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(jwk);
  keys.unshift({ alg, kid, privateKey, jwk: { ...jwk, kid, alg, use: 'sig' } });
}
await addKey('ES256');

function sign(claims, typ, seconds) {
  const [{ alg, kid, privateKey }] = keys;
  const token = new SignJWT(claims).setProtectedHeader({ alg, kid, typ }).setIssuer(issuer);
  return token.setIssuedAt().setExpirationTime(`${seconds}s`).sign(privateKey);
}

async function token(form) {
  const user = users.get(form.get('username'));
  const client = clients.get(form.get('client_id'));
  const known = user && timingSafeEqual(user.password, scrambled(form.get('password') ?? ''));
  if (!known || !client || user.disabled) return [400, { error: 'invalid_grant' }];
  const name = form.get('username');
  const access = { sub: user.id, aud: form.get('resource') ?? 'game', preferred_username: name, scope: 'openid' };
  const id = { sub: user.id, aud: form.get('client_id'), nonce: form.get('nonce') ?? 'none', preferred_username: name };
  return [200, {
    token_type: 'Bearer',
    access_token: await sign(access, 'at+jwt', client.seconds),
    id_token: await sign(id, 'JWT', client.seconds),
  }];
}

async function answer(request) {
  if (request.method === 'GET' && request.url === '/.well-known/openid-configuration') {
    return [200, { issuer, jwks_uri: `${issuer}/jwks.json`, token_endpoint: `${issuer}/token` }];
  }
  if (request.method === 'GET' && request.url === '/jwks.json') return [200, { keys: keys.map((key) => key.jwk) }];
  if (request.method === 'POST' && request.url === '/token') {
    let body = '';
    for await (const piece of request) body += piece;
    return token(new URLSearchParams(body));
  }
  return [404, { error: 'not_found' }];
}

const server = createServer(async (request, response) => {
  const [status, body] = await answer(request).catch(() => [500, { error: 'server_error' }]);
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
});
await new Promise((listening) => server.listen(Number(process.argv[2] ?? 8005), '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
process.on('SIGHUP', () => addKey('RS256').then(() => console.log('signs with a new key')));
console.log(`serves at ${issuer}`);
