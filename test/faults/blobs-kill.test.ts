/** A store whose process is killed keeps what it acknowledged and serves nothing that is wrong. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parseDigest } from '#oci';
import { digestOf } from '../support/content.ts';
import { openTestStore } from '../support/store.ts';

const child = fileURLToPath(new URL('../support/store-child.ts', import.meta.url));

/** Runs the child until it acknowledged some blobs and a little more, then kills it. */
async function storeUntilKilled(root: string, seed: number): Promise<string[]> {
  const running = spawn(process.execPath, [child, root, String(seed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const digests: string[] = [];
  for await (const line of createInterface({ input: running.stdout })) {
    digests.push(line);
    if (digests.length === 3 + (seed % 5)) setTimeout(() => running.kill('SIGKILL'), seed % 23);
  }
  if (running.signalCode === null) await once(running, 'exit');
  return digests;
}

t.test('acknowledged blobs survive kill -9', async (t) => {
  const root = await mkdtemp(path.join(os.tmpdir(), 'shoal-kill-'));
  const acknowledged: string[] = [];
  for (const seed of [100, 207, 311, 418]) acknowledged.push(...(await storeUntilKilled(root, seed)));
  t.ok(acknowledged.length >= 12, `${acknowledged.length} blobs were acknowledged`);

  const store = await openTestStore(t, root);
  for (const digest of acknowledged) {
    const reader = await store.blobs.open(parseDigest(digest));
    t.equal(reader && (await digestOf(reader.stream())).digest, digest);
    await reader?.close();
  }
  let listed = 0;
  for await (const { digest } of store.blobs.list()) {
    const reader = await store.blobs.open(digest);
    t.equal(reader && (await digestOf(reader.stream())).digest, digest, 'what is listed is right');
    await reader?.close();
    listed += 1;
  }
  t.equal(store.blobs.totals().blobs, listed);
});
