/** Admission over HTTP: what strangers, thieves and revoked members are told, and how members join and stay. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { signRevocation } from '#cluster';
import { createIdentity, type Identity } from '#swarm';
import { parseMetainfo } from '#torrent';
import { announceAs, makeCluster, signed, type TestCluster, textOf } from '../support/cluster.ts';
import {
  agentHere,
  type Member,
  makeFolder,
  originHere,
  pull,
  pushBlob,
  someBytes,
  until,
} from '../support/in-process.ts';

const LAYER_BYTES = 1_500_000;

interface World {
  readonly cluster: TestCluster;
  readonly origin: Member;
}

async function world(t: Test, config: Parameters<typeof originHere>[1] = {}): Promise<World> {
  const cluster = await makeCluster(t);
  const origin = await originHere(t, {
    ...{ admission: 'token', clusterKeyFile: cluster.keyFile, bittorrentListen: 'off' },
    ...config,
  });
  return { cluster, origin };
}

async function memberHere(t: Test, { cluster, origin }: World, config: Parameters<typeof agentHere>[2] = {}) {
  const joinTokenFile = await cluster.joinToken();
  return agentHere(t, [origin.url], {
    admission: 'token',
    joinTokenFile,
    bittorrentListen: 'off',
    ...config,
  });
}

/** The blob's metainfo, as a member gets it. */
async function metainfoFor({ cluster, origin }: World, digest: string) {
  const identity = await createIdentity();
  const url = `${origin.url}/v2/team/app/_shoal/torrents/${digest}`;
  const answer = await pull(url, signed(identity, await cluster.membership(identity.peerId), url));
  if (answer.status !== 200) throw new Error(`metainfo answered ${answer.status}: ${answer.bytes}`);
  const metainfo = parseMetainfo(answer.bytes);
  const passkey = /\/announce\?passkey=([\w-]{70})/.exec(answer.bytes.toString('latin1'))?.[1] ?? '';
  return { identity, metainfo, passkey, bytes: answer.bytes };
}

t.test('two members pull through the swarm, by libp2p alone', async (t) => {
  const here = await world(t);
  const layer = someBytes(LAYER_BYTES);
  const digest = await pushBlob(here.origin.url, 'team/app', layer);
  const first = await memberHere(t, here);
  const second = await memberHere(t, here);
  for (const agent of [first, second]) {
    const answer = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
    t.equal(answer.status, 200);
    t.ok(answer.bytes.equals(layer));
    t.equal((await textOf(`${agent.url}/readyz`)).status, 200);
    t.equal(agent.agent.bittorrentAddress, undefined, 'no plain listener');
  }
  t.ok(
    (await first.metric('shoal_swarm_payload_bytes_total', { transport: 'libp2p', direction: 'out' })) > 0,
  );
  t.equal(await first.metric('shoal_swarm_payload_bytes_total', { transport: 'tcp' }), 0);
  await until(async () => (await here.origin.metric('shoal_tracker_agents')) === 2);
  const { members } = JSON.parse((await textOf(`${here.origin.url}/api/v1/cluster/members`)).text);
  t.match(members, [
    { role: 'agent', state: 'member' },
    { role: 'agent', state: 'member' },
  ]);
  const { cluster } = JSON.parse((await textOf(`${first.url}/api/v1/status`)).text);
  t.match(cluster, { id: here.cluster.key.id, problem: null });
});

