import { kind, optional, path, repeated, string, url, withDefault } from '#config';
import {
  type Change,
  diffOf,
  NodeSetupError,
  openTree,
  planContainerd,
  planRegistries,
  planSetup,
  planUndo,
  type Tree,
  type Wanted,
} from '#daemon/node';
import { isRegistryHost } from '#oci';
import { defineCommand } from './command.ts';
import { CommandError, UsageError } from './errors.ts';
import { EXIT_DONE } from './exit.ts';
import { checkPull } from './node/check-pull.ts';

const CLIENTS = ['containerd', 'crio', 'podman'] as const;
export type NodeClient = (typeof CLIENTS)[number];

export const agentUrl = withDefault(url, 'http://127.0.0.1:5001', 'URL of the agent on this node');

export const containerdConfigOption = withDefault(
  path,
  '/etc/containerd/config.toml',
  "containerd's configuration",
);

export const containerdAddress = withDefault(
  path,
  '/run/containerd/containerd.sock',
  "containerd's socket, for --check",
);

const registryHost = kind('HOST[:PORT]', 'a registry such as docker.io or registry.test:5000', (text) =>
  isRegistryHost(text) ? text : undefined,
);

export const nodeSetup = defineCommand({
  name: 'node setup',
  summary:
    'Makes containerd, CRI-O or podman pull through the agent of this node: a hosts.toml for each registry and ' +
    'config_path, or a drop-in of registries.conf.d. Existing files are kept and get the agent as their first mirror; run again it changes nothing, and --undo restores every file to the byte',
  operands: CLIENTS.join('|'),
  operandCount: [1, 1],
  options: {
    registry: repeated(registryHost, 'a registry whose images go through the agent; by default as --all'),
    agent: agentUrl,
    root: withDefault(path, '/', 'folder that the files are below, for example of an image'),
    'containerd.config': containerdConfigOption,
    check: optional(
      string('REF', 'an image reference'),
      'afterwards pull this image with the client, and fail unless the agent served it',
    ),
    'containerd.address': containerdAddress,
  },
  switches: {
    all: 'every registry: with containerd any at all (_default), else the well-known ones and those that the node names',
    'dry-run': 'only show what would change, as a unified diff',
    undo: 'restore the files as they were before the set-up',
    force: 'also where a file was changed since the set-up',
    json: 'the result as one JSON object',
  },
  configFile: 'none',
  run: async ({ values, operands, has }) => {
    const client = clientOperand(operands[0]);
    checkUsage(values, has);
    const tree = openTree(values.root);
    const dry = has('dry-run');
    const result = await known(() =>
      has('undo') ? undo(tree, client, has('force'), dry) : setUp(tree, client, values, has('force'), dry),
    );
    if (has('json')) process.stdout.write(`${JSON.stringify(jsonOf(client, result, dry))}\n`);
    else print(client, result, dry, has('undo'));
    if (values.check !== undefined) {
      const served = await checkPull({
        client,
        reference: values.check,
        agent: values.agent,
        tree,
        containerdConfig: values['containerd.config'],
        containerdAddress: values['containerd.address'],
      });
      if (!has('json')) process.stdout.write(`${served}\n`);
    }
    return EXIT_DONE;
  },
});

interface Result {
  readonly changes: readonly Change[];
  readonly notes: readonly string[];
  readonly restart: string | undefined;
}

function clientOperand(text: string | undefined): NodeClient {
  const client = CLIENTS.find((name) => name === text);
  if (client === undefined) throw new UsageError(`'${text}' is no client: ${CLIENTS.join(', ')}`);
  return client;
}

function checkUsage(
  values: { readonly registry: readonly string[]; readonly check: string | undefined; readonly root: string },
  has: (name: string) => boolean,
): void {
  if (has('all') && values.registry.length > 0) throw new UsageError('give either --all or --registry');
  if (has('undo') && (has('all') || values.registry.length > 0)) {
    throw new UsageError('--undo takes back the whole set-up: leave --all and --registry out');
  }
  if (values.check === undefined) return;
  if (has('undo') || has('dry-run')) throw new UsageError('--check needs a set-up that is written');
  if (values.root !== '/')
    throw new UsageError('--check pulls on this machine: it cannot be used with --root');
}

/** CRI-O and podman read the same files: what is set up for one is for both. */
function subjectOf(client: NodeClient): string {
  return client === 'containerd' ? client : 'containers';
}

async function setUp(
  tree: Tree,
  client: NodeClient,
  values: {
    readonly registry: readonly string[];
    readonly agent: string;
    readonly 'containerd.config': string;
  },
  force: boolean,
  dry: boolean,
): Promise<Result> {
  const wanted: Wanted = {
    agent: values.agent,
    registries: values.registry.length > 0 ? [...new Set(values.registry)].sort() : 'all',
  };
  const setup = await planSetup({
    tree,
    subject: subjectOf(client),
    force,
    plan: (view) =>
      client === 'containerd'
        ? planContainerd(view, values['containerd.config'], wanted)
        : planRegistries(view, client, wanted),
  });
  if (!dry) await setup.apply();
  return setup;
}

async function undo(tree: Tree, client: NodeClient, force: boolean, dry: boolean): Promise<Result> {
  const { changes, saved, apply } = await planUndo(tree, subjectOf(client), force);
  if (!dry) await apply();
  const restart = client === 'containerd' ? 'systemctl restart containerd' : 'systemctl reload crio';
  const unread = client !== 'podman' && changes.some(({ path: file }) => !file.endsWith('/hosts.toml'));
  return {
    changes,
    notes: saved.map((file) => `what was changed since is kept in ${file}`),
    restart: unread ? restart : undefined,
  };
}

/** What an operator can mend is said without a stack. */
async function known<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof NodeSetupError) throw new CommandError(error.message);
    throw error;
  }
}

function jsonOf(client: NodeClient, result: Result, dry: boolean): unknown {
  return {
    client,
    changed: result.changes.map(({ path: file }) => file),
    written: !dry,
    notes: result.notes,
    restart: result.restart ?? null,
    ...(dry && { diff: diffOf(result.changes) }),
  };
}

function print(client: NodeClient, result: Result, dry: boolean, back: boolean): void {
  const { changes, notes, restart } = result;
  for (const note of notes) process.stderr.write(`note: ${note}\n`);
  if (changes.length === 0) {
    process.stdout.write(
      back ? `Nothing to restore: ${client} is not set up.\n` : `No change: ${client} is set up.\n`,
    );
    return;
  }
  if (dry) {
    process.stdout.write(diffOf(changes));
    return;
  }
  for (const { path: file, after } of changes) {
    process.stdout.write(`${after === undefined ? 'removed ' : back ? 'restored' : 'wrote   '} ${file}\n`);
  }
  process.stdout.write(restart === undefined ? 'In force from the next pull on.\n' : `Now run: ${restart}\n`);
}
