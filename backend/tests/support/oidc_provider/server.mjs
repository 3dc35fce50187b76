// Directories of the npm package oidc-provider at the addresses of Entra ID, for tests only:
//
//     node server.mjs PORT FILE            FILE: a certificate for localhost and its key, PEM
//
// PUT /{tid} makes a directory of an application's metadata and of people by their login names:
// {"client": {…}, "people": {"ursula": {"oid": …, "name": …}}}. A person's members are claims; one
// that is null is left out, and others stand instead of the right ones.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { json } from 'node:stream/consumers';

import Provider from 'oidc-provider';

const [port, file] = process.argv.slice(2);
const base = `https://localhost:${port}`;
const directories = new Map();
const CLAIMS = [
  'sub', 'tid', 'oid', 'ver', 'nbf', 'name', 'email', 'preferred_username', 'groups',
];

function directory(tid, { client, people }) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig' };
  const provider = new Provider(`${base}/${tid}/v2.0`, {
    clients: [client],
    jwks: { keys: [key] },
    claims: { openid: CLAIMS },
    scopes: ['openid', 'offline_access', 'profile', 'User.Read'],
    conformIdTokenClaims: false, // Entra's tell all in the ID token
    cookies: { keys: [randomUUID()] },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'HS256'] },
    features: { devInteractions: { enabled: true }, revocation: { enabled: true } },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    async findAccount(_, login) {
      const person = people[login];
      if (!person) return undefined;
      const right = { sub: login, tid, ver: '2.0', nbf: Math.floor(Date.now() / 1000) };
      const told = Object.entries({ ...right, ...person }).filter(([, value]) => value !== null);
      return { accountId: login, claims: async () => Object.fromEntries(told) };
    },
  });
  provider.proxy = false;
  return provider.callback();
}

async function answer(request, response) {
  const [, tid, ...rest] = new URL(request.url, base).pathname.split('/');
  if (request.method === 'PUT' && rest.length === 0) {
    directories.set(tid, directory(tid, await json(request)));
    response.writeHead(201).end();
    return;
  }
  const found = directories.get(tid);
  const path = request.url
    // Entra's keys lie beside the issuer, not below it,
    .replace(`/${tid}/discovery/v2.0/keys`, `/${tid}/v2.0/jwks`)
    // and it gives refresh tokens without asking each time.
    .replace(`/${tid}/v2.0/auth?`, `/${tid}/v2.0/auth?prompt=consent&`);
  if (!found || !path.startsWith(`/${tid}/v2.0/`)) {
    response.writeHead(404).end();
    return;
  }
  request.originalUrl = path; // by which the provider knows where it is mounted
  request.url = path.slice(`/${tid}/v2.0`.length);
  found(request, response);
}

const pem = readFileSync(file);
createServer({ key: pem, cert: pem }, (request, response) => {
  answer(request, response).catch((error) => response.writeHead(500).end(String(error)));
}).listen(Number(port), '127.0.0.1', () => console.log('ready.'));
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
