/** Admission beside users and rules, and at a tracker that runs alone. */
import t, { type Test } from 'tap';
import { signRevocation } from '#cluster';
import { createIdentity } from '#swarm';
import { createMetrics } from '#telemetry';
import { parseMetainfo } from '#torrent';
import { startTracker } from '#tracker';
import { accessOf, basic } from '../support/access.ts';
import { announceAs, makeCluster, signed, textOf } from '../support/cluster.ts';
import {
  agentHere,
  makeFolder,
  originHere,
  pull,
  pushBlob,
  someBytes,
  until,
} from '../support/in-process.ts';
import { sumMetric } from '../support/metrics-text.ts';
import { log } from '../support/tracker.ts';

t.setTimeout(120_000);

const LAYER_BYTES = 1_500_000;
const LOOPBACK = { host: '127.0.0.1', port: 0 };
const RULES = [
  'subject=anonymous repositories=public/** actions=pull',
  'subject=user:ann repositories=** actions=push',
  'subject=user:bob repositories=team/** actions=pull',
];

async function guarded(t: Test) {
  const cluster = await makeCluster(t);
  const { access } = await accessOf(await makeFolder(t), { ann: 'a-word', bob: 'b-word' }, RULES);
  const config = { admission: 'token', clusterKeyFile: cluster.keyFile, bittorrentListen: 'off' } as const;
  return { cluster, origin: await originHere(t, { ...config, access }) };
}

t.test('with users: metainfo for members and users, for each no more than it may pull', async (t) => {
  const { cluster, origin } = await guarded(t);
  const ann = basic('ann', 'a-word');
  const [open, closed] = [
    await pushBlob(origin.url, 'public/app', someBytes(LAYER_BYTES), ann),
    await pushBlob(origin.url, 'team/app', someBytes(LAYER_BYTES), ann),
  ];
  const of = (name: string, digest: string) => `${origin.url}/v2/${name}/_shoal/torrents/${digest}`;
  const [publicOne, secret] = [of('public/app', open), of('team/app', closed)];
  const { peerId, privateKey } = await createIdentity();
  const membership = await cluster.membership(peerId);
  const member = (url: string) => signed({ peerId, privateKey }, membership, url);

  t.match(await textOf(publicOne), { status: 403 }, 'a stranger, though anybody may pull it');
  t.equal((await pull(publicOne, member(publicOne))).status, 200, 'a member');
  t.match(await textOf(secret, { headers: member(secret) }), { status: 401 }, 'a member without the right');
  t.match(await textOf(secret, { headers: basic('bob', 'b-word') }), { status: 200 }, 'a user with it');
  const { bytes, status } = await pull(secret, { ...member(secret), ...basic('bob', 'b-word') });
  t.equal(status, 200, 'a member with the log-in of a user with it');
  const { infoHash } = parseMetainfo(bytes);
  const passkey = /\/announce\?passkey=([\w-]+?)(?:\d+:|e)/.exec(bytes.toString('latin1'))?.[1];
  t.ok(passkey, 'its announce URL has a passkey');
  t.match(await announceAs(origin.url, infoHash), /failure reason/, 'peers only with it');
  const where = `${origin.url}/api/v1/torrents/${infoHash}`;
  t.match(await textOf(where), { status: 401 });
  t.match(
    await textOf(where, { headers: member(where) }),
    { status: 200 },
    'a member needs no right to join',
  );
  t.match(await textOf(where, { headers: basic('bob', 'b-word') }), { status: 403 });
  const inventory = `${origin.url}/api/v1/agents/${'ab'.repeat(20)}`;
  const put = { method: 'PUT', body: '{"blobs":[]}', headers: ann };
  t.match(
    await textOf(inventory, put),
    { status: 401 },
    'an inventory is of members alone, whatever the user',
  );
});

t.test('with users: a node joins with its token alone, and pulls what everybody may', async (t) => {
  const { cluster, origin } = await guarded(t);
  const bytes = someBytes(LAYER_BYTES);
  const digest = await pushBlob(origin.url, 'public/app', bytes, basic('ann', 'a-word'));
  const joinTokenFile = await cluster.joinToken();
  const agent = await agentHere(t, [origin.url], {
    admission: 'token',
    joinTokenFile,
    bittorrentListen: 'off',
  });
  await until(async () => (await agent.metric('shoal_membership_seconds')) > 0);
  const pulled = await pull(`${agent.url}/v2/public/app/blobs/${digest}`);
  t.ok(pulled.bytes.equals(bytes));
  const members = await fetch(`${origin.url}/api/v1/cluster/members`);
  t.equal(members.status, 401, 'who the members are is for users with the right to manage');
});

t.test('a tracker alone takes inventories of members, and hears of revocations', async (t) => {
  const cluster = await makeCluster(t);
  const token = { admission: 'token', joinTokenFile: await cluster.joinToken() } as const;
  const config = { admission: 'token', clusterKeyFile: cluster.keyFile, bittorrentListen: 'off' } as const;
  const origin = await originHere(t, config);
  const metrics = createMetrics();
  const tracker = await startTracker(
    { ...token, listen: LOOPBACK, origins: [origin.url], data: await makeFolder(t) },
    { log, metrics },
  );
  t.teardown(() => tracker.close());
  const url = `http://127.0.0.1:${tracker.address.port}`;
  await until(async () => (await textOf(`${url}/readyz`)).status === 200);
  const agent = await agentHere(t, [origin.url, url], { ...token, bittorrentListen: 'off' });
  await until(async () => sumMetric(await metrics.text(), 'shoal_tracker_agents', {}) === 1);
  t.pass('the agent is known');

  const inventory = `${url}/api/v1/agents/${'ab'.repeat(20)}`;
  const body = '{"blobs":[]}';
  t.match(await textOf(inventory, { method: 'PUT', body }), { status: 401 });
  const afar = { headers: { 'x-forwarded-for': '192.0.2.7' } };
  for (const where of ['/api/v1/agents', '/api/v1/status']) {
    t.match(await textOf(`${url}${where}`, afar), { status: 403 }, where);
  }
  const digest = await pushBlob(origin.url, 'team/app', someBytes(LAYER_BYTES));
  const identity = await createIdentity();
  const membership = await cluster.membership(identity.peerId);
  const place = `${origin.url}/v2/team/app/_shoal/torrents/${digest}`;
  const { bytes } = await pull(place, signed(identity, membership, place));
  const { infoHash } = parseMetainfo(bytes);
  const passkey = /\/announce\?passkey=([\w-]{70})/.exec(bytes.toString('latin1'))?.[1];
  t.match(await announceAs(url, infoHash, passkey), /5:peers/, 'the origin says that the passkey is good');
  t.match(await announceAs(url, infoHash, 'A'.repeat(70)), /failure reason/);

  const put = async () => {
    const headers = signed(identity, membership, inventory, { method: 'PUT', body });
    return (await textOf(inventory, { method: 'PUT', body, headers })).status;
  };
  t.equal(await put(), 200);
  const statement = await signRevocation(cluster.key, identity.peerId, Date.now());
  const revocation = { method: 'POST', body: JSON.stringify({ statement }) };
  t.match(await textOf(`${origin.url}/api/v1/cluster/revocations`, revocation), { status: 200 });
  await until(async () => (await put()) === 401);
  t.pass('the tracker has heard of it');
  t.equal((await textOf(`${agent.url}/readyz`)).status, 200);
});
