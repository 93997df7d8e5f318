/**
 * deploy/grafana and deploy/prometheus against the real thing: origin, tracker and agents under admission, scraped by
 * Debian's Prometheus while they pull, roll out, refuse and collect. Every query of a panel must have data, and every name
 * and label in a panel or rule must exist. Then the agents' accounts of bytes against the origin's.
 */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { parse } from 'yaml';
import { basic, writeHtpasswd } from '../support/access.ts';
import { makeCluster } from '../support/cluster.ts';
import { needs } from '../support/debian.ts';
import { dockerRegistry } from '../support/docker-registry.ts';
import { makeFolder, pull, pushBlob, pushImage, someBytes, until } from '../support/in-process.ts';
import { deployed, type Prometheus, promtool, selectorsIn, startPrometheus } from '../support/prometheus.ts';
import { type Program, runShoal, startProgram } from '../support/shoal.ts';

await needs(t, ['prometheus', 'docker-registry']);

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly refId: string; readonly expr: string }[];
}
interface Dashboard {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
}
interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

const dashboard = JSON.parse(await readFile(deployed('grafana/shoal.json'), 'utf8')) as Dashboard;
const rulesFile = parse(await readFile(deployed('prometheus/shoal.rules.yml'), 'utf8')) as {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
};
const rules = rulesFile.groups.flatMap((group) => group.rules);
const queries = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ refId, expr }) => ({ where: `${title} (${refId})`, expr: filledIn(expr) })),
);

/** As Grafana sends it. */
function filledIn(expr: string): string {
  return expr.replace(/\$__(?:rate_interval|range)/g, '10m').replace(/\$(?:agent|job)/g, '.*');
}

t.test('the dashboard is laid out, and each rule is tested and names its cure', async (t) => {
  const places = new Set<string>();
  for (const { id, gridPos, title } of dashboard.panels) {
    t.ok(gridPos.x + gridPos.w <= 24, title);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
        if (places.has(`${x} ${y}`)) t.fail(`${title} lies on another panel`);
        places.add(`${x} ${y}`);
      }
    }
    t.equal(dashboard.panels.filter((panel) => panel.id === id).length, 1);
  }
  const variables = new Set([
    '__rate_interval',
    '__range',
    '__all',
    ...dashboard.templating.list.map(({ name }) => name),
  ]);
  for (const [, name = ''] of JSON.stringify(dashboard).matchAll(/\$\{?(\w+)/g))
    t.ok(variables.has(name), name);
  const tests = await readFile(deployed('prometheus/shoal.rules.test.yml'), 'utf8');
  for (const { alert, annotations, labels } of rules) {
    t.match(tests, new RegExp(`\\b${alert}\\b`), `${alert} is in no test of promtool`);
    for (const key of ['summary', 'description', 'cure']) t.ok(annotations[key], `${alert} has no ${key}`);
    t.match(labels['severity'], /^(?:info|warning|critical)$/);
  }
});

t.test('promtool takes rules and their tests', async (t) => {
  for (const args of [
    ['check', 'rules', deployed('prometheus/shoal.rules.yml')],
    ['check', 'config', deployed('prometheus/prometheus.yml')],
    ['test', 'rules', deployed('prometheus/shoal.rules.test.yml')],
  ]) {
    const { code, words } = await promtool(args);
    t.equal(code, 0, `promtool ${args[0]} ${args[1]}: ${words}`);
  }
});

interface Scene {
  readonly origin: Program;
  readonly tracker: Program;
  readonly agents: readonly [Program, Program, Program];
  readonly boss: Readonly<Record<string, string>>;
  readonly prometheus: Prometheus;
  readonly upstream: string;
}

/** Everybody is up and was scraped before anything happens: what happens later is an increase. */
async function setScene(t: Test): Promise<Scene> {
  const folder = await makeFolder(t);
  const htpasswd = path.join(folder, 'htpasswd');
  await writeHtpasswd(htpasswd, { boss: 'secret' });
  const cluster = await makeCluster(t);
  const token = ['--admission', 'token', '--join-token-file', await cluster.joinToken()];
  const upstream = await dockerRegistry(t);
  const origin = await startProgram(t, 'origin', [
    ...['--admission', 'token', '--cluster-key-file', cluster.keyFile, '--bittorrent-listen', 'off'],
    ...['--access-htpasswd', htpasswd, '--access-rules', 'subject=user:boss actions=*'],
    ...['--access-rules', 'subject=anonymous repositories=** actions=pull,metrics,join'],
    ...['--upstream', `up.example=${upstream.url}`, '--gc-interval', '1s'],
  ]);
  const tracker = await startProgram(t, 'tracker', [...token, '--origin', origin.url]);
  const agent = (name: string, flags: readonly string[]): Promise<Program> =>
    startProgram(t, 'agent', [
      ...[...token, '--origin', origin.url, '--bittorrent-listen', 'off', '--node-name', name],
      ...flags,
    ]);
  const agents = [
    await agent('large', ['--discovery-dht', 'on']),
    await agent('other', ['--download-rate', '200MiB/s', '--upload-rate', '200MiB/s']),
    await agent('small', ['--cache-size', '9MB']),
  ] as const;
  const prometheus = await startPrometheus(t, {
    'shoal-origin': [origin.url],
    'shoal-tracker': [tracker.url],
    'shoal-agent': agents.map(({ url }) => url),
  });
  return { origin, tracker, agents, boss: basic('boss', 'secret'), prometheus, upstream: upstream.url };
}

