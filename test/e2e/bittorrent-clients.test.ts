/**
 * Ordinary BitTorrent clients work with what `shoal torrent` writes: they download a layer from the
 * origin's swarm, and an agent completes a blob that only libtorrent seeds.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { encodeMetainfo, type Metainfo, parseMetainfo } from '#torrent';
import { content, digestOf } from '../support/content.ts';
import { needs } from '../support/debian.ts';
import { pullBlob, pushBlob } from '../support/registry-client.ts';
import { freePort, startProgram } from '../support/shoal.ts';

const run = promisify(execFile);
const shoal = fileURLToPath(new URL('../../bin/shoal', import.meta.url));
const libtorrentClient = fileURLToPath(new URL('../support/libtorrent-client.py', import.meta.url));
const SIZE = 24 * 1024 ** 2 + 12_345;

/** The file that `shoal torrent` writes, without its web seed, so that only the swarm can serve it. */
async function torrentFile(
  folder: string,
  origin: string,
  name: string,
  digest: string,
): Promise<{ file: string; metainfo: Metainfo }> {
  const file = path.join(folder, 'layer.torrent');
  await run(shoal, ['torrent', digest, '--name', name, '--origin', origin, '--output', file]);
  const metainfo = parseMetainfo(await readFile(file));
  t.ok(metainfo.sources.webSeeds.length > 0, 'the file names the blob as web seed');
  await writeFile(file, encodeMetainfo(metainfo, { ...metainfo.sources, webSeeds: [] }));
  return { file, metainfo };
}

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-clients-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Waits for a line of a child's output; fails when the child ends before. */
async function line(child: ChildProcess, pattern: RegExp): Promise<string> {
  if (!child.stdout) throw new Error('no output');
  for await (const text of createInterface({ input: child.stdout })) {
    if (pattern.test(text)) return text;
  }
  throw new Error(`the client ended without ${pattern}`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}

const clients: Record<string, (t: Test, torrent: string, folder: string) => Promise<void>> = {
  async aria2(_t, torrent, folder) {
    const port = await freePort();
    const flags = ['--enable-dht=false', '--enable-dht6=false', '--bt-enable-lpd=false', '--seed-time=0'];
    await run(
      'aria2c',
      [
        ...flags,
        '--quiet',
        '--no-conf',
        '--disable-ipv6',
        `--listen-port=${port}`,
        '--allow-overwrite=true',
        '-d',
        folder,
        '-T',
        torrent,
      ],
      { timeout: 120_000 },
    );
  },
  async transmission(t, torrent, folder) {
    const config = path.join(folder, 'config');
    const done = path.join(folder, 'done.sh');
    const flag = path.join(folder, 'finished');
    await mkdir(config, { recursive: true });
    await writeFile(done, `#!/bin/sh\ntouch '${flag}'\n`, { mode: 0o755 });
    const port = await freePort();
    const child = spawn(
      'transmission-cli',
      [
        '--config-dir',
        config,
        '--download-dir',
        folder,
        '--port',
        String(port),
        '--no-portmap',
        '--no-downlimit',
        '--no-uplimit',
        '--finish',
        done,
        torrent,
      ],
      { stdio: 'ignore' },
    );
    t.teardown(() => stop(child));
    for (let attempt = 0; attempt < 1200; attempt += 1) {
      if (
        await readFile(flag).then(
          () => true,
          () => false,
        )
      )
        break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await stop(child);
  },
  async libtorrent(t, torrent, folder) {
    const child = spawn('/usr/bin/python3', [libtorrentClient, 'download', torrent, folder], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.teardown(() => stop(child));
    await line(child, /^complete$/);
  },
};

t.test('clients download a layer from the swarm of the origin', async (t) => {
  await needs(t, ['aria2', 'transmission-cli', 'python3-libtorrent']);
  for (const [name, download] of Object.entries(clients)) {
    await t.test(name, async (t) => {
      const folder = await folderOf(t);
      const origin = await startProgram(t, 'origin');
      const digest = await pushBlob(origin.url, 'team/app', 21, SIZE);
      const { file } = await torrentFile(folder, origin.url, 'team/app', digest);
      await download(t, file, folder);
      const got = await digestOf(createReadStream(path.join(folder, digest.slice('sha256:'.length))));
      t.same(got, { digest, size: SIZE });
      const bySwarm = await origin.metric('shoal_origin_blob_bytes_total', {
        direction: 'out',
        via: 'swarm',
      });
      const byHttp = await origin.metric('shoal_origin_blob_bytes_total', { direction: 'out', via: 'http' });
      t.ok(bySwarm >= SIZE, `the swarm sent ${bySwarm} bytes`);
      t.equal(byHttp, 0, 'HTTP sent none');
    });
  }
});

t.test('an agent completes a blob from a libtorrent seed alone', async (t) => {
  await needs(t, ['python3-libtorrent']);
  const folder = await folderOf(t);
  const origin = await startProgram(t, 'origin', ['--bittorrent-listen', 'off']);
  const agent = await startProgram(t, 'agent', ['--origin', origin.url]);
  const digest = await pushBlob(origin.url, 'team/app', 22, SIZE);
  const { file, metainfo } = await torrentFile(folder, origin.url, 'team/app', digest);
  await writeFile(path.join(folder, digest.slice('sha256:'.length)), Readable.from(content(22, SIZE)));

  const seed = spawn('/usr/bin/python3', [libtorrentClient, 'seed', file, folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => stop(seed));
  await line(seed, /^complete$/);
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const scrape = await fetch(`${origin.url}/scrape?info_hash=${metainfo.infoHash.replace(/../g, '%$&')}`);
    if (/8:completei[1-9]/.test(await scrape.text())) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }

  t.same(await pullBlob(agent.url, 'team/app', digest), { status: 200, digest, size: SIZE });
  t.equal(
    await origin.metric('shoal_origin_blob_bytes_total', { direction: 'out' }),
    0,
    'nothing came from the origin',
  );
  t.ok(
    (await agent.metric('shoal_fetch_bytes_total', { from: 'peer', via: 'swarm' })) >= SIZE,
    'all came from the seed',
  );
});
