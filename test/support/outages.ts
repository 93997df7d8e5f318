/**
 * containerd, podman and skopeo pull through agents of their own while, one after another, tracker,
 * origin and two of five agents are killed by SIGKILL and come back. Each client pulls on through every
 * outage; that of its own agent too, where the client has a next host (containerd, podman).
 *
 * Shared things are killed in the middle of the pulls, and so, at last, is the own agent of each client, which comes back at
 * once: the client begins its pull again then, if it did not outlast that by itself. The images are new to the
 * client's agent: their manifests passed through it before, and with them the configs; their layers are in
 * other agents only. So each pull during an outage is one over the swarm.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { startContainerd } from './containerd.ts';
import { needs } from './debian.ts';
import { pull, until } from './in-process.ts';
import { pushRunnableImage } from './runnable-image.ts';
import { type Program, startProgram } from './shoal.ts';

const run = promisify(execFile);
const quiet = { maxBuffer: 16 << 20, timeout: 120_000 };
const LAYER_BYTES = 2_500_000;
/** Into the pulls, at the latest: they take about a second. */
const WITHIN_MS = 400;
const REPOSITORY = 'registry.test/load/app';

interface Client {
  readonly name: string;
  pull(tag: string): Promise<void>;
}

interface Outage {
  readonly what: string;
  readonly programs: readonly Program[];
  /**
   * `before`: the pulls. `during`: in their middle, and back when they are done. `own`: the client's agent in the middle of
   * its pull, and back at once; the client may begin its pull again, once.
   */
  readonly when: 'before' | 'during' | 'own';
}

export interface OutageFigures {
  /** Pulls that were done in an outage, by what was down. */
  readonly pulls: Readonly<Record<string, number>>;
  readonly failed: readonly string[];
  /** Pulls that were begun again, since the client's own agent was killed under them. */
  readonly repeated: number;
}

/** `rounds`: how often everything is killed. */
export async function pullThroughOutages(t: Test, rounds: number): Promise<OutageFigures> {
  await needs(t, ['containerd', 'podman', 'skopeo']);
  const origin = await startProgram(t, 'origin');
  const tracker = await startProgram(t, 'tracker', ['--origin', origin.url]);
  const flags = ['--origin', origin.url, '--origin', tracker.url];
  const agents = await Promise.all([1, 2, 3, 4, 5].map(() => startProgram(t, 'agent', flags)));
  const [forContainerd, forPodman, forSkopeo, seedOne, seedTwo] = agents;
  if (!forContainerd || !forPodman || !forSkopeo || !seedOne || !seedTwo) throw new Error('five agents');
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-outages-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const clients: readonly Client[] = [
    await containerdClient(t, folder, forContainerd, seedTwo),
    await podmanClient(folder, forPodman, seedTwo),
    skopeoClient(folder, forSkopeo),
  ];
  const outages: readonly Outage[] = [
    { what: 'tracker', programs: [tracker], when: 'during' },
    { what: 'origin', programs: [origin], when: 'during' },
    { what: 'an agent that seeds', programs: [seedOne], when: 'during' },
    { what: 'two agents', programs: [forContainerd, seedOne], when: 'before' },
    { what: "the client's own agent", programs: [forContainerd, forPodman, forSkopeo], when: 'own' },
  ];
  const pulls: Record<string, number> = {};
  const failed: string[] = [];
  let repeated = 0;

  for (let round = 0; round < rounds; round += 1) {
    for (const [index, outage] of outages.entries()) {
      const { what, programs, when } = outage;
      const tag = `v${round}-${index}`;
      await spread(origin.url, tag, agents, [seedOne, seedTwo]);
      const kill = async (): Promise<void> => {
        if (when !== 'before') await delay(Math.random() * WITHIN_MS);
        await Promise.all(programs.map((program) => program.signal('SIGKILL')));
        if (when === 'own') await Promise.all(programs.map((program) => program.restart()));
      };
      if (when === 'before') await kill();
      const killed = when === 'before' ? Promise.resolve() : kill();
      await Promise.all([
        killed,
        ...clients.map(async (client) => {
          try {
            await client.pull(tag).catch(async (error: unknown) => {
              if (when !== 'own') throw error;
              repeated += 1;
              await killed;
              await client.pull(tag);
            });
            pulls[what] = (pulls[what] ?? 0) + 1;
          } catch (error) {
            failed.push(`${client.name} while ${what} was down: ${(error as Error).message}`);
          }
        }),
      ]);
      if (when !== 'own') await Promise.all(programs.map((program) => program.restart()));
    }
  }
  return { pulls, failed, repeated };
}