t.test('a stranger gets no metainfo, no list of peers and no byte', async (t) => {
  const here = await world(t);
  const { url } = here.origin;
  const digest = await pushBlob(url, 'team/app', someBytes(LAYER_BYTES));
  const { metainfo } = await metainfoFor(here, digest);
  t.match(await textOf(`${url}/v2/team/app/_shoal/torrents/${digest}`), { status: 403, text: /DENIED/ });
  t.match(await textOf(`${url}/v2/team/app/_shoal/leaves/${digest}`), { status: 403 });
  t.match(await textOf(`${url}/api/v1/torrents/${metainfo.infoHash}`), { status: 401 });
  t.match(await textOf(`${url}/api/v1/torrents/${metainfo.infoHash}/announce?passkey=x`), { status: 401 });
  t.match(await announceAs(url, metainfo.infoHash), /failure reason.*passkey/);
  const afar = { headers: { 'x-forwarded-for': '192.0.2.7' } };
  for (const where of [`/v2/team/app/blobs/${digest}`, '/v2/', '/v2/_catalog', '/v2/team/app/tags/list']) {
    t.match(await textOf(`${url}${where}`, afar), { status: 403 }, where);
  }
  const push = await fetch(`${url}/v2/team/app/blobs/uploads/`, { ...afar, method: 'POST' });
  t.equal(push.status, 403, 'nor does anybody push');
  for (const where of ['/api/v1/status', '/api/v1/agents', '/api/v1/cluster/members', '/api/v1/gc']) {
    t.match(await textOf(`${url}${where}`, afar), { status: 403 }, where);
  }
  for (const [method, body] of [
    ['PUT', '{"port":7000,"blobs":[]}'],
    ['PATCH', '{}'],
    ['DELETE', undefined],
  ] as const) {
    const init = { method, ...(body !== undefined && { body }) };
    t.match(await textOf(`${url}/api/v1/agents/${'ab'.repeat(20)}`, init), { status: 401 }, method);
  }
  t.equal(await here.origin.metric('shoal_tracker_agents'), 0);
  t.ok((await here.origin.metric('shoal_admission_refused_total', { where: 'http' })) > 5);
});

t.test('the mirror of a member serves its own machine', async (t) => {
  const here = await world(t);
  const agent = await memberHere(t, here);
  const headers = { 'x-forwarded-for': '192.0.2.7' };
  t.match(await textOf(`${agent.url}/v2/`, { headers }), { status: 403, text: /"DENIED"/ });
  t.match(await textOf(`${agent.url}/api/v1/status`, { headers }), { status: 403 });
  t.match(await textOf(`${agent.url}/metrics`, { headers }), { status: 200 });
});

t.test('a forged, a foreign and an expired passkey open nothing; a good one does', async (t) => {
  const here = await world(t);
  const { url } = here.origin;
  const digest = await pushBlob(url, 'team/app', someBytes(LAYER_BYTES));
  const other = await pushBlob(url, 'team/app', someBytes(LAYER_BYTES));
  const { metainfo, passkey } = await metainfoFor(here, digest);
  t.match(await announceAs(url, metainfo.infoHash, passkey), /5:peers/);
  const flipped = `${passkey.slice(0, -1)}${passkey.endsWith('A') ? 'Q' : 'A'}`;
  t.match(await announceAs(url, metainfo.infoHash, flipped), /failure reason/, 'forged');
  t.match(await announceAs(url, metainfo.infoHash, 'A'.repeat(passkey.length)), /failure reason/);
  const foreign = (await metainfoFor(here, other)).passkey;
  t.match(await announceAs(url, metainfo.infoHash, foreign), /failure reason/, "another blob's");
  const later = Buffer.from(passkey, 'base64url');
  later.writeUInt32BE(later.readUInt32BE() + 86_400);
  t.match(
    await announceAs(url, metainfo.infoHash, later.toString('base64url')),
    /failure reason/,
    'prolonged',
  );
  // The blob's own URL in metainfo, as a web seed, has one too.
  const { bytes } = await metainfoFor(here, digest);
  const seed = /\/v2\/team\/app\/blobs\/sha256:[0-9a-f]{64}\?passkey=[\w-]{70}/.exec(
    bytes.toString('latin1'),
  )?.[0];
  const afar = { 'x-forwarded-for': '192.0.2.7' };
  t.equal((await pull(`${url}${seed}`, afar)).status, 200);
  t.equal((await pull(`${url}${seed?.replace(digest, other)}`, afar)).status, 403);
});

