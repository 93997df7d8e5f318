import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { InfoHash } from '#torrent';
import { announce, putInventory, randomInfoHash, trackerHere, until } from '../support/tracker.ts';

const peerId = (): string => randomBytes(20).toString('hex');
const origin = { host: '127.0.0.1', port: 6881, role: 'origin' as const };

interface Listed {
  readonly agents: readonly { peerId: string; address: string | null; zone: string | null; blobs: number }[];
}
const list = async (url: string): Promise<Listed['agents']> =>
  ((await (await fetch(`${url}/api/v1/agents`)).json()) as Listed).agents;

const patch = (url: string, agent: string, body: object): Promise<Response> =>
  fetch(`${url}/api/v1/agents/${agent}`, { method: 'PATCH', body: JSON.stringify(body) });

t.test('agents that hold a blob are given out, before the origin, and listed', async (t) => {
  const [blob, other] = [randomInfoHash(), randomInfoHash()];
  const blobs = new Map([
    [blob, [origin]],
    [other, [origin]],
  ]);
  const tracker = await trackerHere(t, blobs);
  const agent = peerId();
  const caller = { infoHash: blob, peerId: peerId(), port: 7009 };
  const put = await putInventory(tracker.url, agent, { port: 7001, zone: 'eu1/rack7', blobs: [blob] });
  t.same([put.status, await put.json()], [200, { leaseSeconds: 60, heartbeatSeconds: 30 }]);
  t.same(await announce(tracker.url, caller), ['127.0.0.1:7001', '127.0.0.1:6881']);
  t.same(await announce(tracker.url, { ...caller, infoHash: other }), ['127.0.0.1:6881']);
  t.match(await list(tracker.url), [
    { peerId: agent, address: '127.0.0.1:7001', zone: 'eu1/rack7', blobs: 1 },
  ]);
  t.match(await tracker.metrics.text(), /^shoal_tracker_agents 1$/m);

  t.equal((await patch(tracker.url, agent, { add: [other], remove: [blob] })).status, 200);
  t.same(await announce(tracker.url, caller), ['127.0.0.1:6881']);
  t.same(await announce(tracker.url, { ...caller, infoHash: other }), ['127.0.0.1:7001', '127.0.0.1:6881']);

  const goodbye = await fetch(`${tracker.url}/api/v1/agents/${agent}`, { method: 'DELETE' });
  t.equal(goodbye.status, 204);
  t.same(await announce(tracker.url, { ...caller, infoHash: other }), ['127.0.0.1:6881']);
  t.same(await list(tracker.url), []);
});

t.test('an agent that announces is known by the address of its inventory', async (t) => {
  const blob = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[blob, []]]));
  const agent = peerId();
  await putInventory(tracker.url, agent, { port: 7001, host: 'node7.example', blobs: [] });
  await announce(tracker.url, { infoHash: blob, peerId: agent, port: 7777 });
  const caller = { infoHash: blob, peerId: peerId(), port: 7009 };
  t.same(await announce(tracker.url, caller), ['node7.example:7001']);
  t.same(
    await announce(tracker.url, { ...caller, compact: 1 }),
    ['127.0.0.1:7001'],
    'packed: where it spoke from',
  );
  // Once its inventory has the blob, the announced membership is replaced by it.
  await patch(tracker.url, agent, { add: [blob] });
  t.equal(tracker.tracker.stats().members, 1, 'the caller only');
  t.same(await announce(tracker.url, caller), ['node7.example:7001']);
});

t.test('an agent without a port only dials: it is listed, and given to nobody', async (t) => {
  const blob = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[blob, []]]));
  await putInventory(tracker.url, peerId(), { blobs: [blob] });
  t.same(await announce(tracker.url, { infoHash: blob, peerId: peerId(), port: 7009 }), []);
  t.match(await list(tracker.url), [{ address: null, blobs: 1 }]);
});

