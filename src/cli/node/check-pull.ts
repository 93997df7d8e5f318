/**
 * Whether a pull goes through the agent: the node's own client pulls an image, and the agent must have answered
 * its manifest since. Its counters alone would also grow by what others pull at the same time.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { ManifestReport } from '#daemon';
import { containerdConfig, type Tree } from '#daemon/node';
import { createHttpClient, type HttpClient } from '#http';
import { formatImageReference } from '#oci';
import { CommandError } from '../errors.ts';
import { imageOperand } from '../pull.ts';
import { sumSamples } from '../up/metrics-text.ts';

const run = promisify(execFile);
const PULL_DEADLINE_MS = 10 * 60_000;
const ASK_DEADLINE_MS = 10_000;
const MAX_BYTES = 16 * 1024 * 1024;

/** Answers with a line for the user. @throws CommandError when the pull failed or went past the agent */
export async function checkPull(options: {
  readonly client: 'containerd' | 'crio' | 'podman';
  readonly reference: string;
  readonly agent: string;
  readonly tree: Tree;
  readonly containerdConfig: string;
  readonly containerdAddress: string;
}): Promise<string> {
  const { client, reference, agent } = options;
  const image = imageOperand(reference);
  const http = await createHttpClient({});
  try {
    const before = await answered(http, agent, image.repository);
    const requestsBefore = await requests(http, agent);
    const [command, ...args] = await pullCommand(options, formatImageReference(image));
    await runPull(command, args);
    const after = await answered(http, agent, image.repository);
    const grown = (await requests(http, agent)) - requestsBefore;
    if (after > before && grown > 0) {
      return `${command} pulled ${reference} through the agent: its requests grew by ${grown}.`;
    }
    throw new CommandError(
      `${command} pulled ${reference}, but not through the agent at ${agent}: ` +
        `restart ${client} if its configuration changed, and see 'shoal node doctor'`,
    );
  } finally {
    await http.close();
  }
}

async function pullCommand(
  options: Parameters<typeof checkPull>[0],
  reference: string,
): Promise<readonly [string, ...string[]]> {
  if (options.client === 'podman') return ['podman', 'pull', '--quiet', reference];
  if (options.client === 'crio') return ['crictl', 'pull', reference];
  const view = {
    text: async (file: string) => (await options.tree.read(file))?.toString('utf8'),
    list: (folder: string) => options.tree.list(folder),
  };
  const { folders } = await containerdConfig(view, options.containerdConfig);
  // ctr takes one folder, not a list; the kubelet's images are in k8s.io.
  const [folder = '/etc/containerd/certs.d'] = folders;
  const flags = ['--address', options.containerdAddress, '--namespace', 'k8s.io'];
  return ['ctr', ...flags, 'images', 'pull', '--hosts-dir', folder, reference];
}

async function runPull(command: string, args: readonly string[]): Promise<void> {
  try {
    await run(command, args, { timeout: PULL_DEADLINE_MS, maxBuffer: MAX_BYTES });
  } catch (error) {
    const { code, stderr = '' } = error as { code?: unknown; stderr?: string };
    if (code === 'ENOENT') throw new CommandError(`${command} is not installed: --check pulls with it`);
    const last = stderr.trimEnd().split('\n').at(-1) ?? '';
    throw new CommandError(`${command} ${args.join(' ')} failed: ${last}`);
  }
}

/** How often the agent answered a manifest of this repository, of those that it remembers; the newest time counts. */
async function answered(http: HttpClient, agent: string, repository: string): Promise<number> {
  const body = await ask(http, `${agent}/api/v1/pulls`);
  const { manifests } = JSON.parse(body) as { manifests: readonly ManifestReport[] };
  const times = manifests
    .filter((entry) => entry.repository === repository || entry.repository.endsWith(`/${repository}`))
    .map(({ startedAt }) => Date.parse(startedAt));
  return Math.max(0, ...times);
}

async function requests(http: HttpClient, agent: string): Promise<number> {
  return sumSamples(await ask(http, `${agent}/metrics`), 'shoal_mirror_requests_total', {});
}

async function ask(http: HttpClient, url: string): Promise<string> {
  const response = await http.request(url, { signal: AbortSignal.timeout(ASK_DEADLINE_MS) });
  const body = (await http.read(response, MAX_BYTES)).toString('utf8');
  if (response.status !== 200)
    throw new CommandError(`${url} answered ${response.status}: is this an agent?`);
  return body;
}
