/** Ordinary BitTorrent clients download from our seed and seed for us; only the swarm serves bytes. */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { digestHex } from '#oci';
import { encodeMetainfo } from '#torrent';
import {
  aria2,
  aria2Seed,
  type ClientDownload,
  type ClientSeed,
  fixedTracker,
  libtorrent,
  libtorrentSeed,
  webTorrent,
  webTorrentSeed,
} from '../support/bittorrent-clients.ts';
import { needs } from '../support/debian.ts';
import { makeBlob, makeSwarm, memoryStore } from '../support/swarm.ts';

const SIZE = 20 * 1024 * 1024 + 4321;

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-interop-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

interface Client {
  readonly debianPackages: readonly string[];
  readonly download: ClientDownload;
  readonly seed: ClientSeed;
}

/** Transmission is apart, in swarm-transmission.test.ts. */
const clients: Readonly<Record<string, Client>> = {
  aria2: { debianPackages: ['aria2'], download: aria2, seed: aria2Seed },
  libtorrent: { debianPackages: ['python3-libtorrent'], download: libtorrent, seed: libtorrentSeed },
  WebTorrent: { debianPackages: [], download: webTorrent, seed: webTorrentSeed },
};

for (const [name, { debianPackages, download, seed }] of Object.entries(clients)) {
  t.test(`${name} downloads from our seed`, async (t) => {
    await needs(t, debianPackages);
    const blob = makeBlob(SIZE);
    const folder = await folderOf(t);
    const seeder = await makeSwarm(t);
    seeder.seed(blob);
    const announce = await fixedTracker(t, [seeder]);
    const torrent = path.join(folder, 'blob.torrent');
    await writeFile(
      torrent,
      encodeMetainfo(blob.metainfo, { announce: [announce], webSeeds: [], peers: [] }),
    );
    await download(t, torrent, folder, seeder);
    const got = await readFile(path.join(folder, digestHex(blob.metainfo.digest)));
    t.equal(createHash('sha256').update(got).digest('hex'), blob.sha256);
    t.ok(seeder.heard.outTo.agent >= SIZE, 'all bytes came from the swarm');
  });

  t.test(`we complete from a seed of ${name} alone`, async (t) => {
    await needs(t, debianPackages);
    const blob = makeBlob(SIZE);
    const folder = await folderOf(t);
    const torrent = path.join(folder, 'blob.torrent');
    await writeFile(torrent, encodeMetainfo(blob.metainfo, { announce: [], webSeeds: [], peers: [] }));
    await writeFile(path.join(folder, digestHex(blob.metainfo.digest)), blob.bytes);
    const address = await seed(t, torrent, folder);

    const leecher = await makeSwarm(t);
    const store = memoryStore(blob);
    const ours = leecher.download({ metainfo: blob.metainfo, store });
    ours.addPeers([address]);
    await ours.completed;
    t.equal(createHash('sha256').update(store.bytes).digest('hex'), blob.sha256);
    t.equal(leecher.heard.inFrom.agent, SIZE);
  });
}
