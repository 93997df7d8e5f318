/**
 * Transmission downloads from our seed and seeds for us. It refuses peers at 127.0.0.0/8, so this runs in a network
 * namespace of its own, whose loopback device has one more address.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { digestHex } from '#oci';
import { encodeMetainfo } from '#torrent';
import { fixedTracker, transmission, transmissionSeed } from '../support/bittorrent-clients.ts';
import { needs } from '../support/debian.ts';
import { makeBlob, makeSwarm, memoryStore } from '../support/swarm.ts';

/** Of TEST-NET-1 (RFC 5737), which is nobody's. */
const HOST = '192.0.2.1';
/** It gives to one peer about 1 MB/s. */
const SIZE = 4 * 1024 * 1024 + 4321;
const INSIDE = 'SHOAL_TEST_IN_NAMESPACE';
const ENTER = `ip link set lo up && ip address add ${HOST}/32 dev lo && exec "$@"`;

if (process.env[INSIDE] === undefined) {
  await needs(t, ['transmission-cli', 'iproute2']);
  const self = fileURLToPath(import.meta.url);
  await t.spawn(
    'unshare',
    ['--net', '--', 'sh', '-c', ENTER, 'sh', process.execPath, self],
    { env: { ...process.env, [INSIDE]: '1' } },
    'in a network of its own',
  );
} else {
  t.test('transmission downloads from our seed', { timeout: 120_000 }, async (t) => {
    const blob = makeBlob(SIZE);
    const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-interop-'));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const seeder = await makeSwarm(t, { listen: { host: HOST, port: 0 } });
    seeder.seed(blob);
    const announce = await fixedTracker(t, [seeder], HOST);
    const torrent = path.join(folder, 'blob.torrent');
    await writeFile(
      torrent,
      encodeMetainfo(blob.metainfo, { announce: [announce], webSeeds: [], peers: [] }),
    );
    await transmission(t, torrent, folder);
    const got = await readFile(path.join(folder, digestHex(blob.metainfo.digest)));
    t.equal(createHash('sha256').update(got).digest('hex'), blob.sha256);
    t.ok(seeder.heard.outTo.agent >= blob.bytes.length, 'all bytes came from the swarm');
  });

  t.test('we complete from a seed of transmission alone', { timeout: 120_000 }, async (t) => {
    const blob = makeBlob(SIZE);
    const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-interop-'));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const torrent = path.join(folder, 'blob.torrent');
    await writeFile(torrent, encodeMetainfo(blob.metainfo, { announce: [], webSeeds: [], peers: [] }));
    await writeFile(path.join(folder, digestHex(blob.metainfo.digest)), blob.bytes);
    const seed = await transmissionSeed(HOST)(t, torrent, folder);
    const leecher = await makeSwarm(t, { listen: { host: HOST, port: 0 } });
    const store = memoryStore(blob);
    const download = leecher.download({ metainfo: blob.metainfo, store });
    download.addPeers([seed]);
    await download.completed;
    t.equal(createHash('sha256').update(store.bytes).digest('hex'), blob.sha256);
    t.equal(leecher.heard.inFrom.agent, blob.bytes.length);
  });
}