t.test('a membership without its key, replayed, expired or of another cluster', async (t) => {
  const here = await world(t);
  const { url } = here.origin;
  const digest = await pushBlob(url, 'team/app', someBytes(LAYER_BYTES));
  const [victim, thief] = [await createIdentity(), await createIdentity()];
  const membership = await here.cluster.membership(victim.peerId);
  const where = `${url}/v2/team/app/_shoal/torrents/${digest}`;
  const ask = async (headers: Record<string, string>) => textOf(where, { headers });
  const refused = async (headers: Record<string, string>, reason: RegExp, name: string) =>
    t.match(await ask(headers), { status: 401, text: reason }, name);

  await refused({ 'shoal-membership': membership }, /proof/, 'stolen, without a proof');
  await refused(
    signed(thief, membership, where),
    /not of this member/,
    'stolen, with the proof of the thief',
  );
  const proof = signed(victim, membership, where);
  t.match(await ask(proof), { status: 200 });
  await refused(proof, /used before/, 'replayed');
  await refused(
    signed(victim, membership, `${url}/v2/`),
    /not of this member and this request/,
    'of another request',
  );
  const elsewhere = where.replace(/127\.0\.0\.1:\d+/, '127.0.0.1:1');
  await refused(signed(victim, membership, elsewhere), /this request/, 'for another server');
  await refused(signed(victim, membership, where, { now: Date.now() - 300_000 }), /clocks/, 'old');
  const expired = await here.cluster.membership(victim.peerId, {
    lifetimeMs: 60_000,
    now: Date.now() - 600_000,
  });
  await refused(signed(victim, expired, where), /expired/, 'expired');
  const foreign = await (await makeCluster(t)).membership(victim.peerId);
  await refused(signed(victim, foreign, where), /did not sign|another cluster/, 'another cluster');
  const join = await here.cluster.joinToken();
  const statement = (await readFile(join, 'utf8'))
    .replace(/^shoal-join\./, '')
    .split('.')
    .slice(0, 3)
    .join('.');
  await refused(signed(victim, statement, where), /./, 'a join token in its place');
});

t.test('an inventory is of its sender alone, and as it was signed', async (t) => {
  const here = await world(t);
  const [one, two] = [await createIdentity(), await createIdentity()];
  const url = `${here.origin.url}/api/v1/agents/${'cd'.repeat(20)}`;
  const put = async (identity: Identity, peerId: string, sent?: string) => {
    const body = JSON.stringify({ peer: `/tcp/4002/p2p/${peerId}`, blobs: [] });
    const membership = await here.cluster.membership(identity.peerId);
    const headers = signed(identity, membership, url, { method: 'PUT', body });
    return textOf(url, { method: 'PUT', headers, body: sent ?? body });
  };
  t.match(await put(one, two.peerId), { status: 403, text: /another member/ });
  t.match(await put(one, one.peerId, '{"port":7000,"blobs":[]}'), { status: 400, text: /signed/ });
  t.match(await put(one, one.peerId), { status: 200 });
  t.match(
    await put(two, two.peerId),
    { status: 403, text: /another member/ },
    'nor is the lease of another taken',
  );
  const headers = signed(two, await here.cluster.membership(two.peerId), url, { method: 'DELETE' });
  t.match(await textOf(url, { method: 'DELETE', headers }), { status: 403 });
});

t.test('join tokens: expired, used up, revoked, of another cluster', async (t) => {
  const here = await world(t);
  const { cluster, origin } = here;
  const joins = async (joinTokenFile: string): Promise<string> => {
    const agent = await agentHere(t, [origin.url], {
      ...{ admission: 'token', joinTokenFile, bittorrentListen: 'off' },
    });
    const { text } = await textOf(`${agent.url}/readyz`);
    await agent.close();
    return text;
  };
  const once = await cluster.joinToken({ uses: 1 });
  t.match(await joins(once), /ready/);
  t.match(await joins(once), /used as often as it may/);
  t.match(await joins(await cluster.joinToken({ lifetimeMs: -60_000 })), /expired/);
  t.match(await joins(await (await makeCluster(t)).joinToken()), /another cluster|did not sign/);
  t.ok((await origin.metric('shoal_cluster_memberships_total', { kind: 'join', result: 'refused' })) >= 3);
});

