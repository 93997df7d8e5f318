/** The commands that ask running origins about their members. */
import { signRevocation } from '#cluster';
import { dataFolder, dataFolderHelp, optional, path, repeated, url, withDefault } from '#config';
import { isPeerId } from '#multiaddr';
import { clusterKeyIn } from './cluster-key.ts';
import { defineCommand } from './command.ts';
import { UsageError } from './errors.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { loginOf, loginSwitches } from './login.ts';
import { askManagement, originUrlOptions } from './management.ts';
import { formatTable } from './text.ts';

const DEADLINE_MS = 30_000;

interface Members {
  readonly members: readonly {
    readonly peerId: string;
    readonly role: string;
    readonly address: string;
    readonly joinedAt: string;
    readonly renewedAt: string;
    readonly expiresAt: string;
    readonly state: string;
  }[];
}

export const clusterMembers = defineCommand({
  name: 'cluster members',
  summary:
    'Lists who joined the cluster, or renewed a membership, at a running origin in the last seven days',
  operands: '',
  operandCount: [0, 0],
  options: originUrlOptions,
  switches: { json: 'one JSON object a member', ...loginSwitches },
  configFile: 'none',
  run: async ({ values, has }) => {
    const login = await loginOf(values, has, [values.url]);
    const client = await login.client({ caFile: values['ca.file'] });
    try {
      const where = `${values.url}/api/v1/cluster/members`;
      const signal = AbortSignal.timeout(DEADLINE_MS);
      const { members } = await askManagement<Members>(
        client,
        login,
        'GET',
        where,
        signal,
        'an origin with --admission token',
      );
      if (has('json')) {
        for (const member of members) process.stdout.write(`${JSON.stringify(member)}\n`);
        return EXIT_DONE;
      }
      const rows = members.map(({ peerId, role, address, joinedAt, expiresAt, state }) => [
        ...[peerId, role, state, address, joinedAt, expiresAt],
      ]);
      const heading = ['peer id', 'role', 'state', 'address', 'joined', 'member until'];
      process.stdout.write(rows.length === 0 ? 'No members yet.\n' : formatTable(heading, rows, 6));
      return EXIT_DONE;
    } finally {
      await client.close();
    }
  },
});

export const clusterRevoke = defineCommand({
  name: 'cluster revoke',
  summary:
    "Ends a member's place in the cluster, or a join token's use, for good: the origins keep it, trackers and agents hear of it " +
    'within a heartbeat (30 s), and open connections are closed. Name every origin; a machine comes back with a new identity.key and token',
  operands: 'PEER_ID|TOKEN_ID',
  operandCount: [1, 1],
  options: {
    url: repeated(url, 'URL of an origin', 'http://127.0.0.1:5000'),
    data: withDefault(
      path,
      dataFolder('origin'),
      "folder with the cluster's key, which signs this",
      dataFolderHelp('origin'),
    ),
    'ca.file': optional(path, 'PEM file of authorities to trust, beside the built-in ones'),
  },
  switches: {},
  configFile: 'none',
  run: async ({ values, operands: [subject = ''], has }) => {
    if (!isPeerId(subject) && !/^[0-9a-f]{16}$/.test(subject)) {
      throw new UsageError(
        `'${subject}' is no peer id (12D3KooW…) and no id of a join token (16 hex digits)`,
      );
    }
    const key = await clusterKeyIn(values.data);
    const body = JSON.stringify({ statement: await signRevocation(key, subject, Date.now()) });
    const login = await loginOf({ username: undefined, 'auth.file': undefined }, has, values.url);
    const client = await login.client({ caFile: values['ca.file'] });
    let failures = 0;
    try {
      for (const origin of values.url) {
        const where = `${origin}/api/v1/cluster/revocations`;
        const signal = AbortSignal.timeout(DEADLINE_MS);
        try {
          await askManagement(client, login, 'POST', where, signal, 'an origin with --admission token', body);
          process.stdout.write(`${origin}: ${subject} is revoked\n`);
        } catch (error) {
          failures += 1;
          process.stderr.write(`${origin}: not revoked there: ${(error as Error).message}\n`);
        }
      }
    } finally {
      await client.close();
    }
    return failures === 0 ? EXIT_DONE : EXIT_FAILED;
  },
});
