/** Bytes that rot in the cache without a trace in size or time. */
import { open, readdir, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import {
  agentHere,
  originHere,
  pull,
  pushBlob,
  someBytes,
  type TestAgent,
  until,
} from '../support/in-process.ts';

const SIZE = 2 * 1024 * 1024;

async function cachedFile(agent: TestAgent, digest: string): Promise<string> {
  const files = await readdir(agent.data, { recursive: true });
  const file = files.find((entry) => path.basename(entry) === digest.slice('sha256:'.length));
  if (file === undefined) throw new Error('the cached file was not found');
  return path.join(agent.data, file);
}

/** Changes one byte and puts the time back. */
async function rot(file: string): Promise<void> {
  const before = await stat(file);
  const handle = await open(file, 'r+');
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, 1000);
  byte.writeUInt8(byte.readUInt8(0) ^ 1, 0);
  await handle.write(byte, 0, 1, 1000);
  await handle.close();
  await utimes(file, before.atime, before.mtime);
}

t.test('the scrub sets a rotten and a vanished blob aside, keeps a good one', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { scrubRateBytesPerSecond: 100 * SIZE, scrubRestMs: 50 });
  const digests: string[] = [];
  for (let index = 0; index < 3; index += 1) {
    const digest = await pushBlob(origin.url, 'team/app', someBytes(SIZE));
    await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
    digests.push(digest);
  }
  const [rotten = '', vanished = '', good = ''] = digests;
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 3);
  await rot(await cachedFile(agent, rotten));
  await rm(await cachedFile(agent, vanished));
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);

  for (const digest of [rotten, vanished, good]) {
    const answer = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
    t.equal(`sha256:${answer.sha256}`, digest);
  }
  t.equal(await agent.metric('shoal_mirror_bytes_total', { source: 'cache' }), SIZE, 'only the good one');
});
