/** Origin and tracker are gone: agents find each other, and what one of them has, by the DHT and by asking. */
import t, { type Test } from 'tap';
import { formatMultiaddr } from '#multiaddr';
import { accessOf, basic } from '../support/access.ts';
import {
  agentHere,
  type Member,
  makeFolder,
  originHere,
  pull,
  pushImage,
  someBytes,
  type TestAgent,
  until,
} from '../support/in-process.ts';

const MIB = 1024 * 1024;

/** Where other agents reach this one by libp2p. */
function multiaddrOf({ agent }: TestAgent): string {
  if (agent.peerAddress === undefined) throw new Error('does not listen');
  return formatMultiaddr(agent.peerAddress);
}

interface Status {
  readonly origins: readonly { readonly open: boolean | null }[];
  readonly discovery: { readonly members: number; readonly table: number; readonly records: number } | null;
}

async function status(agent: TestAgent): Promise<Status> {
  return (await (await fetch(`${agent.url}/api/v1/status`)).json()) as Status;
}

/** Agents that know each other by the DHT, the first by the others' configuration. */
async function cluster(t: Test, origin: Member, count: number): Promise<TestAgent[]> {
  const dht = { dht: true, mdns: undefined };
  const first = await agentHere(t, [origin.url], { discovery: { ...dht, bootstrap: [] } });
  const agents = [first];
  while (agents.length < count) {
    const { host, port } = first.agent.peerAddress ?? { host: '', port: 0 };
    const bootstrap = [agents.length % 2 === 1 ? multiaddrOf(first) : `${host}:${port}`];
    agents.push(await agentHere(t, [origin.url], { discovery: { ...dht, bootstrap } }));
  }
  for (const agent of agents) {
    await until(async () => {
      const { origins, discovery } = await status(agent);
      return origins[0]?.open === true && (discovery?.table ?? 0) >= count - 1;
    });
  }
  return agents;
}

t.test('four agents, one has the image, origin and tracker are gone', async (t) => {
  const origin = await originHere(t);
  const [holder, ...others] = await cluster(t, origin, 4);
  if (!holder) throw new Error('no agents');
  const layers = [someBytes(3 * MIB), someBytes(100_000)];
  const image = await pushImage(origin.url, 'team/app', 'v1', layers);
  const blobs = [image.config, ...image.layers];
  await pull(`${holder.url}/v2/team/app/manifests/v1`);
  for (const digest of blobs) await pull(`${holder.url}/v2/team/app/blobs/${digest}`);
  await until(async () => (await holder.metric('shoal_cache_blobs')) === blobs.length);
  await until(async () => ((await status(others[0] as TestAgent)).discovery?.records ?? 0) >= blobs.length);
  await origin.close();

  for (const agent of others) {
    const manifest = await pull(`${agent.url}/v2/team/app/manifests/${image.digest}`);
    t.equal(manifest.status, 200);
    t.ok(manifest.bytes.equals(image.manifest));
    t.equal(manifest.headers.get('content-type'), 'application/vnd.oci.image.manifest.v1+json');
    for (const digest of blobs) {
      const head = await fetch(`${agent.url}/v2/team/app/blobs/${digest}`, { method: 'HEAD' });
      t.equal(head.status, 200);
      const blob = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
      t.equal(`sha256:${blob.sha256}`, digest);
    }
    t.equal(await agent.metric('shoal_discovery_lies_total'), 0);
    t.ok((await agent.metric('shoal_discovery_searches_total', { result: 'found' })) > 0);
    const tag = await pull(`${agent.url}/v2/team/app/manifests/v1`);
    t.equal(tag.status, 503, 'a tag that this agent never resolved is not made up');
  }
  const unknown = await pull(`${holder.url}/v2/team/app/blobs/sha256:${'0'.repeat(64)}`);
  t.equal(unknown.status, 503);
});

t.test('an agent that starts while everything is out knows whom it met before', async (t) => {
  const origin = await originHere(t);
  const [holder, other] = await cluster(t, origin, 2);
  if (!holder || !other) throw new Error('no agents');
  const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(MIB)]);
  const [digest] = image.layers;
  await pull(`${holder.url}/v2/team/app/blobs/${digest}`);
  await until(async () => (await holder.metric('shoal_cache_blobs')) === 1);
  await origin.close();
  await other.close();
  const again = await agentHere(t, [origin.url], {
    data: other.data,
    discovery: { dht: true, mdns: undefined, bootstrap: [] },
  });
  await until(async () => ((await status(again)).discovery?.table ?? 0) > 0);
  t.equal(`sha256:${(await pull(`${again.url}/v2/team/app/blobs/${digest}`)).sha256}`, digest);
});

t.test('what has rights is neither told nor given', async (t) => {
  const nodes = { username: 'nodes', password: 'nodes-pw' };
  const users = { ann: 'ann-pw', ci: 'ci-pw', nodes: nodes.password };
  const rules = [
    'subject=user:ann repositories=team/** actions=pull',
    'subject=user:ci repositories=** actions=push',
    'subject=user:nodes repositories=** actions=pull',
    'subject=user:nodes actions=join',
  ];
  const { access } = await accessOf(await makeFolder(t), users, rules);
  const origin = await originHere(t, { access });
  const dht = { dht: true, mdns: undefined };
  const settings = { credentialsFor: () => nodes };
  const holder = await agentHere(t, [origin.url], { ...settings, discovery: { ...dht, bootstrap: [] } });
  const other = await agentHere(t, [origin.url], {
    ...settings,
    discovery: { ...dht, bootstrap: [multiaddrOf(holder)] },
  });
  const headers = basic('ann', users.ann);
  const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(MIB)], basic('ci', users.ci));
  await pull(`${holder.url}/v2/team/app/manifests/v1`, headers);
  for (const digest of [image.config, ...image.layers]) {
    await pull(`${holder.url}/v2/team/app/blobs/${digest}`, headers);
  }
  await until(async () => (await holder.metric('shoal_cache_blobs')) === 2);
  await until(async () => ((await status(other)).discovery?.table ?? 0) > 0);
  await origin.close();
  for (const path of [`manifests/${image.digest}`, `blobs/${image.layers[0]}`]) {
    t.equal((await pull(`${other.url}/v2/team/app/${path}`, headers)).status, 503);
    t.equal((await pull(`${other.url}/v2/team/app/${path}`)).status, 503);
  }
  t.equal((await status(other)).discovery?.records, 0);
});
