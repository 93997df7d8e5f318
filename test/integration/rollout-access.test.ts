/** Rollouts where the origin has users and rules: who may begin one, and what agents that may not pull report. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { accessOf, basic } from '../support/access.ts';
import { agentHere, makeFolder, originHere, pushImage, someBytes, until } from '../support/in-process.ts';
import { runShoal } from '../support/shoal.ts';

// Commands are processes.
t.setTimeout(180_000);

const USERS = { root: 'root-pw', nodes: 'nodes-pw', poor: 'poor-pw', ann: 'ann-pw' };
const RULES = [
  'subject=user:root repositories=** actions=*',
  'subject=user:root actions=*',
  'subject=user:nodes repositories=team/** actions=pull',
  'subject=user:ann repositories=team/** actions=pull',
  'subject=user:nodes actions=join',
  'subject=user:poor actions=join',
];
const ROOT = basic('root', USERS.root);

interface View {
  readonly id: string;
  readonly state: string;
  readonly reason: string | null;
  readonly nodes: Readonly<Record<'done' | 'failed', number>>;
  readonly eachNode: readonly {
    readonly name: string;
    readonly state: string;
    readonly reason: string | null;
  }[];
}

async function setUp(t: Test) {
  const folder = await makeFolder(t);
  const { access } = await accessOf(folder, USERS, RULES);
  const triggers = { pushRules: [], preheatDrivers: ['dragonfly' as const], preheatNodes: 'name=rich' };
  const origin = await originHere(t, { access, triggers });
  const agentOf = (nodeName: string, username: 'nodes' | 'poor') =>
    agentHere(t, [origin.url], {
      nodeName,
      credentialsFor: () => ({ username, password: USERS[username] }),
    });
  const rich = await agentOf('rich', 'nodes');
  const poor = await agentOf('poor', 'poor');
  const ask = async <T>(where: string, body?: object): Promise<{ status: number; body: T }> => {
    const answer = await fetch(`${origin.url}${where}`, {
      headers: { ...ROOT, 'content-type': 'application/json' },
      ...(body && { method: 'POST', body: JSON.stringify(body) }),
    });
    return { status: answer.status, body: (await answer.json()) as T };
  };
  await until(async () => (await ask<{ nodes: unknown[] }>('/api/v1/nodes')).body.nodes.length === 2);
  const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(2_000_000)], ROOT);
  return { origin, rich, poor, ask, image, folder };
}

t.test(
  'an agent that may not pull says so with the reason of the registry; one that may has it',
  async (t) => {
    const { rich, poor, ask } = await setUp(t);
    const begun = await ask<View>('/api/v1/rollouts', {
      image: 'team/app:v1',
      nodes: '*',
      maxUnavailable: '1',
    });
    t.equal(begun.status, 201);
    let view: View | undefined;
    await until(async () => {
      view = (await ask<View>(`/api/v1/rollouts/${begun.body.id}?nodes=true`)).body;
      return view.state !== 'running';
    });
    t.match(view, { state: 'done', reason: '1 node failed or is away', nodes: { done: 1, failed: 1 } });
    const of = (name: string) => view?.eachNode.find((node) => node.name === name);
    t.match(of('rich'), { state: 'done' });
    t.match(of('poor'), { state: 'failed', reason: /denied|no right|may not|not allowed/i });
    t.equal(await rich.metric('shoal_cache_blobs'), 2);
    t.equal(await poor.metric('shoal_cache_blobs'), 0);
  },
);

t.test('the command needs the right manage, and says so', async (t) => {
  const { origin, folder } = await setUp(t);
  const home = path.join(folder, 'home');
  await mkdir(home);
  const create = (user?: 'ann' | 'root') =>
    runShoal(
      [
        ...['rollout', 'create', 'team/app:v1', '--nodes', 'name=rich', '--url', origin.url, '--wait'],
        ...(user ? ['--username', user, '--password-stdin'] : []),
      ],
      {
        env: { HOME: home, XDG_RUNTIME_DIR: home, XDG_CONFIG_HOME: home, DOCKER_CONFIG: home },
        ...(user && { input: `${USERS[user]}\n` }),
      },
    );
  const stranger = await create();
  t.equal(stranger.code, 1);
  t.match(stranger.stderr, /wants a log-in and none is known/);
  const ann = await create('ann');
  t.equal(ann.code, 1);
  t.match(ann.stderr, /answered 403: .*'ann' has no right to it: the access.rules of .* say who may/);
  const root = await create('root');
  t.equal(root.code, 0, root.stderr);
  t.match(root.stdout, /1 of 1 done/);
});

t.test("Harbor's Dragonfly driver with Basic credentials of an instance", async (t) => {
  const { origin, rich, ask, image } = await setUp(t);
  const url = `${origin.url}/v2/team/app/manifests/${image.digest}`;
  const request = { type: 'preheat', args: { type: 'image', url, headers: { Authorization: 'Bearer x' } } };
  const where = `${origin.url}/oapi/v1/jobs`;
  const bare = await fetch(where, { method: 'POST', body: JSON.stringify(request) });
  t.equal(bare.status, 401);
  await bare.body?.cancel();
  const { status, body } = await ask<{ id: number }>('/oapi/v1/jobs', request);
  t.equal(status, 200);
  await until(
    async () => (await ask<{ state: string }>(`/oapi/v1/jobs/${body.id}`)).body.state === 'SUCCESS',
  );
  t.equal(await rich.metric('shoal_cache_blobs'), 2);
});
