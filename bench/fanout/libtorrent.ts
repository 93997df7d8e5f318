import { createHash } from 'node:crypto';
import { mkdir, open, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Digest, parseDigest } from '#oci';
import { createMetainfo, encodeMetainfo, pieceLengthFor } from '#torrent';
import { content, contentDigest } from '../../test/support/content.ts';
import type { Outcome, Scenario } from '../fanout.ts';
import { watchCores } from '../measure/cores.ts';
import type { Network } from './network.ts';
import { createProcesses } from './processes.ts';

const script = fileURLToPath(new URL('./libtorrent-member.py', import.meta.url));
const PORT = 6881;

/** A libtorrent seed and downloaders that all know each other from the start. */
export async function runLibtorrent(scenario: Scenario, network: Network, folder: string): Promise<Outcome> {
  const processes = createProcesses();
  try {
    const torrents = await Promise.all(scenario.sizes.map((size, seed) => prepare(folder, seed, size)));
    const everybody = Array.from(
      { length: scenario.nodes + 1 },
      (_, index) => `${network.address(index)}:${PORT}`,
    );
    const member = (mode: string, index: number, data: string) =>
      processes.start(network.namespace(index), '/usr/bin/python3', [
        ...[script, mode, `${network.address(index)}:${PORT}`, data, torrents.join(','), everybody.join(',')],
      ]);
    const seed = member('seed', 0, path.join(folder, 'seed'));
    if (!seed.stdout) throw new Error('no output');
    const seedLines = createInterface({ input: seed.stdout })[Symbol.asyncIterator]();
    await seedLines.next();

    const coresUsed = await watchCores();
    const started = performance.now();
    const half = (scenario.sizes.reduce((sum, size) => sum + size, 0) / scenario.bytesPerSecond / 2) * 1000;
    const pull = async (index: number): Promise<number | undefined> => {
      await delay((index - 1) * scenario.staggerSeconds * 1000);
      const from = performance.now();
      const data = path.join(folder, `node${index}`);
      await mkdir(data);
      const child = member('download', index, data);
      if (index > scenario.nodes - scenario.kill) setTimeout(() => child.kill('SIGKILL'), half);
      if (!child.stdout) throw new Error('no output');
      for await (const line of createInterface({ input: child.stdout })) {
        if (line === 'complete') return (performance.now() - from) / 1000;
      }
      return undefined;
    };
    const nodes = Array.from({ length: scenario.nodes }, (_, index) => index + 1);
    const seconds = await Promise.all(nodes.map(pull));
    const total = (performance.now() - started) / 1000;
    const cores = await coresUsed();
    seed.stdin?.end();
    const { value } = (await seedLines.next()) as { value?: string };
    return { seconds, total, cores, seedBytes: Number(value?.replace('uploaded ', '')) };
  } finally {
    await processes.close();
  }
}

/** Writes the blob where the seed looks for it, and its torrent; answers with the torrent's path. */
async function prepare(folder: string, seed: number, size: number): Promise<string> {
  const digest: Digest = parseDigest(contentDigest(seed, size));
  const data = path.join(folder, 'seed');
  await mkdir(data, { recursive: true });
  const handle = await open(path.join(data, digest.slice('sha256:'.length)), 'w');
  const length = pieceLengthFor(size);
  const hashes: Buffer[] = [];
  let pending = Buffer.alloc(0);
  const cut = (all: boolean): void => {
    while (pending.length >= length || (all && pending.length > 0)) {
      hashes.push(createHash('sha1').update(pending.subarray(0, length)).digest());
      pending = pending.subarray(length);
    }
  };
  for (const chunk of content(seed, size)) {
    await handle.write(chunk);
    pending = Buffer.concat([pending, chunk]);
    cut(false);
  }
  cut(true);
  await handle.close();
  const torrent = path.join(folder, `${seed}.torrent`);
  await writeFile(
    torrent,
    encodeMetainfo(createMetainfo({ digest, length: size, pieces: Buffer.concat(hashes) })),
  );
  return torrent;
}
