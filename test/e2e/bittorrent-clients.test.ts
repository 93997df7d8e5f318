/**
 * Ordinary BitTorrent clients work with what `shoal torrent` writes: they download a layer from the
 * origin's swarm, and an agent completes a blob that only libtorrent seeds. Runs in a network
 * namespace of its own, because transmission takes no peers at 127.0.0.0/8.
 */
import { execFile } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { encodeMetainfo, type Metainfo, parseMetainfo } from '#torrent';
import { aria2, libtorrent, libtorrentSeed, transmission } from '../support/bittorrent-clients.ts';
import { content, digestOf } from '../support/content.ts';
import { needs } from '../support/debian.ts';
import { pullBlob, pushBlob } from '../support/registry-client.ts';
import { startProgram } from '../support/shoal.ts';

const run = promisify(execFile);
const shoal = fileURLToPath(new URL('../../bin/shoal', import.meta.url));
const SIZE = 24 * 1024 ** 2 + 12_345;
/** Of TEST-NET-1 (RFC 5737), which is nobody's. */
const HOST = '192.0.2.1';
const INSIDE = 'SHOAL_TEST_IN_NAMESPACE';
const ENTER = `ip link set lo up && ip address add ${HOST}/32 dev lo && exec "$@"`;

if (process.env[INSIDE] === undefined) {
  await needs(t, ['aria2', 'transmission-cli', 'python3-libtorrent', 'iproute2']);
  const args = ['--net', '--', 'sh', '-c', ENTER, 'sh', process.execPath, fileURLToPath(import.meta.url)];
  await t.spawn('unshare', args, { env: { ...process.env, [INSIDE]: '1' } }, 'in a network of its own');
} else {
  for (const [name, download] of Object.entries({ aria2, transmission, libtorrent })) {
    t.test(`${name} downloads a layer from the swarm of the origin`, async (t) => {
      const folder = await folderOf(t);
      const origin = await startProgram(t, 'origin', ['--admission', 'open'], HOST);
      const digest = await pushBlob(origin.url, 'team/app', 21, SIZE);
      const { file } = await torrentFile(t, folder, origin.url, digest);
      await download(t, file, folder);
      const got = await digestOf(createReadStream(path.join(folder, digest.slice('sha256:'.length))));
      t.same(got, { digest, size: SIZE });
      const sent = (via: string): Promise<number> =>
        origin.metric('shoal_origin_blob_bytes_total', { direction: 'out', via });
      t.ok((await sent('swarm')) >= SIZE, 'the swarm sent it');
      t.equal(await sent('http'), 0, 'HTTP sent nothing');
    });
  }

  t.test('an agent completes a blob from a libtorrent seed alone', async (t) => {
    const folder = await folderOf(t);
    const origin = await startProgram(t, 'origin', ['--peer-listen', 'off', '--bittorrent-listen', 'off']);
    const agent = await startProgram(t, 'agent', ['--origin', origin.url]);
    const digest = await pushBlob(origin.url, 'team/app', 22, SIZE);
    const { file, metainfo } = await torrentFile(t, folder, origin.url, digest);
    await writeFile(path.join(folder, digest.slice('sha256:'.length)), Readable.from(content(22, SIZE)));
    await libtorrentSeed(t, file, folder);
    await untilSeeded(origin.url, metainfo);

    t.same(await pullBlob(agent.url, 'team/app', digest), { status: 200, digest, size: SIZE });
    t.equal(
      await origin.metric('shoal_origin_blob_bytes_total', { direction: 'out' }),
      0,
      'nothing came from the origin',
    );
    const bySwarm = await agent.metric('shoal_fetch_bytes_total', { from: 'peer', via: 'swarm' });
    t.ok(bySwarm >= SIZE, 'all came from the seed');
  });
}

/** The file that `shoal torrent` writes, without its web seed, so that only the swarm can serve it. */
async function torrentFile(
  t: Test,
  folder: string,
  origin: string,
  digest: string,
): Promise<{ file: string; metainfo: Metainfo }> {
  const file = path.join(folder, 'layer.torrent');
  await run(shoal, ['torrent', digest, '--name', 'team/app', '--origin', origin, '--output', file]);
  const metainfo = parseMetainfo(await readFile(file));
  t.ok(metainfo.sources.webSeeds.length > 0, 'the file names the blob as web seed');
  await writeFile(file, encodeMetainfo(metainfo, { ...metainfo.sources, webSeeds: [] }));
  return { file, metainfo };
}

/** Waits until the tracker counts a seed. */
async function untilSeeded(origin: string, metainfo: Metainfo): Promise<void> {
  const hash = metainfo.infoHash.replace(/../g, '%$&');
  for (let attempt = 0; attempt < 300; attempt += 1) {
    const scrape = await (await fetch(`${origin}/scrape?info_hash=${hash}`)).text();
    if (/8:completei[1-9]/.test(scrape)) return;
    await delay(100);
  }
  throw new Error('the seed did not announce itself');
}

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-clients-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