async function pullImage(
  agent: Program,
  repository: string,
  blobs: readonly string[],
  ns = '',
): Promise<void> {
  const query = ns === '' ? '' : `?ns=${ns}`;
  const { status } = await pull(`${agent.url}/v2/${repository}/manifests/v1${query}`);
  if (status !== 200) throw new Error(`the manifest of ${repository} answered ${status}`);
  for (const digest of blobs) await pull(`${agent.url}/v2/${repository}/blobs/${digest}${query}`);
}

/** Something of everything that is counted. */
async function act({ origin, tracker, agents, boss, upstream }: Scene): Promise<void> {
  const [large, other, small] = agents;
  const pushed = async (name: string, bytes: number) =>
    pushImage(origin.url, name, 'v1', [someBytes(bytes), someBytes(2_000)], boss);
  const app = await pushed('team/app', 6_000_000);
  for (const agent of [large, other, small]) await pullImage(agent, 'team/app', app.layers);
  await pullImage(large, 'team/app', app.layers);
  const next = await pushed('team/next', 6_000_000);
  await pullImage(small, 'team/next', next.layers);
  const lazy = await pushBlob(origin.url, 'team/lazy', someBytes(3_000_000), boss);
  await pull(`${large.url}/v2/team/lazy/blobs/${lazy}`, { range: 'bytes=100000-100999' });
  const foreign = await pushImage(upstream, 'tools/jq', 'v1', [someBytes(700_000)]);
  await pullImage(large, 'tools/jq', foreign.layers, 'up.example');
  // Nobody's: a blob that is nowhere, an announce without a membership, a wrong password.
  await fetch(`${large.url}/v2/team/app/blobs/sha256:${'0'.repeat(64)}`);
  const announce = `info_hash=${'%aa'.repeat(20)}&peer_id=-XX0000-abcdefghijkl&port=7000&left=1`;
  for (const { url } of [origin, tracker]) await fetch(`${url}/announce?${announce}`);
  for (const url of [origin.url, tracker.url]) {
    await fetch(`${url}/api/v1/agents/${'0'.repeat(40)}`, { method: 'DELETE' });
  }
  await fetch(`${origin.url}/api/v1/report`, { headers: basic('boss', 'wrong') });
  await fetch(`${origin.url}/api/v1/scrub`, { method: 'POST', headers: boss });
  await rollOut(origin, boss, 'team/rolled', 9_000_000);
}

/** To all three nodes; the small one cannot hold it and fails, with what is small of it already there. */
async function rollOut(
  origin: Program,
  boss: Readonly<Record<string, string>>,
  name: string,
  bytes: number,
): Promise<void> {
  await pushImage(origin.url, name, 'v1', [someBytes(bytes)], boss);
  const begun = await fetch(`${origin.url}/api/v1/rollouts`, {
    method: 'POST',
    headers: boss,
    body: JSON.stringify({ image: `${name}:v1`, nodes: '*', waves: '1,100%', maxUnavailable: '1' }),
  });
  const { id } = (await begun.json()) as { id: string };
  if (begun.status !== 201) throw new Error(`the rollout was answered ${begun.status}`);
  await until(async () => {
    const answer = await fetch(`${origin.url}/api/v1/rollouts/${id}`, { headers: boss });
    return ((await answer.json()) as { state: string }).state === 'done';
  });
}

