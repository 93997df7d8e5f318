/** What begins prefetches beside commands: pushes, and the calls of Harbor's Kraken and Dragonfly drivers as these make them. */
import t from 'tap';
import { agentHere, originHere, pushImage, someBytes, until } from '../support/in-process.ts';

const driver = { accept: 'application/json', 'content-type': 'application/json' };

async function here(url: string, count: number): Promise<void> {
  await until(async () => {
    const { nodes } = (await (await fetch(`${url}/api/v1/nodes`)).json()) as { nodes: unknown[] };
    return nodes.length === count;
  });
}

const off = { pushRules: [], preheatDrivers: [], preheatNodes: '*' };

t.test("Harbor's Kraken driver: health, then a notification with capital letters", async (t) => {
  const origin = await originHere(t, { triggers: { ...off, preheatDrivers: ['kraken'] } });
  const agents = await Promise.all(
    [0, 1].map((at) => agentHere(t, [origin.url], { nodeName: `node-${at}` })),
  );
  await here(origin.url, 2);
  const { digest } = await pushImage(origin.url, 'library/app', 'v1', [someBytes(2_000_000)]);
  t.equal((await fetch(`${origin.url}/health`, { headers: { accept: driver.accept } })).status, 200);
  const event = {
    Id: 'd1b0a9',
    TimeStamp: new Date().toISOString(),
    Action: 'push',
    Target: {
      MediaType: 'application/vnd.docker.distribution.manifest.v2+json',
      Digest: digest,
      Repository: 'library/app',
      Url: `${origin.url}/v2/library/app/manifests/v1`,
      Tag: 'v1',
    },
    Request: null,
    Actor: null,
  };
  const body = JSON.stringify({ Events: [event] });
  const answer = await fetch(`${origin.url}/registry/notifications`, {
    method: 'POST',
    headers: driver,
    body,
  });
  t.equal(answer.status, 200, await answer.text());
  for (const agent of agents) await until(async () => (await agent.metric('shoal_cache_blobs')) === 2);

  const layer = {
    action: 'push',
    target: { mediaType: 'application/vnd.oci.image.layer.v1.tar', repository: 'library/none' },
  };
  const own = JSON.stringify({ events: [layer, { action: 'pull', target: { repository: 'library/none' } }] });
  const others = await fetch(`${origin.url}/registry/notifications`, {
    method: 'POST',
    headers: driver,
    body: own,
  });
  t.equal(others.status, 200, "a registry's own events that push no manifest");
  t.equal((await fetch(`${origin.url}/healthy`)).status, 404, 'the other driver is off');
});

t.test("Harbor's Dragonfly driver: health, a job, its progress to the end", async (t) => {
  const origin = await originHere(t, {
    triggers: { ...off, preheatDrivers: ['dragonfly'], preheatNodes: 'zone=eu' },
  });
  const agent = await agentHere(t, [origin.url], { nodeName: 'node-eu', zone: 'eu/r1' });
  const other = await agentHere(t, [origin.url], { nodeName: 'node-us', zone: 'us' });
  await here(origin.url, 2);
  const { digest } = await pushImage(origin.url, 'library/app', 'v1', [someBytes(2_000_000)]);
  t.equal((await fetch(`${origin.url}/healthy`, { headers: { accept: driver.accept } })).status, 200);
  const request = {
    type: 'preheat',
    args: {
      ...{ type: 'image', url: `${origin.url}/v2/library/app/manifests/${digest}`, tag: '' },
      ...{ filtered_query_params: '', headers: { Authorization: 'Bearer x' }, scope: 'single_peer' },
      ...{ concurrent_count: 0, timeout: 0 },
    },
    scheduler_cluster_ids: null,
  };
  const begun = await fetch(`${origin.url}/oapi/v1/jobs`, {
    method: 'POST',
    headers: driver,
    body: JSON.stringify(request),
  });
  const job = (await begun.json()) as { id: number; created_at: string; state: string };
  t.equal(begun.status, 200);
  t.ok(Number.isSafeInteger(job.id));
  t.match(job.state, /PENDING|SUCCESS/);
  t.ok(Date.parse(job.created_at) > 0);
  type Progress = {
    state: string;
    result: { job_states: { results: { success_tasks: { hostname: string }[] }[] }[] };
  };
  let last: Progress | undefined;
  await until(async () => {
    last = (await (await fetch(`${origin.url}/oapi/v1/jobs/${job.id}`)).json()) as Progress;
    return last.state === 'SUCCESS';
  });
  t.same(
    last?.result.job_states[0]?.results[0]?.success_tasks.map(({ hostname }) => hostname),
    ['node-eu'],
  );
  t.equal(await agent.metric('shoal_cache_blobs'), 2);
  t.equal(await other.metric('shoal_cache_blobs'), 0);
  t.equal((await fetch(`${origin.url}/oapi/v1/jobs/17`)).status, 404);
  const bad = await fetch(`${origin.url}/oapi/v1/jobs`, {
    method: 'POST',
    headers: driver,
    body: JSON.stringify({ ...request, type: 'other' }),
  });
  t.equal(bad.status, 400);
});

t.test('a push that a rule matches comes to its nodes; another does not', async (t) => {
  const rule = { repository: 'team/**', tag: 'v*', selector: 'name=node-a' };
  const origin = await originHere(t, { triggers: { ...off, pushRules: [rule] } });
  const agent = await agentHere(t, [origin.url], { nodeName: 'node-a' });
  const other = await agentHere(t, [origin.url], { nodeName: 'node-b' });
  await here(origin.url, 2);
  await pushImage(origin.url, 'other/app', 'v1', [someBytes(1_000)]);
  await pushImage(origin.url, 'team/a/app', 'latest', [someBytes(1_000)]);
  await pushImage(origin.url, 'team/a/app', 'v1', [someBytes(2_000_000)]);
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 2);
  t.equal(await other.metric('shoal_cache_blobs'), 0);
  const { rollouts } = (await (await fetch(`${origin.url}/api/v1/rollouts`)).json()) as {
    rollouts: { image: string; trigger: string }[];
  };
  t.match(rollouts, [{ image: 'team/a/app:v1', trigger: 'push' }]);
  t.equal(rollouts.length, 1);
});
