/** Prefetches and rollouts, from the origin's API to verified copies in the agents' caches. */
import t, { type Test } from 'tap';
import {
  agentHere,
  makeFolder,
  originHere,
  pull,
  pushImage,
  someBytes,
  type TestAgent,
  until,
} from '../support/in-process.ts';
import { freePort } from '../support/ports.ts';

interface View {
  readonly id: string;
  readonly state: string;
  readonly reason: string | null;
  readonly wave: number;
  readonly waveCount: number;
  readonly nodes: Readonly<Record<'nodes' | 'done' | 'failed' | 'away' | 'fetching', number>>;
  readonly bytes: Readonly<Record<'peer' | 'originSwarm' | 'originHttp' | 'present' | 'resumed', number>>;
  readonly eachNode?: readonly {
    readonly name: string;
    readonly zone: string | null;
    readonly wave: number;
    readonly state: string;
    readonly reason: string | null;
  }[];
}

async function post(
  url: string,
  path: string,
  body?: object,
): Promise<{ status: number; view: View & { detail?: string } }> {
  const answer = await fetch(`${url}/api/v1/${path}`, {
    method: 'POST',
    ...(body && { body: JSON.stringify(body) }),
  });
  return { status: answer.status, view: (await answer.json()) as View };
}

async function look(url: string, id: string): Promise<View> {
  return (await (await fetch(`${url}/api/v1/rollouts/${id}?nodes=true`)).json()) as View;
}

/** The view once it is as wanted. */
async function seen(url: string, id: string, wanted: (view: View) => boolean): Promise<View> {
  let last: View | undefined;
  await until(async () => {
    last = await look(url, id).catch(() => undefined);
    return last !== undefined && wanted(last);
  });
  return last as View;
}

async function known(url: string, count: number): Promise<void> {
  await until(async () => {
    const { nodes } = (await (await fetch(`${url}/api/v1/nodes`)).json()) as { nodes: { state: string }[] };
    return nodes.filter(({ state }) => state === 'here').length === count;
  });
}

async function isCached(agent: TestAgent, path: string): Promise<boolean> {
  const before = await agent.metric('shoal_mirror_bytes_total', { source: 'cache' });
  const { status } = await pull(`${agent.url}${path}`);
  return status === 200 && (await agent.metric('shoal_mirror_bytes_total', { source: 'cache' })) > before;
}

const agents = (t: Test, url: string, zones: readonly string[]): Promise<TestAgent[]> =>
  Promise.all(zones.map((zone, at) => agentHere(t, [url], { zone, nodeName: `node-${at}` })));

t.test('a prefetch brings the image to the selected nodes alone, and to one that comes back', async (t) => {
  const origin = await originHere(t);
  const [eu, us, gone] = await agents(t, origin.url, ['eu1/r1', 'us', 'eu1/r2']);
  if (!eu || !us || !gone) throw new Error('three agents');
  await known(origin.url, 3);
  await gone.close();
  const { layers, config } = await pushImage(origin.url, 'team/app', 'v1', [
    someBytes(3_000_000),
    someBytes(40_000),
  ]);

  const { status, view } = await post(origin.url, 'prefetch', { image: 'team/app:v1', nodes: 'zone=eu1/*' });
  t.equal(status, 201);
  t.equal(view.nodes.nodes, 2);
  await seen(origin.url, view.id, ({ nodes }) => nodes.done === 1);
  for (const digest of [...layers, config]) t.ok(await isCached(eu, `/v2/team/app/blobs/${digest}`), digest);
  t.equal(await us.metric('shoal_cache_blobs'), 0);

  const back = await gone.restart();
  const end = await seen(origin.url, view.id, ({ nodes, state }) => nodes.done === 2 && state === 'done');
  t.ok(await isCached(back, `/v2/team/app/blobs/${layers[0]}`));
  t.equal(end.reason === null || /were|away/.test(end.reason), true);
});

