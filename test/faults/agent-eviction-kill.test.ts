/** kill -9 while the cache evicts: nothing wrong is served, nothing is forgotten in the account, and the limit holds afterwards. */
import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { pushBlob } from '../support/registry-client.ts';
import { startProgram } from '../support/shoal.ts';

const MIB = 1024 * 1024;
const LIMIT = 8 * MIB;
const BLOBS = 12;
const ROUNDS = 4;

async function sizeOfBlobs(data: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(path.join(data, 'blobs'), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    // What the agent removes meanwhile is gone.
    const stats = await stat(path.join(entry.parentPath, entry.name)).catch(() => undefined);
    bytes += (stats?.blocks ?? 0) * 512;
  }
  return bytes;
}

t.test('an agent that is killed while it evicts', async (t) => {
  const origin = await startProgram(t, 'origin');
  const agent = await startProgram(t, 'agent', [
    ...['--origin', origin.url, '--cache-size', `${LIMIT}B`, '--cache-free', 'off'],
  ]);
  const digests: string[] = [];
  for (let index = 0; index < BLOBS; index += 1) {
    digests.push(await pushBlob(origin.url, 'team/app', 63_000 + index, 2 * MIB));
  }
  const get = async (digest: string): Promise<string> => {
    const answer = await fetch(`${agent.url}/v2/team/app/blobs/${digest}`);
    const hash = createHash('sha256');
    for await (const chunk of answer.body ?? []) hash.update(chunk);
    return `sha256:${hash.digest('hex')}`;
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    let running = true;
    const pulling = (async () => {
      for (let turn = 0; running; turn += 1) {
        await Promise.all([0, 1, 2].map((step) => get(digests[(turn * 3 + step + round) % BLOBS] ?? '')));
      }
    })().catch(() => undefined);
    const evictions = 2 + round;
    while ((await agent.metric('shoal_cache_evictions_total')) < evictions) await delay(5);
    await agent.signal('SIGKILL');
    running = false;
    await pulling;
    await agent.restart();
    const counted = await agent.metric('shoal_cache_disk_bytes');
    t.ok(counted <= LIMIT, `${counted} bytes count after the restart`);
    for (const digest of digests) t.equal(await get(digest), digest);
    const [disk, account] = [await sizeOfBlobs(agent.data), await agent.metric('shoal_cache_disk_bytes')];
    t.ok(disk <= LIMIT + MIB, `${disk} bytes on disk, ${account} counted`);
  }
});
