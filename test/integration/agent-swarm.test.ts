/** Several agents and an origin: who carries the bytes, and what happens when the origin is gone. */
import t from 'tap';
import {
  agentHere,
  originHere,
  pull,
  pushBlob,
  pushImage,
  someBytes,
  type TestAgent,
  until,
} from '../support/in-process.ts';
import { startProgram } from '../support/shoal.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

async function cached(agent: TestAgent, blobs: number): Promise<void> {
  await until(async () => (await agent.metric('shoal_cache_blobs')) === blobs);
}

t.test('the second and third agent take less than half from the origin', async (t) => {
  const origin = await originHere(t);
  const [first, second, third] = [
    await agentHere(t, [origin.url]),
    await agentHere(t, [origin.url]),
    await agentHere(t, [origin.url]),
  ];
  const layers = [someBytes(6 * MIB), someBytes(3 * MIB)];
  const image = await pushImage(origin.url, 'team/app', 'v1', layers);
  for (const agent of [first, second, third]) {
    await pull(`${agent.url}/v2/team/app/manifests/v1`);
    for (const digest of image.layers) {
      const answer = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
      t.equal(`sha256:${answer.sha256}`, digest);
    }
    await cached(agent, layers.length);
  }
  const size = layers.reduce((sum, layer) => sum + layer.length, 0);
  for (const agent of [second, third]) {
    const fromOrigin = await agent.metric('shoal_fetch_bytes_total', { from: 'origin' });
    const fromPeers = await agent.metric('shoal_fetch_bytes_total', { from: 'peer' });
    t.ok(fromOrigin < size / 2, `${fromOrigin} of ${size} bytes from the origin`);
    t.ok(fromPeers > size / 2, `${fromPeers} of ${size} bytes from peers`);
    t.ok((await agent.metric('shoal_mirror_bytes_total', { source: 'swarm' })) > size / 2);
  }
});

t.test('the origin dies in the middle of a pull, another agent has the blob', async (t) => {
  const origin = await originHere(t);
  const first = await agentHere(t, [origin.url]);
  const second = await agentHere(t, [origin.url], { downloadRateBytesPerSecond: 3 * MIB });
  const bytes = someBytes(8 * MIB);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  await pull(`${first.url}/v2/team/app/blobs/${digest}`);
  await cached(first, 1);

  const answer = await fetch(`${second.url}/v2/team/app/blobs/${digest}`);
  const reader = answer.body?.getReader();
  const chunks: Uint8Array[] = [];
  const begun = await reader?.read();
  if (begun?.value) chunks.push(begun.value);
  t.ok((await second.metric('shoal_cache_blobs')) === 0, 'in the middle');
  await origin.close();
  for (let next = await reader?.read(); next?.value; next = await reader?.read()) chunks.push(next.value);
  t.ok(Buffer.concat(chunks).equals(bytes));
});

t.test('the origin dies after the manifest: peers suffice', async (t) => {
  const origin = await originHere(t);
  const first = await agentHere(t, [origin.url]);
  const second = await agentHere(t, [origin.url]);
  const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(2 * MIB)]);
  const [digest] = image.layers;
  await pull(`${first.url}/v2/team/app/blobs/${digest}`);
  await cached(first, 1);
  // The second agent finds the first by the tracker, so it must have begun before the origin goes.
  const begun = await fetch(`${second.url}/v2/team/app/blobs/${digest}`);
  await begun.body?.getReader().read();
  await origin.close();
  await cached(second, 1);
  await second.restart().then(async (again) => {
    t.equal(`sha256:${(await pull(`${again.url}/v2/team/app/blobs/${digest}`)).sha256}`, digest);
  });
});

t.test(
  'nobody has the rest: the connection is cut, and the resumed request is answered at once',
  async (t) => {
    // In a process of its own: one that is closed finishes what streams.
    const origin = await startProgram(t, 'origin');
    const agent = await agentHere(t, [origin.url], {
      downloadRateBytesPerSecond: 2 * MIB,
      fallback: {
        stallMs: 60_000,
        firstPieceMs: 60_000,
        minRateBytesPerSecond: 0,
        progressDeadlineMs: 4_000,
      },
    });
    const bytes = someBytes(8 * MIB);
    const digest = await pushBlob(origin.url, 'team/app', bytes);
    const url = `${agent.url}/v2/team/app/blobs/${digest}`;
    const answer = await fetch(url);
    const reader = answer.body?.getReader();
    await reader?.read();
    await origin.signal('SIGKILL');
    await t.rejects(async () => {
      while (!(await reader?.read())?.done);
    });
    const resumed = await pull(url, { range: 'bytes=1000-' });
    t.equal(resumed.status, 503);
    t.match(JSON.parse(resumed.bytes.toString()), { errors: [{ code: 'UNAVAILABLE' }] });
    t.equal(await agent.metric('shoal_cache_blobs'), 0);
  },
);

t.test('pieces of an interrupted download are not fetched again', async (t) => {
  const origin = await originHere(t);
  const config = {
    downloadRateBytesPerSecond: 2 * MIB,
    fallback: { stallMs: 60_000, firstPieceMs: 60_000, minRateBytesPerSecond: 0 },
  };
  const agent = await agentHere(t, [origin.url], config);
  const bytes = someBytes(6 * MIB);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  const answer = await fetch(`${agent.url}/v2/team/app/blobs/${digest}`);
  const reader = answer.body?.getReader();
  let received = 0;
  while (received < 2 * MIB) received += (await reader?.read())?.value?.length ?? bytes.length;
  await reader?.cancel();
  t.equal(await agent.metric('shoal_cache_blobs'), 0, 'in the middle');
  const again = await agent.restart();
  t.equal(`sha256:${(await pull(`${again.url}/v2/team/app/blobs/${digest}`)).sha256}`, digest);
  const fetched = await again.metric('shoal_fetch_bytes_total');
  t.ok(fetched <= bytes.length - received + MIB, `${fetched} of ${bytes.length} bytes after the restart`);
});

t.test('without a swarm the origin serves ranges', async (t) => {
  const off = { peerListen: 'off', bittorrentListen: 'off' } as const;
  const origin = await originHere(t, off);
  const agent = await agentHere(t, [origin.url], off);
  const bytes = someBytes(20 * MIB);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  const answer = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
  t.equal(`sha256:${answer.sha256}`, digest);
  t.equal(await agent.metric('shoal_fetch_bytes_total', { from: 'origin', via: 'http' }), bytes.length);
  t.equal(await agent.metric('shoal_mirror_bytes_total', { source: 'origin' }), bytes.length);
});