t.test('each panel has data, each name exists, and the accounts agree', async (t) => {
  const scene = await setScene(t);
  const { origin, agents, boss, prometheus } = scene;
  await act(scene);

  const has = async (expr: string): Promise<boolean> =>
    (await prometheus.query(expr)).some(({ value }) => !Number.isNaN(value));
  /** What is counted now is scraped a little later: as many looks as a minute has scrapes. */
  let empty = queries;
  for (let look = 0; look < 60 && empty.length > 0; look += 1) {
    const found = await Promise.all(empty.map(({ expr }) => has(expr)));
    empty = empty.filter((_, at) => !found[at]);
    if (empty.length > 0) await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  t.same(empty, [], 'panels without data');
  t.ok(queries.length > 40);

  const names = await prometheus.names();
  const used = [...queries, ...rules.map(({ alert, expr }) => ({ where: alert, expr }))];
  const definitions = dashboard.templating.list.flatMap(({ name, definition }) =>
    definition === undefined
      ? []
      : [{ where: name, expr: definition.replace(/^label_values\((.*)\)$/, '$1') }],
  );
  for (const { where, expr } of [...used, ...definitions]) {
    const selectors = selectorsIn(expr);
    t.ok(selectors.length > 0, `${where} names no metric`);
    for (const { name, labels } of selectors) {
      t.ok(names.has(name), `${where}: there is no ${name}`);
      for (const label of labels)
        t.ok(await has(`${name}{${label}!=""}`), `${where}: ${name} has no ${label}`);
    }
  }
  for (const { alert, expr } of rules) await t.resolves(prometheus.query(expr), alert);
  // The small node failed its part, so one alert is on its way at least; none is fired by what is in order.
  t.equal((await prometheus.query('ALERTS{alertname="ShoalDown"}')).length, 0);

  for (const { url } of [origin, scene.tracker, ...agents]) {
    const { code, words } = await promtool(
      ['check', 'metrics'],
      await (await fetch(`${url}/metrics`)).text(),
    );
    t.equal(code, 0, `${url}/metrics: ${words}`);
  }

  // Who stops tells the rest of its account. One is killed instead, which may lose what it counted in the last seconds, and
  // so it is waited for.
  const [large, other, small] = agents;
  const told = async (): Promise<Report> =>
    (await (await fetch(`${origin.url}/api/v1/report`, { headers: boss })).json()) as Report;
  const fetchedFromOrigin = async (): Promise<number> => {
    const counts = agents.map((agent) => agent.metric('shoal_fetch_bytes_total', { from: 'origin' }));
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
  };
  const expected = await fetchedFromOrigin();
  await until(async () => fromOrigin(await told()) >= 0.995 * expected);
  await large.signal('SIGKILL');
  for (const agent of [other, small]) await agent.signal('SIGTERM');
  await origin.signal('SIGTERM');
  await origin.restart();
  await large.restart();
  const report = await told();
  const { http = 0, swarm = 0 } = report.total.origin ?? {};
  t.ok(
    Math.abs(fromOrigin(report) - (http + swarm)) <= 0.01 * (http + swarm),
    `agents had ${fromOrigin(report)} from the origin, which sent ${http + swarm}`,
  );
  t.ok(report.total.fetched.peer > 6_000_000, 'agents gave to agents');
  t.equal(report.images.find(({ repository }) => repository === 'team/app')?.nodes, 3);
  t.match(
    report.images.find(({ repository }) => repository === 'team/rolled'),
    { tags: ['v1'], nodes: 3 },
  );
  t.ok(report.images.some(({ repository }) => repository === 'up.example/tools/jq'));

  const login = path.join(await makeFolder(t), 'auth.json');
  const auth = Buffer.from('boss:secret').toString('base64');
  await writeFile(login, JSON.stringify({ auths: { [new URL(origin.url).host]: { auth } } }));
  const flags = ['--url', origin.url, '--auth-file', login];
  const shown = await runShoal(['report', ...flags, '--origin-rate', '1MB/s']);
  t.equal(shown.code, 0, shown.stderr);
  t.match(shown.stdout, /team\/rolled:v1@sha256:[0-9a-f]{12} +3 /);
  t.match(shown.stdout, /egress ratio 0\.\d{3}; the origin sent \d/);
  const one = await runShoal(['report', 'team/app', ...flags]);
  t.match(one.stdout, /team\/app:v1@sha256:[0-9a-f]{12} +20\d\d-\d\d-\d\d +3 /);
  t.notMatch(one.stdout, /rolled/);
  const json = await runShoal(['report', ...flags, '--json', '--days', '1']);
  t.same((JSON.parse(json.stdout) as Report).total, report.total);
});

interface Report {
  readonly total: {
    readonly fetched: Readonly<Record<'peer' | 'originSwarm' | 'originHttp', number>>;
    readonly origin: { readonly http: number; readonly swarm: number } | null;
  };
  readonly images: readonly {
    readonly repository: string;
    readonly nodes: number;
    readonly tags: readonly string[];
  }[];
}

const fromOrigin = ({ total: { fetched } }: Report): number => fetched.originSwarm + fetched.originHttp;
