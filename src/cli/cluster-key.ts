/** The commands that make a cluster and let machines into it. They need its key, and no running origin. */
import { type ClusterKey, clusterKeyFile, createJoinToken, initCluster, readClusterKey } from '#cluster';
import { dataFolder, dataFolderHelp, duration, kind, optional, path, withDefault } from '#config';
import { defineCommand } from './command.ts';
import { CommandError } from './errors.ts';
import { EXIT_DONE } from './exit.ts';

const keyOptions = {
  data: withDefault(
    path,
    dataFolder('origin'),
    "folder with the cluster's key, cluster.key: the origin's",
    dataFolderHelp('origin'),
  ),
} as const;

const count = kind('N', 'a whole number from 1 to 10000', (text) =>
  /^[1-9]\d{0,3}$|^10000$/.test(text) ? Number(text) : undefined,
);

/** The cluster's key. @throws CommandError when there is none */
export async function clusterKeyIn(data: string): Promise<ClusterKey> {
  const key = await readClusterKey(clusterKeyFile(data));
  if (key !== undefined) return key;
  throw new CommandError(
    `there is no cluster.key in ${data}: give the origin's folder with --data, or make a cluster with 'shoal cluster init'`,
  );
}

export const clusterInit = defineCommand({
  name: 'cluster init',
  summary:
    'Makes the key of a new cluster in the data folder of its first origin and prints the name of the cluster; a key that is ' +
    'there stays. Copy the file cluster.key to further origins: who has it decides who is a member',
  operands: '',
  operandCount: [0, 0],
  options: keyOptions,
  switches: { json: 'one JSON object' },
  configFile: 'none',
  run: async ({ values: { data }, has }) => {
    const file = clusterKeyFile(data);
    const { key, created } = await initCluster(file);
    const text = `Cluster ${key.id}: ${created ? 'its key is' : 'its key was there already,'} ${file}\n`;
    process.stdout.write(has('json') ? `${JSON.stringify({ cluster: key.id, file, created })}\n` : text);
    return EXIT_DONE;
  },
});

export const clusterJoinToken = defineCommand({
  name: 'cluster join-token',
  summary:
    'Prints a token with which machines join the cluster: write it to a file that only the agent may read and give that by ' +
    '--join-token-file. Its id, for revoking it, goes to the standard error',
  operands: '',
  operandCount: [0, 0],
  options: {
    ...keyOptions,
    ttl: withDefault(duration, '1h', 'how long machines may join with it'),
    uses: optional(count, 'how many machines may join with it, at each origin; by default any number'),
  },
  switches: { json: 'one JSON object' },
  configFile: 'none',
  run: async ({ values: { data, ttl, uses }, has }) => {
    const key = await clusterKeyIn(data);
    const { text, id, expiresAt } = await createJoinToken(key, { lifetimeMs: ttl, uses, now: Date.now() });
    const until = new Date(expiresAt).toISOString();
    if (has('json')) {
      process.stdout.write(`${JSON.stringify({ token: text, id, expiresAt: until, cluster: key.id })}\n`);
    } else {
      process.stdout.write(`${text}\n`);
      process.stderr.write(`Join token ${id}, good until ${until}\n`);
    }
    return EXIT_DONE;
  },
});
