/** Sharing with a content store whose files come, change and go as a test wants them to. */
import { execFile } from 'node:child_process';
import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import {
  agentHere,
  makeFolder,
  originHere,
  pull,
  pushBlob,
  someBytes,
  type TestAgent,
  until,
} from '../support/in-process.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;

async function contentOf(folder: string): Promise<(digest: string) => string> {
  await mkdir(path.join(folder, 'blobs/sha256'), { recursive: true });
  return (digest) => path.join(folder, 'blobs', digest.replace(':', '/'));
}

const url = (agent: TestAgent, digest: string): string => `${agent.url}/v2/team/app/blobs/${digest}`;
const shared = (agent: TestAgent, how: string): Promise<number> =>
  agent.metric('shoal_cache_shared_total', { how });
const fetches = async (agent: TestAgent, digest: string): Promise<number> => {
  const answer = await fetch(`${agent.url}/api/v1/pulls/${digest}`);
  return ((await answer.json()) as { pulls: unknown[] }).pulls.length;
};
const fileOf = (agent: TestAgent, digest: string): string => {
  const hex = digest.slice('sha256:'.length);
  return path.join(agent.data, 'blobs/sha256', hex.slice(0, 2), hex);
};

t.test('on one file system: a hard link, which outlives the other name', async (t) => {
  const content = await makeFolder(t);
  const at = await contentOf(content);
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { contentStore: content });
  const bytes = someBytes(3 * MIB);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  await pull(url(agent, digest));
  await writeFile(at(digest), bytes, { mode: 0o444 });
  await until(async () => (await shared(agent, 'linked')) === 1);
  const [ours, other] = [await stat(fileOf(agent, digest)), await stat(at(digest))];
  t.equal(ours.ino, other.ino);
  t.equal(other.mode & 0o777, 0o444, 'the other file is as it was');
  t.equal(`sha256:${(await pull(url(agent, digest))).sha256}`, digest);
  await rm(at(digest));
  t.equal(`sha256:${(await pull(url(agent, digest))).sha256}`, digest);
  t.equal(await fetches(agent, digest), 1, 'it was fetched once');
});

t.test('a damaged copy is not taken, and one that changes under a link is not served', async (t) => {
  const content = await makeFolder(t);
  const at = await contentOf(content);
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { contentStore: content });
  const bytes = someBytes(MIB);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  await writeFile(at(digest), someBytes(MIB));
  await pull(url(agent, digest));
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  const before = (await stat(fileOf(agent, digest))).ino;
  await rm(at(digest));
  await writeFile(at(digest), bytes);
  await until(async () => (await shared(agent, 'linked')) === 1);
  t.not((await stat(fileOf(agent, digest))).ino, before, 'only the good copy was taken');
  await writeFile(at(digest), someBytes(MIB));
  t.equal(`sha256:${(await pull(url(agent, digest))).sha256}`, digest, 'fetched again');
  t.equal(await fetches(agent, digest), 2);
});

t.test(
  'on another file system: read in place while it is there, then fetched again',
  {
    skip: process.getuid?.() !== 0 && 'needs root',
  },
  async (t) => {
    const content = await makeFolder(t);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', content]);
    t.teardown(() => run('umount', [content]));
    const at = await contentOf(content);
    const origin = await originHere(t);
    const agent = await agentHere(t, [origin.url], { contentStore: content });
    const [bytes, pinnedBytes] = [someBytes(3 * MIB), someBytes(3 * MIB)];
    const digest = await pushBlob(origin.url, 'team/app', bytes);
    const pinned = await pushBlob(origin.url, 'team/app', pinnedBytes);
    await fetch(`${agent.url}/api/v1/cache/pins/${pinned}`, { method: 'PUT' });
    await pull(url(agent, pinned));
    await pull(url(agent, digest));
    await writeFile(at(pinned), pinnedBytes);
    await writeFile(at(digest), bytes);
    await until(async () => (await shared(agent, 'borrowed')) === 1);
    await t.rejects(stat(fileOf(agent, digest)), { code: 'ENOENT' }, 'our copy is gone');
    t.equal(await agent.metric('shoal_cache_bytes'), 3 * MIB, 'only the pinned one takes room');
    t.equal(`sha256:${(await pull(url(agent, digest))).sha256}`, digest);
    const again = await agent.restart();
    t.equal(`sha256:${(await pull(url(again, digest))).sha256}`, digest, 'after a restart too');
    t.equal(await fetches(again, digest), 0);

    // Read by a client while it is collected: the open file stays whole.
    const answer = await fetch(url(again, digest));
    await rm(at(digest));
    t.equal(Buffer.compare(Buffer.from(await answer.arrayBuffer()), bytes), 0);
    t.equal(`sha256:${(await pull(url(again, digest))).sha256}`, digest, 'collected, fetched again');
    t.equal(await fetches(again, digest), 1);

    await writeFile(at(digest), bytes);
    await until(async () => (await shared(again, 'borrowed')) === 1);
    await writeFile(at(digest), someBytes(3 * MIB));
    t.equal(`sha256:${(await pull(url(again, digest))).sha256}`, digest, 'changed, fetched again');
    t.equal(await fetches(again, digest), 2);
  },
);