t.test(
  'a revoked member is out at once: of HTTP, announces and the swarm, also after a restart of the origin',
  async (t) => {
    const cluster = await makeCluster(t);
    const data = await makeFolder(t);
    const config = {
      admission: 'token',
      clusterKeyFile: cluster.keyFile,
      bittorrentListen: 'off',
      data,
    } as const;
    const origin = await originHere(t, config);
    const here = { cluster, origin };
    const agent = await memberHere(t, here);
    const digest = await pushBlob(origin.url, 'team/app', someBytes(LAYER_BYTES));
    const { identity, metainfo, passkey } = await metainfoFor(here, digest);
    const membership = await cluster.membership(identity.peerId);
    t.match(await announceAs(origin.url, metainfo.infoHash, passkey), /5:peers/);
    const revoke = async (subject: string) => {
      const statement = await signRevocation(cluster.key, subject, Date.now());
      const body = JSON.stringify({ statement });
      t.match(await textOf(`${origin.url}/api/v1/cluster/revocations`, { method: 'POST', body }), {
        status: 200,
      });
    };
    const forged = JSON.stringify({
      statement: await signRevocation((await makeCluster(t)).key, identity.peerId, Date.now()),
    });
    t.match(await textOf(`${origin.url}/api/v1/cluster/revocations`, { method: 'POST', body: forged }), {
      status: 403,
    });
    await revoke(identity.peerId);
    const where = (url: string) => `${url}/v2/team/app/_shoal/torrents/${digest}`;
    const asks = async (url: string) =>
      textOf(where(url), { headers: signed(identity, membership, where(url)) });
    t.match(await asks(origin.url), { status: 401, text: /revoked/ });
    t.match(await announceAs(origin.url, metainfo.infoHash, passkey), /failure reason/);
    // The agent itself: it hears of it with its next answer, and says so.
    const peerId = agent.agent.peerAddress?.peerId ?? '';
    await revoke(peerId);
    const other = someBytes(LAYER_BYTES);
    const late = await pushBlob(origin.url, 'team/app', other);
    t.not((await pull(`${agent.url}/v2/team/app/_shoal/torrents/${late}`)).status, 200);
    await origin.close();
    const again = await originHere(t, config);
    t.match(await asks(again.url), { status: 401, text: /revoked/ }, 'it was durable');
  },
);

t.test(
  'a membership is renewed without the token, outlives the origin for a while, and is joined anew',
  async (t) => {
    const cluster = await makeCluster(t);
    const data = await makeFolder(t);
    const origin = await originHere(t, {
      ...{ admission: 'token', clusterKeyFile: cluster.keyFile, bittorrentListen: 'off', data },
      membershipLifetimeMs: 6_000,
    });
    const joinTokenFile = await cluster.joinToken();
    const agent = await agentHere(t, [origin.url], {
      ...{ admission: 'token', joinTokenFile, bittorrentListen: 'off' },
    });
    const status = async (url: string) => JSON.parse((await textOf(`${url}/api/v1/status`)).text).cluster;
    const first = (await status(agent.url)).memberUntil;
    await rm(joinTokenFile);
    await until(async () => (await status(agent.url)).memberUntil > first);
    t.pass('renewed');
    await origin.close();
    t.equal((await textOf(`${agent.url}/readyz`)).status, 200, 'it counts while the origin is out');
    await until(async () => (await textOf(`${agent.url}/readyz`)).status === 503);
    t.match(await status(agent.url), { memberUntil: null, problem: /./ });
    const back = await originHere(t, {
      ...{ admission: 'token', clusterKeyFile: cluster.keyFile, bittorrentListen: 'off', data },
      listen: { host: '127.0.0.1', port: Number(new URL(origin.url).port) },
    });
    t.equal(back.url, origin.url);
    const fresh = await cluster.joinToken();
    await writeFile(joinTokenFile, await readFile(fresh));
    await until(async () => (await textOf(`${agent.url}/readyz`)).status === 200);
    const restarted = await agent.restart();
    t.equal((await textOf(`${restarted.url}/readyz`)).status, 200, 'what was kept counts after a restart');
  },
);

t.test('what a start says when something is missing', async (t) => {
  const listen = { host: '127.0.0.1', port: 0 };
  await t.rejects(originHere(t, { listen, admission: 'token' }), { message: /shoal cluster init --data/ });
  await t.rejects(agentHere(t, ['http://127.0.0.1:1'], { admission: 'token' }), {
    message: /--join-token-file/,
  });
  const joinTokenFile = path.join(await makeFolder(t), 'token');
  await t.rejects(agentHere(t, ['http://127.0.0.1:1'], { admission: 'token', joinTokenFile }), {
    message: /no such file/,
  });
  await writeFile(joinTokenFile, 'shoal-join.nonsense\n');
  await t.rejects(agentHere(t, ['http://127.0.0.1:1'], { admission: 'token', joinTokenFile }), {
    message: /is no join token/,
  });
});