t.test("waves one after another, over the origin's restart, with true counts", async (t) => {
  const port = await freePort();
  const data = await makeFolder(t);
  const listen = { host: '127.0.0.1', port };
  const first = await originHere(t, { listen, data });
  await agents(t, first.url, ['eu1', 'eu1', 'eu2', 'us', 'us']);
  await known(first.url, 5);
  await pushImage(first.url, 'team/app', 'v1', [someBytes(6_000_000)]);
  const body = { image: 'team/app:v1', nodes: '*', waves: '3,100%', maxUnavailable: '0' };
  const { status, view } = await post(first.url, 'rollouts', body);
  t.equal(status, 201);
  t.equal(view.waveCount, 2);
  const planned = await look(first.url, view.id);
  t.same(
    new Set(planned.eachNode?.filter(({ wave }) => wave === 1).map(({ zone }) => zone)),
    new Set(['eu1', 'eu2', 'us']),
  );
  await first.close();

  const second = await originHere(t, { listen, data });
  const end = await seen(second.url, view.id, ({ state }) => state !== 'running');
  t.match(end, { state: 'done', reason: null, wave: 2, nodes: { nodes: 5, done: 5, failed: 0, away: 0 } });
  const { peer, originSwarm, originHttp, present, resumed } = end.bytes;
  t.ok(peer + originSwarm + originHttp + present + resumed >= 5 * 6_000_000);
});

t.test('pause holds, resume goes on, cancel is final', async (t) => {
  const origin = await originHere(t);
  const [agent] = await agents(t, origin.url, ['eu1']);
  await known(origin.url, 1);
  await pushImage(origin.url, 'team/app', 'v1', [someBytes(2_000_000)]);
  await agent?.close();
  const { view } = await post(origin.url, 'rollouts', {
    image: 'team/app:v1',
    nodes: 'name=node-*',
    maxUnavailable: '1',
  });
  t.equal((await post(origin.url, `rollouts/${view.id}/pause`)).view.state, 'paused');
  const back = await agent?.restart();
  await known(origin.url, 1);
  t.equal((await look(origin.url, view.id)).nodes.done, 0);
  t.equal(await back?.metric('shoal_cache_blobs'), 0);
  t.equal((await post(origin.url, `rollouts/${view.id}/resume`)).view.state, 'running');
  await seen(origin.url, view.id, ({ state }) => state === 'done');
  const again = await post(origin.url, 'rollouts', { image: 'team/app:v1', nodes: '*' });
  t.equal((await post(origin.url, `rollouts/${again.view.id}/cancel`)).status, 200);
  const late = await post(origin.url, `rollouts/${again.view.id}/resume`);
  t.equal(late.status, 409);
  t.match(late.view.detail, /it is (?:cancelled|done) and cannot be resumed/);
});

t.test('too many failures stop it and say why', async (t) => {
  const origin = await originHere(t);
  await agentHere(t, [origin.url], { nodeName: 'small', cacheSizeBytes: 1_000_000 });
  await known(origin.url, 1);
  await pushImage(origin.url, 'team/app', 'v1', [someBytes(2_000_000)]);
  const { view } = await post(origin.url, 'rollouts', {
    image: 'team/app:v1',
    nodes: '*',
    maxUnavailable: '0',
  });
  const end = await seen(origin.url, view.id, ({ state }) => state === 'stopped');
  t.match(end.eachNode?.[0]?.reason, /cache holds 1000000 \(cache.size\)/);
  t.match(end.reason, /1 node failed or is away, at most 0 may be/);
});

t.test('what cannot be is refused with the reason', async (t) => {
  const origin = await originHere(t);
  const cases: readonly (readonly [string, object, number, RegExp])[] = [
    ['prefetch', { image: 'team/none:v1', nodes: '*' }, 404, /there is no image team\/none:v1/],
    ['prefetch', { image: 'not an image', nodes: '*' }, 400, /./],
    ['prefetch', { image: 'team/app', nodes: 'rack7' }, 400, /nodes: 'rack7' is no condition/],
    ['prefetch', { nodes: '*' }, 400, /image/],
    ['rollouts', { image: 'team/app', nodes: '*', waves: '50%' }, 400, /waves: the last wave must be 100%/],
    ['rollouts', { image: 'team/app', nodes: '*', maxUnavailable: 'few' }, 400, /maxUnavailable/],
    ['rollouts/none/pause', {}, 404, /there is no rollout none/],
    ['agents/me/orders', { name: 'a', known: '' }, 400, /12D3KooW/],
    [`agents/12D3KooW${'a'.repeat(44)}/orders`, { name: 'a b', known: '' }, 400, /name/],
  ];
  for (const [path, body, status, reason] of cases) {
    const answer = await post(origin.url, path, body);
    t.equal(answer.status, status, path);
    t.match(answer.view.detail, reason);
  }
  await pushImage(origin.url, 'team/app', 'latest', [someBytes(1_000)]);
  const nobody = await post(origin.url, 'prefetch', { image: 'team/app', nodes: 'name=nobody' });
  t.equal(nobody.status, 409);
  t.match(nobody.view.detail, /no node is selected/);
});