t.test('an agent that was killed and started again replaces the one that it was', async (t) => {
  const blob = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[blob, []]]));
  const [before, after] = [peerId(), peerId()];
  await putInventory(tracker.url, before, { port: 7001, blobs: [blob] });
  await putInventory(tracker.url, after, { port: 7001, blobs: [] });
  t.match(await list(tracker.url), [{ peerId: after }]);
  t.same(await announce(tracker.url, { infoHash: blob, peerId: peerId(), port: 7009 }), []);
});

t.test('a lease ends unless a heartbeat renews it', async (t) => {
  const blob = randomInfoHash();
  let now = 5_000_000;
  const tracker = await trackerHere(t, new Map([[blob, []]]), { now: () => now, sweepMs: 5 });
  const [quiet, alive] = [peerId(), peerId()];
  await putInventory(tracker.url, quiet, { port: 7001, blobs: [blob] });
  await putInventory(tracker.url, alive, { port: 7002, blobs: [blob] });
  now += 40_000;
  t.equal((await patch(tracker.url, alive, {})).status, 200);
  now += 30_000;
  await until(() => tracker.tracker.stats().agents === 1);
  t.same(await announce(tracker.url, { infoHash: blob, peerId: peerId(), port: 7009 }), ['127.0.0.1:7002']);
  t.equal((await patch(tracker.url, quiet, {})).status, 404, 'it must tell its whole inventory again');
  t.match(await list(tracker.url), [{ peerId: alive }]);
});

t.test('only the address that told an inventory may change it', async (t) => {
  const tracker = await trackerHere(t, new Map());
  const agent = peerId();
  await putInventory(tracker.url, agent, { port: 7001, blobs: [] });
  // Another address of the loopback network: its connections come from 127.0.0.2.
  const { Agent, request } = await import('undici');
  const dispatcher = new Agent({ localAddress: '127.0.0.2' });
  t.teardown(() => dispatcher.close());
  const url = `${tracker.url}/api/v1/agents/${agent}`;
  for (const [method, body] of [
    ['PUT', '{"port":9,"blobs":[]}'],
    ['PATCH', '{}'],
    ['DELETE', ''],
  ] as const) {
    const answer = await request(url, { method, body, dispatcher });
    t.same(
      [answer.statusCode, answer.headers['content-type']],
      [403, 'application/problem+json; charset=utf-8'],
      method,
    );
    await answer.body.dump();
  }
  t.match(await list(tracker.url), [{ address: '127.0.0.1:7001' }]);
});

t.test('bad inventories are refused with the reason, and nothing changes', async (t) => {
  const tracker = await trackerHere(t, new Map(), { limits: { agents: 1, held: 3 } });
  const agent = peerId();
  const blob = randomInfoHash();
  await putInventory(tracker.url, agent, { port: 7001, blobs: [blob] });
  const put = async (body: string, id = agent): Promise<string> => {
    const answer = await fetch(`${tracker.url}/api/v1/agents/${id}`, { method: 'PUT', body });
    const problem = (await answer.json()) as { status: number; detail: string };
    t.equal(problem.status, answer.status);
    return `${answer.status} ${problem.detail}`;
  };
  t.match(await put('{'), '400 the body is not JSON');
  t.match(await put('[]'), /^400 the body/);
  t.match(await put('{"port":0,"blobs":[]}'), /^400 port/);
  t.match(await put('{"port":70000,"blobs":[]}'), /^400 port/);
  t.match(await put('{"port":1.5,"blobs":[]}'), /^400 port/);
  for (const host of ['999.1.1.1', 'a b', '-x', 'a..b', 'x'.repeat(254), 'fe80::1%eth0', '1']) {
    t.match(await put(JSON.stringify({ port: 9, host, blobs: [] })), /^400 host/, host);
  }
  t.match(await put('{"port":9,"zone":"a//b","blobs":[]}'), /^400 zone/);
  t.match(await put('{"port":9,"blobs":["zz"]}'), /^400 blobs/);
  t.match(await put('{"port":9,"blobs":{"length":1}}'), /^400 blobs/);
  t.match(await put(`{"port":9,"blobs":[["${blob}"]]}`), /^400 blobs/);
  t.match(await put('{"port":9,"blobs":[],"surprise":1}'), /^400 the body.*surprise/);
  t.match(await put('{"port":9,"blobs":[]}', 'xyz'), '400 a peer id is 40 hex digits');
  t.match(await put('{"port":9,"blobs":[]}', peerId()), /^507/);
  const many = Array.from({ length: 4 }, randomInfoHash);
  t.match(await put(JSON.stringify({ port: 9, blobs: many })), /^507/);
  t.equal((await patch(tracker.url, agent, { add: many })).status, 507);
  t.equal(
    (await patch(tracker.url, agent, { add: many, remove: many })).status,
    507,
    'not held, so not freed',
  );
  t.match(await list(tracker.url), [{ peerId: agent, address: '127.0.0.1:7001', blobs: 1 }]);
});

