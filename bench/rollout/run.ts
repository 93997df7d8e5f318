/** One rollout in network namespaces, with agents that are down and an origin that is killed. */
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { sumMetric } from '../../test/support/metrics-text.ts';
import { createWorld, type Node, type Program } from '../cold/world.ts';
import { watchCores } from '../measure/cores.ts';
import { type View, type WatchedAgent, watchRollout } from './watch.ts';

export interface Claim {
  readonly claim: string;
  readonly holds: boolean;
  readonly seen: string;
}

export interface RolloutRun {
  readonly claims: readonly Claim[];
  readonly figures: Readonly<Record<string, string>>;
}

const REPOSITORY = 'bench/rollout';
const POLL_MS = 250;
const AWAY_DEADLINE_MS = 60_000;
const DEADLINE_MS = 600_000;
const ORIGIN_OUT_MS = 2_000;
const MOST_APART = 0.01;
/** Links and processes are not exact clocks: a token bucket holds over seconds. */
const RATE_WINDOW_MS = 5_000;
const RATE_MARGIN = 1.05;

export async function runRollout(options: {
  readonly agents: number;
  readonly rate: string;
  readonly size: number;
  readonly waves: string;
  readonly down: number;
  readonly zones: number;
  readonly bytesPerSecond: number | undefined;
  readonly transports: string;
  readonly folder: string;
}): Promise<RolloutRun> {
  const { folder, down, size } = options;
  const world = await createWorld({
    nodes: options.agents + 1,
    rate: options.rate,
    transports: options.transports,
  });
  try {
    const [home, ...nodes] = world.nodes;
    if (!home) throw new Error('no nodes');
    const startOrigin = (): Promise<Program> => home.start('origin', ['--data', path.join(folder, 'origin')]);
    let origin = await startOrigin();
    const { url } = origin;
    const start = async (node: Node, index: number): Promise<WatchedAgent> => {
      const name = `node-${index}`;
      const where = ['--data', path.join(folder, name), '--zone', `zone${index % options.zones}`];
      const program = await node.start('agent', ['--origin', url, '--node-name', name, ...where]);
      return { name, node, program };
    };
    const all = await Promise.all(nodes.map(start));
    const digest = await home.push(url, REPOSITORY, 'v1', Date.now() % 1_000_000, size);
    const manifest = await home.text(`${url}/v2/${REPOSITORY}/manifests/v1`);
    const blobs = [...manifest.matchAll(/"digest":"(sha256:[0-9a-f]{64})"/g)].map(([, each = '']) => each);

    const gone = new Set(all.slice(all.length - down));
    for (const { program } of gone) await program.kill();
    await untilAway(home, url, options.agents, down);

    const outBefore = await sentBy(home, url);
    const coresUsed = await watchCores();
    const begunAt = performance.now();
    const since = (): number => (performance.now() - begunAt) / 1000;
    const created = await home.post(`${url}/api/v1/rollouts`, {
      ...{ image: `${REPOSITORY}:v1`, nodes: '*', waves: options.waves, maxUnavailable: String(down) },
      ...(options.bytesPerSecond !== undefined && { bytesPerSecond: options.bytesPerSecond }),
    });
    const { id, waveCount } = JSON.parse(created) as { id: string; waveCount: number };
    const watcher = watchRollout({
      ...{ home, url: `${url}/api/v1/rollouts/${id}`, blobs },
      agents: () => all.filter((agent) => !gone.has(agent)),
    });

    const waveAt = new Map<number, number>();
    let sent = 0;
    /** What the origin had given to its connections when it was killed: it sent these, and nobody got them. */
    let died = 0;
    let killedAt: number | undefined;
    let last: View | undefined;
    for (; performance.now() - begunAt < DEADLINE_MS; await delay(POLL_MS)) {
      const view = await watcher.look();
      if (view === undefined) continue;
      last = view;
      if (!waveAt.has(view.wave)) waveAt.set(view.wave, since());
      if (killedAt === undefined && isHalfWay(view, size)) {
        killedAt = since();
        sent += (await sentBy(home, url)) - outBefore;
        died = await home.underWay();
        await origin.kill();
        await watcher.look();
        await delay(ORIGIN_OUT_MS);
        origin = await startOrigin();
        // Who is down comes back; the others stay away.
        const [back] = gone;
        if (back !== undefined) {
          gone.delete(back);
          all[all.indexOf(back)] = await start(back.node, all.indexOf(back));
        }
        continue;
      }
      if (view.state !== 'running' && view.nodes.fetching === 0) break;
    }
    const seconds = since();
    const cores = await coresUsed();
    if (last === undefined) throw new Error('the origin never answered');
    sent += (await sentBy(home, url)) - (killedAt === undefined ? outBefore : 0);
    const whole = await readAll(
      all.filter((agent) => !gone.has(agent)),
      digest,
    );
    const told = (last.bytes['originSwarm'] ?? 0) + (last.bytes['originHttp'] ?? 0);
    const fetchedOfOrigin = await sumOf(all.filter((agent) => !gone.has(agent)));
    const reachable = options.agents - gone.size;
    const apart = Math.abs(sent - died - told) / sent;
    const direct = reachable * blobs.length === 0 ? 0 : reachable * size;

    const claims: Claim[] = [
      {
        claim: 'it ends as done, in as many waves as planned',
        holds: last.state === 'done' && last.wave === waveCount,
        seen: `${last.state}, wave ${last.wave} of ${waveCount}`,
      },
      {
        claim: 'who is down is counted as unavailable, nobody else',
        holds: last.nodes.away + last.nodes.failed === gone.size && last.nodes.done === reachable,
        seen: `${last.nodes.done} done, ${last.nodes.away} away, ${last.nodes.failed} failed (${last.reason ?? '-'})`,
      },
      {
        claim: 'every reachable node has the image: sha256 read back',
        holds: whole === reachable,
        seen: `${whole} of ${reachable}`,
      },
      {
        claim: 'the status was true throughout',
        holds: watcher.lies.length === 0,
        seen: watcher.lies[0] ?? `${watcher.looks} looks, ${watcher.unanswered} while the origin was out`,
      },
      {
        claim: 'the two accounts of bytes agree within 1 %',
        holds: apart <= MOST_APART,
        seen: `agents ${mb(told)}, origin ${mb(sent)}, of which ${mb(died)} died with it in its sockets: ${(100 * apart).toFixed(2)} %`,
      },
      ...rateClaims(watcher.fetched, options.bytesPerSecond),
    ];
    for (const lie of watcher.lies.slice(1)) console.error(`untrue: ${lie}`);
    const figures = {
      'from create to the end': `${seconds.toFixed(1)} s`,
      'waves began after': [...waveAt.values()].map((at) => `${at.toFixed(1)} s`).join(', '),
      'origin killed after': killedAt === undefined ? 'never' : `${killedAt.toFixed(1)} s`,
      'origin sent, images': `${(sent / size).toFixed(2)} (direct pulls: ${(direct / size).toFixed(0)})`,
      'agents received of the origin, unverified too': `${(fetchedOfOrigin / size).toFixed(2)} images`,
      'from other agents, as told': `${(last.savedBytes / size).toFixed(2)} images`,
      'processors busy': `${(100 * cores.busy).toFixed(0)} %`,
    };
    return { claims, figures };
  } finally {
    await world.close();
  }
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

async function untilAway(home: Node, url: string, agents: number, down: number): Promise<void> {
  for (const from = performance.now(); performance.now() - from < AWAY_DEADLINE_MS; await delay(POLL_MS)) {
    const { nodes } = JSON.parse(await home.text(`${url}/api/v1/nodes`)) as { nodes: { state: string }[] };
    if (nodes.length === agents && nodes.filter(({ state }) => state === 'away').length === down) return;
  }
  throw new Error('the agents did not all make themselves known');
}

/** The nodes of the second wave have half of what they shall have. */
function isHalfWay(view: View, size: number): boolean {
  const second = view.eachNode.filter(({ wave }) => wave === 2);
  const have = second.reduce((sum, { haveBytes }) => sum + haveBytes, 0);
  return view.wave === 2 && have > (second.length * size) / 2;
}

async function sentBy(home: Node, url: string): Promise<number> {
  const metrics = await home.text(`${url}/metrics`);
  return sumMetric(metrics, 'shoal_origin_blob_bytes_total', { direction: 'out' });
}

async function sumOf(agents: readonly WatchedAgent[]): Promise<number> {
  const texts = await Promise.all(agents.map(({ node, program }) => node.text(`${program.url}/metrics`)));
  return texts.reduce((sum, text) => sum + sumMetric(text, 'shoal_fetch_bytes_total', { from: 'origin' }), 0);
}

/** How many agents give the layer out of their cache with the right sha256. */
async function readAll(agents: readonly WatchedAgent[], digest: string): Promise<number> {
  let whole = 0;
  for (const { node, program } of agents) {
    const fromCache = async (): Promise<number> =>
      sumMetric(await node.text(`${program.url}/metrics`), 'shoal_mirror_bytes_total', { source: 'cache' });
    const before = await fromCache();
    await node.pull(program.url, REPOSITORY, 'v1', digest);
    if ((await fromCache()) > before) whole += 1;
  }
  return whole;
}

function rateClaims(
  fetched: readonly { readonly at: number; readonly bytes: number }[],
  wanted: number | undefined,
): Claim[] {
  if (wanted === undefined) return [];
  const rates = fetched.flatMap(({ at, bytes }) => {
    const from = fetched.find((each) => each.at >= at - RATE_WINDOW_MS);
    if (from === undefined || at - from.at < RATE_WINDOW_MS / 2) return [];
    return [((bytes - from.bytes) * 1000) / (at - from.at)];
  });
  const most = Math.max(0, ...rates);
  const rate = (value: number): string => `${(value / 1e6).toFixed(1)} MB/s`;
  return [
    {
      claim: `all together receive at most ${rate(wanted)}, over 5 s`,
      holds: most > 0 && most <= wanted * RATE_MARGIN,
      seen: `at most ${rate(most)}, ${rate(rates.toSorted((a, b) => a - b)[rates.length >> 1] ?? 0)} in the middle`,
    },
  ];
}
