/**
 * A cluster of real processes: its key is made, an origin and two agents start, the agents join with a token and
 * pull through the swarm by libp2p alone, while ordinary BitTorrent clients that know everything but a passkey get
 * nothing. The origin is killed and comes back, memberships are renewed, one is revoked.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { encodeMetainfo } from '#torrent';
import { makeBlob } from '../integration/swarm-support.ts';
import { needs } from '../support/debian.ts';
import { pull, pushBlob } from '../support/in-process.ts';
import { type Program, runShoal, startProgram } from '../support/shoal.ts';

await needs(t, ['aria2', 'python3-libtorrent']);

const libtorrentClient = fileURLToPath(new URL('../support/libtorrent-client.py', import.meta.url));
const SIZE = 3_000_000;

interface Standing {
  readonly cluster: { readonly memberUntil: string | null; readonly problem: string | null };
  readonly swarm: { readonly peerListen: string };
}

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-cluster-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const statusOf = async ({ url }: Program): Promise<Standing> =>
  (await (await fetch(`${url}/api/v1/status`)).json()) as Standing;

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds().catch(() => false))) await new Promise((resolve) => setTimeout(resolve, 50));
}

/** Bytes other than zero that a client has written below the folder, its own notes apart. */
async function bytesBelow(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true })) {
    const file = path.join(folder, entry);
    if (!/\.(?:torrent|aria2)$/.test(entry) && (await stat(file)).isFile()) {
      bytes += (await readFile(file)).filter((byte) => byte !== 0).length;
    }
  }
  return bytes;
}

t.test('init, join, pull, strangers, restart, renewal, revocation', async (t) => {
  const folder = await folderOf(t);
  const shoal = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await runShoal(args);
    t.equal(code, 0, `shoal ${args.slice(0, 2).join(' ')} ${stderr}`);
    return stdout;
  };
  const key = path.join(folder, 'cluster.key');
  const made = JSON.parse(await shoal('cluster', 'init', '--data', folder, '--json'));
  t.match(made, { file: key, created: true });
  t.equal((await stat(key)).mode & 0o777, 0o600);
  const text = await readFile(key, 'utf8');
  t.match(await shoal('cluster', 'init', '--data', folder), /was there already/);
  t.equal(await readFile(key, 'utf8'), text, 'it stays');
  const token = await shoal('cluster', 'join-token', '--data', folder, '--uses', '2');
  const tokenFile = path.join(folder, 'token');
  await writeFile(tokenFile, token, { mode: 0o600 });

  const members = ['--admission', 'token', '--peer-listen', '127.0.0.1:0', '--bittorrent-listen', 'off'];
  const life = ['--cluster-key-file', key, '--cluster-membership-lifetime', '8s'];
  const origin = await startProgram(t, 'origin', [...members, ...life]);
  const agents = [];
  for (const _ of [1, 2]) {
    const flags = [...members, '--origin', origin.url, '--join-token-file', tokenFile];
    agents.push(await startProgram(t, 'agent', flags));
  }
  const [one, two] = agents as [Program, Program];

  const blob = makeBlob(SIZE);
  const digest = await pushBlob(origin.url, 'team/app', blob.bytes);
  for (const agent of agents) {
    t.ok((await pull(`${agent.url}/v2/team/app/blobs/${digest}`)).bytes.equals(blob.bytes));
  }
  const sent = (agent: Program, transport: string): Promise<number> =>
    agent.metric('shoal_swarm_payload_bytes_total', { direction: 'out', transport });
  t.ok((await sent(one, 'libp2p')) > 0, 'one agent fed the other');
  for (const agent of agents) t.equal(await sent(agent, 'tcp'), 0);
  const listed = (await shoal('cluster', 'members', '--url', origin.url, '--json')).trim().split('\n');
  t.match(
    listed.map((line) => JSON.parse(line)),
    [{ state: 'member' }, { state: 'member' }],
  );

  await t.test('libtorrent and aria2 without a passkey get no peer and no byte', async (t) => {
    const before = await sent(one, 'libp2p');
    const ports = [one, two].map(
      async (agent) => /\/tcp\/(\d+)/.exec((await statusOf(agent)).swarm.peerListen)?.[1],
    );
    const peers = (await Promise.all(ports)).map((port) => `127.0.0.1:${port}`);
    const torrent = path.join(folder, 'blob.torrent');
    // All but the web seed, which is on this machine and so is the registry's own affair.
    const sources = { announce: [`${origin.url}/announce`], webSeeds: [], peers: [] };
    await writeFile(torrent, encodeMetainfo(blob.metainfo, sources));
    const refusals = (): Promise<number> =>
      origin.metric('shoal_tracker_announces_total', { result: 'invalid' });
    for (const [name, command, args] of [
      [
        'libtorrent',
        '/usr/bin/python3',
        (into: string) => [libtorrentClient, 'download', torrent, into, ...peers],
      ],
      [
        'aria2',
        'aria2c',
        (into: string) => [
          '--no-conf',
          '--quiet',
          '--enable-dht=false',
          '--bt-enable-lpd=false',
          '-d',
          into,
          '-T',
          torrent,
        ],
      ],
    ] as const) {
      const into = path.join(folder, name);
      await mkdir(into);
      const refused = await refusals();
      const client = spawn(command, args(into), { stdio: ['pipe', 'ignore', 'ignore'] });
      t.teardown(() => client.kill('SIGKILL'));
      await until(async () => (await refusals()) > refused);
      client.kill('SIGTERM');
      await once(client, 'exit');
      t.equal(await bytesBelow(into), 0, `${name} has nothing`);
    }
    t.equal(await sent(one, 'libp2p'), before);
  });

  await origin.signal('SIGKILL');
  const untilOf = async (agent: Program): Promise<number> =>
    Date.parse((await statusOf(agent)).cluster.memberUntil ?? '');
  const earlier = await untilOf(one);
  await origin.restart();
  await until(async () => (await untilOf(one)) > earlier && (await untilOf(two)) > earlier);
  t.pass('renewed at an origin that was killed');
  const next = makeBlob(SIZE);
  const nextDigest = await pushBlob(origin.url, 'team/app', next.bytes);
  t.ok((await pull(`${one.url}/v2/team/app/blobs/${nextDigest}`)).bytes.equals(next.bytes));

  const peerId = /\/p2p\/(\w+)/.exec((await statusOf(two)).swarm.peerListen)?.[1] ?? '';
  t.match(await shoal('cluster', 'revoke', peerId, '--data', folder, '--url', origin.url), /is revoked/);
  await until(async () => (await fetch(`${two.url}/readyz`)).status === 503);
  t.match((await statusOf(two)).cluster, { memberUntil: null });
  t.equal((await fetch(`${one.url}/readyz`)).status, 200, 'the other stays');
  t.match(await shoal('cluster', 'members', '--url', origin.url), new RegExp(`${peerId} .*revoked`));

  const secrets = token.trim().split('.').slice(2);
  for (const program of [origin, one, two]) {
    t.notOk(
      secrets.some((part) => program.log().includes(part)),
      'no log has the token',
    );
  }
});
