/** Blobs through one agent: single flight, ranges, cache, damage. */
import { appendFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { agentHere, originHere, pull, pushBlob, pushImage, someBytes, until } from '../support/in-process.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

t.test('ten clients, one cold blob, one download', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const bytes = someBytes(4 * MIB + 123);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  const url = `${agent.url}/v2/team/app/blobs/${digest}`;
  const answers = await Promise.all(Array.from({ length: 10 }, () => pull(url)));
  for (const answer of answers) {
    t.equal(answer.status, 200);
    t.equal(`sha256:${answer.sha256}`, digest);
  }
  // The clients have all of it a moment before the disk has.
  await until(async () => (await agent.metric('shoal_blob_fetch_seconds_count')) > 0);
  t.equal(await agent.metric('shoal_blob_fetch_seconds_count'), 1);
  t.ok((await agent.metric('shoal_fetch_bytes_total')) < 1.5 * bytes.length, 'not once a client');
  t.equal(await agent.metric('shoal_mirror_bytes_total', { source: 'cache' }), 0);
  t.equal(await agent.metric('shoal_mirror_bytes_total'), 10 * bytes.length);

  const warm = await pull(url);
  t.equal(`sha256:${warm.sha256}`, digest);
  t.equal(await agent.metric('shoal_mirror_bytes_total', { source: 'cache' }), bytes.length);
  t.equal(await agent.metric('shoal_cache_blobs'), 1);
  t.equal(await agent.metric('shoal_cache_bytes'), bytes.length);
  t.equal(await agent.metric('shoal_blob_fetch_seconds_count'), 1);
});

t.test('ranges, on a running download and on a cached blob', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const bytes = someBytes(3 * MIB + 77);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  const url = `${agent.url}/v2/team/app/blobs/${digest}`;
  const size = bytes.length;
  const ranges: [string, number, number][] = [
    ['bytes=0-0', 0, 0],
    [`bytes=${2 * MIB - 5}-${2 * MIB + 5}`, 2 * MIB - 5, 2 * MIB + 5],
    ['bytes=1000000-', 1_000_000, size - 1],
    ['bytes=-100', size - 100, size - 1],
    [`bytes=5-${size + 999}`, 5, size - 1],
  ];
  const check = async (): Promise<void> => {
    await Promise.all(
      ranges.map(async ([range, start, end]) => {
        const answer = await pull(url, { range });
        t.equal(answer.status, 206, range);
        t.equal(answer.headers.get('content-range'), `bytes ${start}-${end}/${size}`);
        t.ok(answer.bytes.equals(bytes.subarray(start, end + 1)));
      }),
    );
  };
  await check();
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  await check();
  const whole = await pull(url, { range: 'lines=1-2' });
  t.equal(whole.status, 200, 'another unit is ignored');
  const beyond = await pull(url, { range: `bytes=${size}-` });
  t.equal(beyond.status, 416);
  t.equal(beyond.headers.get('content-range'), `bytes */${size}`);
  t.equal((await pull(url, { range: 'bytes=0-1,5-6' })).status, 400);
  t.equal((await pull(url, { range: 'bytes=0-1', 'if-range': '"other"' })).status, 200);
  t.equal((await pull(url, { 'if-none-match': `"${digest}"` })).status, 304);
});

t.test('a client that leaves does not stop the download', async (t) => {
  const origin = await originHere(t, { uploadRateBytesPerSecond: 4 * MIB });
  const agent = await agentHere(t, [origin.url]);
  const digest = await pushBlob(origin.url, 'team/app', someBytes(4 * MIB));
  const leaving = new AbortController();
  const answer = await fetch(`${agent.url}/v2/team/app/blobs/${digest}`, { signal: leaving.signal });
  await answer.body?.getReader().read();
  leaving.abort();
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
});

t.test('small and empty blobs', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  for (const bytes of [Buffer.alloc(0), someBytes(1), someBytes(256 * KIB)]) {
    const digest = await pushBlob(origin.url, 'team/app', bytes);
    const url = `${agent.url}/v2/team/app/blobs/${digest}`;
    for (const temperature of ['cold', 'warm']) {
      const answers = await Promise.all([pull(url), pull(url)]);
      for (const answer of answers) t.ok(answer.status === 200 && answer.bytes.equals(bytes), temperature);
    }
  }
  t.equal(await agent.metric('shoal_fetch_bytes_total', { from: 'origin', via: 'http' }), 256 * KIB + 1);
  t.equal(await agent.metric('shoal_fetch_bytes_total', { via: 'swarm' }), 0);
});

t.test('the cache survives a restart', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(MIB), someBytes(10)]);
  for (const digest of image.layers) await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 2);
  const again = await agent.restart();
  await origin.close();
  t.equal(await again.metric('shoal_cache_blobs'), 2);
  for (const digest of image.layers) {
    const answer = await pull(`${again.url}/v2/team/app/blobs/${digest}`);
    t.equal(`sha256:${answer.sha256}`, digest);
  }
  t.equal(await again.metric('shoal_fetch_bytes_total'), 0);
});

t.test('a cached file that changed is set aside and fetched again', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const digest = await pushBlob(origin.url, 'team/app', someBytes(MIB));
  const url = `${agent.url}/v2/team/app/blobs/${digest}`;
  await pull(url);
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  const name = digest.slice('sha256:'.length);
  const files = await readdir(agent.data, { recursive: true });
  const file = files.find((entry) => path.basename(entry) === name);
  if (file === undefined) throw new Error('the cached file was not found');
  await appendFile(path.join(agent.data, file), 'damage');
  const answer = await pull(url);
  t.equal(`sha256:${answer.sha256}`, digest);
  t.equal(await agent.metric('shoal_mirror_bytes_total', { source: 'cache' }), 0);
});

t.test('the least recently used blobs leave a full cache', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { cacheSizeBytes: 3 * MIB });
  const digests: string[] = [];
  for (let index = 0; index < 5; index += 1) {
    const digest = await pushBlob(origin.url, 'team/app', someBytes(MIB));
    digests.push(digest);
    t.equal(`sha256:${(await pull(`${agent.url}/v2/team/app/blobs/${digest}`)).sha256}`, digest);
  }
  await until(async () => (await agent.metric('shoal_cache_bytes')) <= 3 * MIB);
  const before = await agent.metric('shoal_fetch_bytes_total');
  await pull(`${agent.url}/v2/team/app/blobs/${digests.at(-1)}`);
  t.equal(await agent.metric('shoal_fetch_bytes_total'), before, 'the newest is still there');
  const evicted = await pull(`${agent.url}/v2/team/app/blobs/${digests[0]}`);
  t.equal(`sha256:${evicted.sha256}`, digests[0], 'the oldest comes again');
  t.ok((await agent.metric('shoal_fetch_bytes_total')) > before);
});
