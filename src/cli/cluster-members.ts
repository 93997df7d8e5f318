/** The commands that ask running origins about their members. */
import { signRevocation } from '#cluster';
import { dataFolder, dataFolderHelp, optional, path, repeated, url, withDefault } from '#config';
import { isPeerId } from '#multiaddr';
import { clusterKeyIn } from './cluster-key.ts';
import { defineCommand } from './command.ts';
import { UsageError } from './errors.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { loginSwitches } from './login.ts';
import { originUrlOptions, withManagement } from './management.ts';
import { formatTable } from './text.ts';

const asked = { deadlineMs: 30_000, program: 'an origin with --admission token' } as const;

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
  run: ({ values, has }) =>
    withManagement({ ...asked, url: values.url, values, has }, async (ask) => {
      const { members } = await ask<Members>('GET', 'cluster/members');
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
    }),
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
    const body = { statement: await signRevocation(key, subject, Date.now()) };
    let failures = 0;
    for (const origin of values.url) {
      try {
        await withManagement({ ...asked, url: origin, values, has }, (ask) =>
          ask('POST', 'cluster/revocations', body),
        );
        process.stdout.write(`${origin}: ${subject} is revoked\n`);
      } catch (error) {
        failures += 1;
        process.stderr.write(`${origin}: not revoked there: ${(error as Error).message}\n`);
      }
    }
    return failures === 0 ? EXIT_DONE : EXIT_FAILED;
  },
});
