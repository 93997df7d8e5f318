/** Agents and an origin over libp2p: a member alone on it, on both, and on plain TCP only. */
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import {
  agentHere,
  type Member,
  originHere,
  pull,
  pushBlob,
  someBytes,
  until,
} from '../support/in-process.ts';

const MIB = 1024 ** 2;
const LIBP2P = { transports: ['libp2p'], bittorrentListen: 'off' } as const;
const TCP = { transports: ['tcp'], peerListen: 'off' } as const;

const received = (member: Member, transport: string): Promise<number> =>
  member.metric('shoal_swarm_payload_bytes_total', { direction: 'in', transport });
const sent = (origin: Member): Promise<number> =>
  origin.metric('shoal_origin_blob_bytes_total', { direction: 'out' });

t.test('libp2p only: agents take the blob from each other', async (t) => {
  const origin = await originHere(t, LIBP2P);
  const [first, second, third] = [
    await agentHere(t, [origin.url], LIBP2P),
    await agentHere(t, [origin.url], LIBP2P),
    await agentHere(t, [origin.url], LIBP2P),
  ];
  const bytes = someBytes(8 * MIB);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  for (const agent of [first, second, third]) {
    const answer = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
    t.equal(`sha256:${answer.sha256}`, digest);
    await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
    t.equal(await received(agent, 'tcp'), 0, 'nothing by plain TCP');
  }
  t.ok((await received(second, 'libp2p')) > bytes.length / 2);
  t.ok((await received(third, 'libp2p')) > bytes.length / 2);
  t.ok((await sent(origin)) < 2 * bytes.length, 'the origin sent less than two blobs to three agents');
});

t.test('both, libp2p preferred; and a member that speaks only the other transport', async (t) => {
  const origin = await originHere(t);
  // What nobody has comes over HTTP.
  const holder = await agentHere(t, [origin.url]);
  const agents = [
    { agent: await agentHere(t, [origin.url]), by: 'libp2p' },
    { agent: await agentHere(t, [origin.url], { transports: ['tcp', 'libp2p'] }), by: 'tcp' },
    { agent: await agentHere(t, [origin.url], TCP), by: 'tcp' },
    { agent: await agentHere(t, [origin.url], LIBP2P), by: 'libp2p' },
  ];
  for (const [index, { agent, by }] of agents.entries()) {
    const digest = await pushBlob(origin.url, 'team/app', someBytes(3 * MIB));
    await pull(`${holder.url}/v2/team/app/blobs/${digest}`);
    await until(async () => (await holder.metric('shoal_cache_blobs')) === index + 1);
    const answer = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
    t.equal(`sha256:${answer.sha256}`, digest);
    t.ok((await received(agent, by)) > 0, by);
    t.equal(await received(agent, by === 'tcp' ? 'libp2p' : 'tcp'), 0);
  }
});

t.test('nothing in common: nobody is dialled, and the origin serves ranges', async (t) => {
  const origin = await originHere(t, LIBP2P);
  const agent = await agentHere(t, [origin.url], TCP);
  const bytes = someBytes(3 * MIB);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  t.equal(`sha256:${(await pull(`${agent.url}/v2/team/app/blobs/${digest}`)).sha256}`, digest);
  t.equal(await agent.metric('shoal_fetch_bytes_total', { via: 'http' }), bytes.length);
});

t.test('the key is made once, for its owner only', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const file = path.join(agent.data, 'identity.key');
  const key = await readFile(file);
  t.equal((await stat(file)).mode & 0o777, 0o600);
  const again = await agent.restart();
  t.equal(again.agent.peerAddress?.peerId, agent.agent.peerAddress?.peerId);
  t.ok((await readFile(file)).equals(key));
  t.strictSame(
    (await readdir(agent.data)).filter((name) => name.startsWith('identity')),
    ['identity.key'],
  );
});
