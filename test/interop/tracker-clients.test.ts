/**
 * Ordinary BitTorrent clients that know nothing but the tracker: it tells them the origin's seed,
 * which here is a libtorrent session, and they complete the blob from it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { digestHex } from '#oci';
import type { PeerAddress } from '#swarm';
import { encodeMetainfo, type InfoHash } from '#torrent';
import { needs } from '../support/debian.ts';
import { metainfoOf } from '../support/metainfo.ts';
import { type TestTracker, trackerHere, until } from '../support/tracker.ts';

/** The announce URL of every torrent here carries it, and the tracker wants it. */
const PASSKEY = randomBytes(100).toString('base64url');

const libtorrentClient = fileURLToPath(new URL('../support/libtorrent-client.py', import.meta.url));
const SIZE = 700_000;

function run(t: Test, command: string, args: readonly string[]): ChildProcess {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] });
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  return child;
}

async function line(child: ChildProcess, pattern: RegExp): Promise<string> {
  if (!child.stdout) throw new Error('no output');
  for await (const text of createInterface({ input: child.stdout })) if (pattern.test(text)) return text;
  throw new Error(`the client ended without ${pattern}`);
}

/** A blob that one libtorrent session seeds, and its torrent with nothing but the given announce URL. */
async function seededBlob(
  t: Test,
  protocol: 'http' | 'udp',
): Promise<{
  tracker: TestTracker;
  torrent: string;
  folder: string;
  name: string;
  bytes: Buffer;
  infoHash: InfoHash;
}> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-tracker-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const bytes = randomBytes(SIZE);
  const metainfo = metainfoOf(bytes);
  const { infoHash } = metainfo;
  const blobs = new Map<InfoHash, PeerAddress[]>([[infoHash, []]]);
  const tracker = await trackerHere(t, blobs, { mayAnnounce: (_infoHash, passkey) => passkey === PASSKEY });
  const base = protocol === 'http' ? tracker.url : `udp://127.0.0.1:${tracker.udp.port}`;
  const announce = `${base}/announce?passkey=${PASSKEY}`;
  const write = async (name: string, urls: readonly string[]): Promise<string> => {
    const file = path.join(folder, name);
    await writeFile(file, encodeMetainfo(metainfo, { announce: urls, webSeeds: [], peers: [] }));
    return file;
  };
  const name = digestHex(metainfo.digest);
  await mkdir(path.join(folder, 'seed'));
  await writeFile(path.join(folder, 'seed', name), bytes);
  const quiet = await write('quiet.torrent', []);
  const seed = run(t, '/usr/bin/python3', [libtorrentClient, 'seed', quiet, path.join(folder, 'seed')]);
  const port = Number((await line(seed, /^listening /)).split(' ')[1]);
  blobs.set(infoHash, [{ host: '127.0.0.1', port, role: 'origin' }]);
  return { tracker, torrent: await write('blob.torrent', [announce]), folder, name, bytes, infoHash };
}

t.test('aria2 completes a blob from the seed that the tracker names', async (t) => {
  // Over HTTP: aria2 speaks to UDP trackers only while its DHT is on.
  await needs(t, ['aria2', 'python3-libtorrent']);
  const { tracker, torrent, folder, name, bytes } = await seededBlob(t, 'http');
  const target = path.join(folder, 'aria2');
  const flags = [
    '--no-conf',
    '--quiet',
    '--enable-dht=false',
    '--enable-dht6=false',
    '--bt-enable-lpd=false',
  ];
  const client = run(t, 'aria2c', [...flags, '--disable-ipv6', '--seed-time=0', '-d', target, torrent]);
  const [code] = await once(client, 'exit');
  t.equal(code, 0);
  t.ok((await readFile(path.join(target, name))).equals(bytes));
  t.match(await tracker.metrics.text(), /announces_total\{protocol="http",result="ok"\}/);
});

for (const protocol of ['http', 'udp'] as const) {
  t.test(`libtorrent completes a blob from the seed that the ${protocol} tracker names`, async (t) => {
    await needs(t, ['python3-libtorrent']);
    const { tracker, torrent, folder, name, bytes } = await seededBlob(t, protocol);
    const target = path.join(folder, 'libtorrent');
    await mkdir(target);
    const client = run(t, '/usr/bin/python3', [libtorrentClient, 'download', torrent, target]);
    await line(client, /^complete/);
    t.ok((await readFile(path.join(target, name))).equals(bytes));
    await until(() => tracker.tracker.stats().members === 1);
    t.match(await tracker.metrics.text(), `announces_total{protocol="${protocol}",result="ok"}`);
    client.stdin?.end();
    await once(client, 'exit');
  });
}
