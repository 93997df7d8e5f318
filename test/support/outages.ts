/**
 * containerd, podman and skopeo pull through agents of their own while, one after another, tracker,
 * origin and two of five agents are killed by SIGKILL and come back. Each client pulls on through every
 * outage; that of its own agent too, where the client has a next host (containerd, podman).
 *
 * Shared things are killed in the middle of the pulls, a client's own agent before. The images are new to the client's agent: their manifests passed through it before, their layers are
 * in other agents only. So each pull during an outage is one over the swarm.
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

export interface OutageFigures {
  /** Pulls that were done in an outage, by what was down. */
  readonly pulls: Readonly<Record<string, number>>;
  readonly failed: readonly string[];
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
  const victims: readonly { readonly what: string; readonly programs: readonly Program[] }[] = [
    { what: 'tracker', programs: [tracker] },
    { what: 'origin', programs: [origin] },
    { what: 'an agent that seeds', programs: [seedOne] },
    { what: 'two agents', programs: [forContainerd, seedOne] },
  ];
  const pulls: Record<string, number> = {};
  const failed: string[] = [];

  for (let round = 0; round < rounds; round += 1) {
    for (const [index, { what, programs }] of victims.entries()) {
      const tag = `v${round}-${index}`;
      await spread(origin.url, tag, agents, [seedOne, seedTwo]);
      // A client whose own agent goes in the middle of a body starts again; see agent-kill.test.ts.
      const before = programs.includes(forContainerd);
      const kill = async (): Promise<void> => {
        if (!before) await delay(Math.random() * WITHIN_MS);
        await Promise.all(programs.map((program) => program.signal('SIGKILL')));
      };
      if (before) await kill();
      await Promise.all([
        ...(before ? [] : [kill()]),
        ...clients.map(async (client) => {
          try {
            await client.pull(tag);
            pulls[what] = (pulls[what] ?? 0) + 1;
          } catch (error) {
            failed.push(`${client.name} while ${what} was down: ${(error as Error).message}`);
          }
        }),
      ]);
      await Promise.all(programs.map((program) => program.restart()));
    }
  }
  return { pulls, failed };
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
  // Blobs of at most one piece come from the origin by HTTP only: without it an agent must have them.
  for (const agent of agents) {
    const answer = await pull(`${agent.url}/v2/${REPOSITORY}/blobs/${digests[0]}`);
    if (answer.status !== 200) throw new Error(`an agent answered ${answer.status} for a config`);
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
