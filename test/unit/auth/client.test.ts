/** The client that answers challenges, against a token service that misbehaves. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import { withCredentials } from '#auth';
import { createHttpClient } from '#http';
import { listenHere } from '../../support/listen.ts';

const SECRET = 'eyJ-this-is-a-token';

/** A registry that wants a token, and its token service, which answers as it is told. */
async function registry(
  t: Test,
  tokens: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<string> {
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/token')) return tokens(request, response);
    const realm = `http://${request.headers.host}/token`;
    if (request.headers.authorization === `Bearer ${SECRET}`) return response.end('in');
    return response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="s"` }).end();
  });
  return listenHere(t, server);
}

async function client(t: Test) {
  const refusals: unknown[] = [];
  const http = withCredentials(await createHttpClient({}), {
    credentialsFor: () => ({ username: 'ann', password: 'pw-of-ann' }),
    onRefusal: (...refusal) => refusals.push(refusal),
  });
  t.teardown(() => http.close());
  return { http, refusals };
}

t.test('a refused log-in is told, and not repeated at once', async (t) => {
  let asked = 0;
  const url = await registry(t, (_request, response) => {
    asked += 1;
    response.writeHead(429).end();
  });
  const { http, refusals } = await client(t);
  for (let n = 0; n < 3; n += 1) {
    const answer = await http.request(`${url}/v2/team/app/manifests/v1`);
    t.equal(answer.status, 401);
    answer.body.resume();
  }
  t.same([asked, refusals], [1, [[new URL(url).host, 429]]]);
});

t.test('what is no token is refused without being quoted', async (t) => {
  const bodies = [
    `{"token": ${SECRET}}`,
    `{"token": ["${SECRET}"]}`,
    SECRET,
    `{"token":"${SECRET}","expires_in":"x"}`,
  ];
  for (const body of bodies) {
    const url = await registry(t, (_request, response) => response.end(body));
    const { http } = await client(t);
    const failed: unknown = await http.request(`${url}/v2/a/tags/list`).then(
      () => undefined,
      (error: unknown) => error,
    );
    t.match(failed, { message: 'the token service answered with what is no token' });
    for (const part of ['eyJ', 'pw-of-ann']) t.notOk(String((failed as Error).stack).includes(part), body);
  }
});

t.test('the right token opens, and the password travels only to the token service', async (t) => {
  const seen: (string | undefined)[] = [];
  const url = await registry(t, (request, response) => {
    seen.push(request.headers.authorization);
    response.end(JSON.stringify({ access_token: SECRET, expires_in: 60 }));
  });
  const { http } = await client(t);
  for (let n = 0; n < 2; n += 1) {
    const answer = await http.request(`${url}/v2/team/app/manifests/v1`);
    t.equal((await http.read(answer, 100)).toString(), 'in');
  }
  t.same(seen, [`Basic ${Buffer.from('ann:pw-of-ann').toString('base64')}`], 'one token for both');
});
