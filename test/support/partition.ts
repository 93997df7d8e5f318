/**
 * Two zones, each with an origin and two agents, in network namespaces; the link between the zones is cut
 * for a while. Needs root.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createNetwork } from '../../bench/fanout/network.ts';
import { createProcesses } from '../../bench/fanout/processes.ts';

const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));
const SIZE = 3 * 1024 * 1024;
const MIRROR = 'http://127.0.0.1:5001';

/** Node 0 is the origin of zone 0, node 3 that of zone 1; the others are agents. */
const ORIGINS = [0, 3] as const;
const AGENTS = [1, 2, 4, 5] as const;
const zoneOf = (node: number): number => (node < 3 ? 0 : 1);

export interface Healed {
  /** Of each pull while the link was cut. */
  readonly pullSeconds: readonly number[];
  /** From the mending of the link until both trackers knew what every agent holds. */
  readonly rightAfterSeconds: number;
}

/**
 * Cuts the link for so long; meanwhile both sides pull what they have, old and new. Resolves when both
 * trackers have every inventory right again. `say` hears what happens.
 * @throws Error when a pull fails or is wrong, or an inventory is not right after `deadlineMs`
 */
export async function cutAndHeal(options: {
  readonly cutMs: number;
  readonly deadlineMs: number;
  readonly say: (line: string) => void;
}): Promise<Healed> {
  const { say } = options;
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-partition-'));
  const network = await createNetwork(6, '1gbit', zoneOf);
  const processes = createProcesses();
  const originOf = (node: number): string => `http://${network.address(node)}:5000`;
  const curl = (node: number, ...args: string[]): Promise<string> =>
    processes.run(network.namespace(node), 'curl', ['-sS', '--fail', '--max-time', '60', ...args]);

  /** What each agent pulled. */
  const holds = new Map<number, Set<string>>(AGENTS.map((node) => [node, new Set()]));
  const push = async (origins: readonly number[]): Promise<string> => {
    const bytes = randomBytes(SIZE);
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const file = path.join(folder, digest.slice(7));
    await writeFile(file, bytes);
    for (const node of origins) {
      const begun = await curl(node, '-i', '-X', 'POST', `${originOf(node)}/v2/zones/blob/blobs/uploads/`);
      const location = new URL(/^location: (\S+)/im.exec(begun)?.[1] ?? '', originOf(node));
      location.searchParams.set('digest', digest);
      await curl(node, '-T', file, '-H', 'content-type: application/octet-stream', location.href);
    }
    return digest;
  };
  const pull = async (node: number, digest: string): Promise<number> => {
    const from = performance.now();
    const url = `${MIRROR}/v2/zones/blob/blobs/${digest}`;
    const got = await processes.sha256(network.namespace(node), 'curl', [
      '-sS',
      '--fail',
      '--max-time',
      '60',
      url,
    ]);
    if (`sha256:${got}` !== digest) throw new Error(`agent ${node} gave ${got} for ${digest}`);
    holds.get(node)?.add(digest);
    return (performance.now() - from) / 1000;
  };
  /** An origin that was out of reach is left alone for some seconds; until then the answer is 503. */
  const pullSoon = async (node: number, digest: string): Promise<number> => {
    const from = performance.now();
    for (;;) {
      try {
        return await pull(node, digest);
      } catch (error) {
        if (performance.now() - from > options.deadlineMs) throw error;
        await delay(500);
      }
    }
  };
  /** What a tracker has wrong, in words; undefined: nothing. */
  const wrongAt = async (node: number): Promise<string | undefined> => {
    const answer = JSON.parse(await curl(node, `${originOf(node)}/api/v1/agents`)) as {
      agents: { peer: string | null; blobs: number }[];
    };
    for (const agent of AGENTS) {
      const known = answer.agents.find(({ peer }) => peer?.includes(`/${network.address(agent)}/`));
      const held = holds.get(agent)?.size;
      if (known?.blobs !== held)
        return `agent ${agent}: ${known?.blobs ?? 'unknown'} blobs instead of ${held}`;
    }
    return undefined;
  };
  const untilRight = async (): Promise<number> => {
    const from = performance.now();
    for (;;) {
      const wrong = (await Promise.all(ORIGINS.map(wrongAt))).find((words) => words !== undefined);
      if (wrong === undefined) return (performance.now() - from) / 1000;
      if (performance.now() - from > options.deadlineMs) throw new Error(`not right in time: ${wrong}`);
      await delay(100);
    }
  };

  try {
    for (const node of ORIGINS) {
      const listen = [
        '--listen',
        `${network.address(node)}:5000`,
        '--peer-listen',
        `${network.address(node)}:4001`,
      ];
      const flags = ['--bittorrent-listen', 'off', '--admission', 'open', '--log-level', 'error'];
      const data = path.join(folder, `origin${node}`);
      processes.start(network.namespace(node), bin, ['origin', ...listen, ...flags, '--data', data]);
    }
    for (const node of AGENTS) {
      const listen = ['--listen', '127.0.0.1:5001', '--peer-listen', `${network.address(node)}:4002`];
      const flags = ['--bittorrent-listen', 'off', '--admission', 'open', '--log-level', 'error'];
      const where = [
        ...ORIGINS.flatMap((origin) => ['--origin', originOf(origin)]),
        '--zone',
        `zone${zoneOf(node)}`,
      ];
      const data = path.join(folder, `agent${node}`);
      processes.start(network.namespace(node), bin, ['agent', ...listen, ...flags, ...where, '--data', data]);
    }
    const untilReady = (node: number, url: string): Promise<void> =>
      processes.untilReady(network.namespace(node), `${url}/readyz`);
    for (const node of ORIGINS) await untilReady(node, originOf(node));
    for (const node of AGENTS) await untilReady(node, MIRROR);

    const [one, two] = [await push(ORIGINS), await push(ORIGINS)];
    await Promise.all([pull(1, one), pull(4, two)]);
    say(`inventories are known after ${(await untilRight()).toFixed(1)} s`);

    await network.setLink(1, 'down');
    const cutAt = performance.now();
    say('the link is cut');
    const fresh = await Promise.all([push([0]), push([3])]);
    const pullSeconds = await Promise.all([
      pull(2, one),
      pull(5, two),
      // The agent that has it is on the other side; the origin of this side has it too.
      pull(2, two),
      pull(5, one),
      pull(1, fresh[0]),
      pull(4, fresh[1]),
    ]);
    say(`pulls while it is cut: ${pullSeconds.map((seconds) => seconds.toFixed(2)).join(', ')} s`);
    await delay(Math.max(0, options.cutMs - (performance.now() - cutAt)));
    await network.setLink(1, 'up');
    say(`the link is mended after ${((performance.now() - cutAt) / 1000).toFixed(1)} s`);
    const rightAfterSeconds = await untilRight();
    say(`both trackers are right ${rightAfterSeconds.toFixed(1)} s later`);
    // And what only the other side had is had from there, once an agent asks there again.
    await Promise.all([pullSoon(5, fresh[0]), pullSoon(2, fresh[1])]);
    say('each side has what was new on the other');
    return { pullSeconds, rightAfterSeconds };
  } finally {
    await processes.close();
    await network.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
