/** Holds what the origin tells of a rollout against what the agents say of themselves, round after round. */
import { sumMetric } from '../../test/support/metrics-text.ts';
import type { Node, Program } from '../cold/world.ts';

/** What is read here of `GET /api/v1/rollouts/<id>?nodes=true`. */
export interface View {
  readonly state: string;
  readonly reason: string | null;
  readonly wave: number;
  readonly nodes: Readonly<Record<'nodes' | 'done' | 'failed' | 'away' | 'fetching', number>>;
  readonly bytes: Readonly<Record<string, number>>;
  readonly savedBytes: number;
  readonly eachNode: readonly NodeView[];
}

interface NodeView {
  readonly name: string;
  readonly wave: number;
  readonly state: string;
  readonly haveBytes: number;
  readonly bytes: Readonly<Record<string, number>>;
}

export interface WatchedAgent {
  readonly name: string;
  readonly node: Node;
  readonly program: Program;
}

export interface Watcher {
  /** One look at everybody; undefined while the origin does not answer. */
  look(): Promise<View | undefined>;
  /** What was told and is not so, in words. */
  readonly lies: readonly string[];
  readonly looks: number;
  readonly unanswered: number;
  /** Bytes that all agents together have fetched over the network, by the time of the look; milliseconds. */
  readonly fetched: readonly { readonly at: number; readonly bytes: number }[];
}

const NETWORK = ['peer', 'originSwarm', 'originHttp', 'upstream'] as const;

export function watchRollout(options: {
  readonly home: Node;
  readonly url: string;
  /** Those that run now. */
  readonly agents: () => readonly WatchedAgent[];
  /** Every blob of the image. */
  readonly blobs: readonly string[];
}): Watcher {
  const { home, url, agents, blobs } = options;
  const lies: string[] = [];
  const fetched: { at: number; bytes: number }[] = [];
  const proved = new Set<string>();
  let before: View | undefined;
  let [looks, unanswered] = [0, 0];

  const fetchedBy = async ({ node, program }: WatchedAgent): Promise<number> =>
    sumMetric(await node.text(`${program.url}/metrics`), 'shoal_fetch_bytes_total', {});
  const eachFetched = async (): Promise<Map<string, number>> =>
    new Map(await Promise.all(agents().map(async (agent) => [agent.name, await fetchedBy(agent)] as const)));
  const holds = async ({ node, program }: WatchedAgent): Promise<boolean> => {
    const { blobs: cached } = JSON.parse(await node.text(`${program.url}/api/v1/cache`)) as {
      blobs: { digest: string }[];
    };
    const here = new Set(cached.map(({ digest }) => digest));
    return blobs.every((digest) => here.has(digest));
  };

  /** The agents were asked before: who had bytes then was in a wave that had begun by the time of the view. */
  const checkWaves = (view: View, earlier: ReadonlyMap<string, number>): void => {
    for (const { name, wave, state } of view.eachNode) {
      if (wave > view.wave && (earlier.get(name) ?? 0) > 0)
        lies.push(`${name} fetched before its wave ${wave}`);
      if (wave > view.wave && state === 'done') lies.push(`${name} is done before its wave ${wave}`);
    }
    if (before === undefined || view.wave <= before.wave) return;
    const open = view.eachNode.filter(
      ({ wave, state }) => wave < view.wave && /waiting|fetching/.test(state),
    );
    // Who came back since may fetch; it was away when the wave began.
    const late = open.filter(
      ({ name }) => before?.eachNode.find((node) => node.name === name)?.state !== 'away',
    );
    for (const { name } of late) lies.push(`wave ${view.wave} began before ${name} had reported`);
  };
  const checkHistory = (view: View): void => {
    if (before === undefined) return;
    if (view.wave < before.wave) lies.push(`the wave went back from ${before.wave} to ${view.wave}`);
    if (before.state === 'done' && view.state !== 'done') lies.push(`it was done and is ${view.state}`);
    const now = new Map(view.eachNode.map((node) => [node.name, node]));
    for (const { name, state, haveBytes } of before.eachNode) {
      const node = now.get(name);
      if (state === 'done' && node?.state !== 'done') lies.push(`${name} was done and is ${node?.state}`);
      if ((node?.haveBytes ?? 0) < haveBytes) lies.push(`${name} has fewer bytes than before`);
    }
  };
  const checkDone = async (view: View): Promise<void> => {
    const done = new Set(view.eachNode.filter(({ state }) => state === 'done').map(({ name }) => name));
    const unproved = agents().filter(({ name }) => done.has(name) && !proved.has(name));
    for (const agent of unproved) {
      if (await holds(agent)) proved.add(agent.name);
      else lies.push(`${agent.name} is told done and does not hold every blob`);
    }
    if (done.size !== view.nodes.done)
      lies.push(`${view.nodes.done} are counted as done, ${done.size} are told so`);
  };
  /** The agents are asked afterwards: they had at least what the view says. */
  const checkBytes = (view: View, later: ReadonlyMap<string, number>): void => {
    for (const { name, bytes } of view.eachNode) {
      const own = later.get(name);
      const told = NETWORK.reduce((sum, source) => sum + (bytes[source] ?? 0), 0);
      if (own !== undefined && told > own) lies.push(`${name} fetched ${own} bytes and ${told} are told`);
    }
  };

  return {
    lies,
    fetched,
    get looks() {
      return looks;
    },
    get unanswered() {
      return unanswered;
    },
    async look() {
      const earlier = await eachFetched();
      const bytes = [...earlier.values()].reduce((sum, count) => sum + count, 0);
      fetched.push({ at: performance.now(), bytes });
      looks += 1;
      const text = await home.text(`${url}?nodes=true`).catch(() => undefined);
      if (text === undefined) {
        unanswered += 1;
        return undefined;
      }
      const view = JSON.parse(text) as View;
      checkWaves(view, earlier);
      checkHistory(view);
      await checkDone(view);
      checkBytes(view, await eachFetched());
      before = view;
      return view;
    },
  };
}