/** Pushes an image; all agents hear of its manifest, two of them have its blobs. */
async function spread(
  registry: string,
  tag: string,
  agents: readonly Program[],
  seeds: readonly Program[],
): Promise<void> {
  const digests = await pushRunnableImage(registry, REPOSITORY, tag, LAYER_BYTES);
  const known = async ({ url }: Program): Promise<void> => {
    // An agent that has just come back leaves the origin alone for a moment.
    await until(async () => (await pull(`${url}/v2/${REPOSITORY}/manifests/${tag}`)).status === 200);
  };
  await Promise.all(agents.map(known));
  for (const seed of seeds) {
    for (const digest of digests) {
      const answer = await pull(`${seed.url}/v2/${REPOSITORY}/blobs/${digest}`);
      if (answer.status !== 200) throw new Error(`a seed answered ${answer.status}`);
    }
  }
  // The config comes with the manifest, which nobody may outrun by killing the origin.
  for (const agent of agents) {
    await until(async () => {
      const told = await fetch(`${agent.url}/api/v1/pulls/${digests[0]}`);
      return ((await told.json()) as { pulls: { state: string }[] }).pulls[0]?.state === 'complete';
    });
  }
}

async function containerdClient(t: Test, folder: string, agent: Program, next: Program): Promise<Client> {
  const containerd = await startContainerd(t);
  const hosts = path.join(folder, 'hosts');
  await mkdir(path.join(hosts, 'registry.test'), { recursive: true });
  const mirrors = [agent, next].map(({ url }) => `[host."${url}"]\n  capabilities = ["pull", "resolve"]\n`);
  await writeFile(
    path.join(hosts, 'registry.test/hosts.toml'),
    `server = "https://registry.test"\n${mirrors.join('')}`,
  );
  return {
    name: 'containerd',
    async pull(tag) {
      const reference = `${REPOSITORY}:${tag}`;
      await containerd.ctr('images', 'pull', '--hosts-dir', hosts, reference);
      await containerd.ctr('images', 'rm', '--sync', reference);
    },
  };
}

async function podmanClient(folder: string, agent: Program, next: Program): Promise<Client> {
  const registries = path.join(folder, 'registries.conf');
  const mirrors = [agent, next].map(
    ({ url }) => `[[registry.mirror]]\nlocation = "${new URL(url).host}/registry.test"\ninsecure = true\n`,
  );
  await writeFile(registries, `[[registry]]\nlocation = "registry.test"\n${mirrors.join('')}`);
  const storage = ['--root', `${folder}/p`, '--runroot', `${folder}/r`, '--storage-driver', 'vfs'];
  const env = { ...process.env, CONTAINERS_REGISTRIES_CONF: registries };
  return {
    name: 'podman',
    async pull(tag) {
      const reference = `${REPOSITORY}:${tag}`;
      await run('podman', [...storage, 'pull', '-q', reference], { ...quiet, env });
      await run('podman', [...storage, 'rmi', '-f', reference], { ...quiet, env });
    },
  };
}

function skopeoClient(folder: string, agent: Program): Client {
  const source = `docker://${new URL(agent.url).host}/${REPOSITORY}`;
  return {
    name: 'skopeo',
    async pull(tag) {
      const target = path.join(folder, 'copies', tag);
      await mkdir(path.dirname(target), { recursive: true });
      await run('skopeo', ['copy', '--src-tls-verify=false', `${source}:${tag}`, `dir:${target}`], quiet);
      await rm(target, { recursive: true });
    },
  };
}