t.test('whole inventories are taken at a bounded rate; heartbeats are not held up by them', async (t) => {
  let now = 1_000_000;
  // The burst is at least the largest inventory: 48 MiB, which the first ones eat up.
  const limits = { inventoryBytesPerSecond: 1024 ** 2 };
  const tracker = await trackerHere(t, new Map(), { now: () => now, limits });
  const early = peerId();
  t.equal((await putInventory(tracker.url, early, { port: 7001, blobs: [] })).status, 200);
  const huge = `{"port":7002,"blobs":[]${' '.repeat(24 * 1024 ** 2)}}`;
  const put = (id: string, body: string): Promise<Response> =>
    fetch(`${tracker.url}/api/v1/agents/${id}`, { method: 'PUT', body });
  t.equal((await put(peerId(), huge)).status, 200);
  const late = peerId();
  const refused = await put(late, huge);
  t.same([refused.status, refused.headers.get('retry-after')], [503, '2']);
  t.equal((await patch(tracker.url, early, {})).status, 200);
  now += 1_000;
  t.equal((await put(late, huge)).status, 200);
});

t.test('a body that is too large, of unknown length or cut off costs nothing', async (t) => {
  const tracker = await trackerHere(t, new Map());
  const { connect } = await import('node:net');
  const send = (head: string, end: boolean): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect(Number(new URL(tracker.url).port), '127.0.0.1');
      let answer = '';
      socket.on('data', (chunk) => {
        answer += chunk.toString();
        socket.destroy();
      });
      socket.on('error', () => undefined);
      socket.on('close', () => resolve(answer.split('\r\n', 1)[0] ?? ''));
      socket.write(`PUT /api/v1/agents/${peerId()} HTTP/1.1\r\nHost: x\r\n${head}\r\n\r\n`);
      if (end) socket.end();
    });
  t.match(await send('Content-Length: 60000000', false), /413/);
  t.match(await send('Transfer-Encoding: chunked', false), /411/);
  await send('Content-Length: 1000\r\n\r\n{"port":9', true);
  t.same(await list(tracker.url), []);
});

t.test('100,000 blobs in one inventory, and changes to it', async (t) => {
  const blobs: InfoHash[] = Array.from({ length: 100_000 }, randomInfoHash);
  const wanted = blobs[77_777] ?? randomInfoHash();
  const tracker = await trackerHere(t, new Map([[wanted, []]]));
  const agent = peerId();
  const began = performance.now();
  const answer = await putInventory(tracker.url, agent, { port: 7001, blobs });
  t.comment(`PUT of 100,000 blobs: ${Math.round(performance.now() - began)} ms`);
  t.equal(answer.status, 200);
  t.same(await announce(tracker.url, { infoHash: wanted, peerId: peerId(), port: 7009 }), ['127.0.0.1:7001']);
  t.equal((await patch(tracker.url, agent, { remove: blobs.slice(0, 90_000) })).status, 200);
  t.same(await announce(tracker.url, { infoHash: wanted, peerId: peerId(), port: 7009 }), []);
  t.match(await list(tracker.url), [{ blobs: 10_000 }]);
});
