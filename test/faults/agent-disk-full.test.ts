/** A full disk: eviction is tried first, then the client is told, and the cache stays. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import {
  agentHere,
  makeFolder,
  originHere,
  pull,
  pushBlob,
  someBytes,
  until,
} from '../support/in-process.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;

t.test('an agent on a disk of 24 MiB', { skip: process.getuid?.() !== 0 && 'needs root' }, async (t) => {
  const data = await makeFolder(t);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', data]);
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { data });
  t.teardown(async () => {
    await agent.close();
    await run('umount', [data]);
  });
  const blob = (digest: string): string => `${agent.url}/v2/team/app/blobs/${digest}`;

  const digests: string[] = [];
  for (let index = 0; index < 4; index += 1) {
    const digest = await pushBlob(origin.url, 'team/app', someBytes(7 * MIB));
    digests.push(digest);
    t.equal(`sha256:${(await pull(blob(digest))).sha256}`, digest, 'older blobs made room');
  }
  await until(async () => (await agent.metric('shoal_blob_fetch_seconds_count')) === digests.length);
  const before = await agent.metric('shoal_cache_blobs');

  const huge = await pushBlob(origin.url, 'team/app', someBytes(30 * MIB));
  const refused = await pull(blob(huge));
  t.equal(refused.status, 507);
  t.match(refused.bytes.toString(), /ENOSPC/);
  t.equal(await agent.metric('shoal_cache_blobs'), before, 'the cache is intact');
  const newest = digests.at(-1) ?? '';
  t.equal(`sha256:${(await pull(blob(newest))).sha256}`, newest);
});
