/** The cache keeps to its size whoever pulls what, and nothing that is in use goes. */
import { createHash } from 'node:crypto';
import t from 'tap';
import { agentHere, originHere, pull, pushBlob, someBytes, until } from '../support/in-process.ts';

const MIB = 1024 * 1024;
const LIMIT = 12 * MIB;
const noFloor = { cacheFreeBytes: 0 };

/** Looks all the time; answers the most that counted. */
function watchDisk(agent: { metric(name: string): Promise<number> }): () => Promise<number> {
  let most = 0;
  let ended = false;
  const looking = (async () => {
    while (!ended) {
      most = Math.max(most, await agent.metric('shoal_cache_disk_bytes'));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  return async () => {
    ended = true;
    await looking;
    return most;
  };
}

t.test('many clients pull ten times the cache: never above the limit, no failed pull', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { ...noFloor, cacheSizeBytes: LIMIT });
  const digests: string[] = [];
  for (let index = 0; index < 20; index += 1) {
    digests.push(await pushBlob(origin.url, 'team/app', someBytes((1 + (index % 3)) * MIB)));
  }
  const stop = watchDisk(agent);
  const order = digests.flatMap((digest, index) => [digest, digests[(index * 7) % 20] ?? digest, digest]);
  const queue = order.values();
  const client = async (): Promise<void> => {
    for (const digest of queue) {
      const got = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
      t.equal(`sha256:${got.sha256}`, digest);
    }
  };
  await Promise.all([client(), client(), client()]);
  const most = await stop();
  t.ok(most <= LIMIT, `${most} of ${LIMIT} bytes at most`);
  t.ok((await agent.metric('shoal_cache_evictions_total')) > 0);
});

/** More than the buffers of a socket and of fetch take. */
const SLOW_SIZE = 40 * MIB;
t.test('a blob that a client reads slowly stays, and others wait for their room', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], {
    ...noFloor,
    cacheSizeBytes: 1.5 * SLOW_SIZE,
    waitForRoomMs: 300,
  });
  const [slow, other] = [
    await pushBlob(origin.url, 'team/app', someBytes(SLOW_SIZE)),
    await pushBlob(origin.url, 'team/app', someBytes(SLOW_SIZE)),
  ];
  const url = (digest: string): string => `${agent.url}/v2/team/app/blobs/${digest}`;
  await pull(url(slow));
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  const answer = await fetch(url(slow));
  const reader = answer.body?.getReader();
  const first = await reader?.read();

  const refused = await pull(url(other));
  t.equal(refused.status, 503);
  t.match(refused.bytes.toString(), /in use or pinned \(cache\.size\)/);
  t.equal(await agent.metric('shoal_cache_bytes'), SLOW_SIZE, 'it is still there');

  const hash = createHash('sha256').update(first?.value ?? '');
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read())
    hash.update(part.value);
  t.equal(`sha256:${hash.digest('hex')}`, slow, 'the slow client had all of it');
  await until(async () => (await pull(url(other))).status === 200);
  await until(async () => (await agent.metric('shoal_cache_bytes')) === SLOW_SIZE);
});

t.test('a last copy in the zone goes last', async (t) => {
  const origin = await originHere(t);
  const zone = 'eu1/rack1';
  const agent = await agentHere(t, [origin.url], { ...noFloor, cacheSizeBytes: LIMIT, zone });
  const neighbour = await agentHere(t, [origin.url], { ...noFloor, zone });
  const blobs: string[] = [];
  for (let index = 0; index < 5; index += 1) {
    blobs.push(await pushBlob(origin.url, 'team/app', someBytes(3 * MIB)));
  }
  const [alone = '', ...others] = blobs;
  const last = others.pop() ?? '';
  const fetched = new Map<string, number>();
  const get = async (from: typeof agent, digest: string): Promise<void> => {
    await pull(`${from.url}/v2/team/app/blobs/${digest}`);
    fetched.set(from.url, (fetched.get(from.url) ?? 0) + 1);
    await until(async () => (await from.metric('shoal_blob_fetch_seconds_count')) === fetched.get(from.url));
  };
  await get(agent, alone);
  for (const digest of others) {
    await get(agent, digest);
    await get(neighbour, digest);
  }
  await until(async () => {
    const { agents } = (await (await fetch(`${origin.url}/api/v1/agents`)).json()) as {
      agents: { blobs: number }[];
    };
    return agents.reduce((sum, one) => sum + one.blobs, 0) === 1 + 2 * others.length;
  });
  await get(agent, last);
  const evicted = (copies: string): Promise<number> =>
    agent.metric('shoal_cache_evictions_total', { copies });
  t.same([await evicted('others'), await evicted('last')], [2, 0], 'the oldest is the only copy in the zone');
});

t.test('a blob that is larger than the cache is served all the same, and leaves first', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { ...noFloor, cacheSizeBytes: 2 * MIB });
  const huge = await pushBlob(origin.url, 'team/app', someBytes(5 * MIB));
  const got = await pull(`${agent.url}/v2/team/app/blobs/${huge}`);
  t.equal(`sha256:${got.sha256}`, huge);
  await until(async () => (await agent.metric('shoal_cache_disk_bytes')) === 0);
});
