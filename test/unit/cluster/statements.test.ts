/** What a cluster signs: each kind counts as itself alone, for this cluster, and in its time. */
import fc from 'fast-check';
import t from 'tap';
import {
  createCluster,
  createJoinToken,
  initCluster,
  StatementError,
  signMembership,
  signRevocation,
  verifyJoinStatement,
} from '#cluster';
import { createIdentity } from '#swarm';
import { parseJoinToken, verifyMembership, verifyRevocation } from '../../../src/cluster/statements.ts';

const NOW = Date.parse('2026-05-01T12:00:00Z');
const HOUR = 3_600_000;

t.test('a kind of statement is not taken for another, nor one of another cluster', async (t) => {
  const { key } = await initCluster(`${t.testdir()}/cluster.key`);
  const { key: other } = await initCluster(`${t.testdir()}/other/cluster.key`);
  const { peerId } = await createIdentity();
  const join = parseJoinToken((await createJoinToken(key, { lifetimeMs: HOUR, uses: 3, now: NOW })).text);
  const statements = {
    join: join.statement,
    member: await signMembership(key, { peerId, role: 'agent' }, HOUR, NOW),
    revoked: await signRevocation(key, peerId, NOW),
  };
  type Check = (cluster: string, text: string, now: number) => Promise<unknown>;
  const checks: Readonly<Record<string, Check>> = {
    join: verifyJoinStatement,
    member: verifyMembership,
    revoked: verifyRevocation,
  };
  for (const [kind, text] of Object.entries(statements)) {
    for (const [asked, check] of Object.entries(checks)) {
      if (kind === asked) await t.resolves(check(key.id, text, NOW), kind);
      else await t.rejects(check(key.id, text, NOW), StatementError, `${kind} as ${asked}`);
      await t.rejects(check(other.id, text, NOW), StatementError, `${kind} at another cluster`);
    }
  }
  t.match(await verifyJoinStatement(key.id, statements.join, NOW), { uses: 3, expiresAt: NOW + HOUR });
  t.match(await verifyMembership(key.id, statements.member, NOW), { peerId, role: 'agent', issuedAt: NOW });
  await t.rejects(verifyMembership(key.id, statements.member, NOW + HOUR + 6_000), { message: /expired/ });
  await t.rejects(verifyMembership(key.id, statements.member, NOW - 120_000), { message: /clocks/ });
  const unsigned = Buffer.from('{"alg":"none"}').toString('base64url');
  await t.rejects(
    verifyMembership(key.id, statements.member.replace(/^[^.]+/, unsigned), NOW),
    StatementError,
  );
});

t.test('nothing that is not a join token is read as one', async (t) => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `shoal-join.${text}`),
      ),
      (text) => {
        t.throws(() => parseJoinToken(text), StatementError);
      },
    ),
    { numRuns: 200 },
  );
  const { key } = await initCluster(`${t.testdir()}/cluster.key`);
  const { text } = await createJoinToken(key, { lifetimeMs: HOUR, uses: undefined, now: NOW });
  t.equal(parseJoinToken(`\n ${text} \n`).clusterId, key.id);
  t.throws(() => parseJoinToken(`${text}x`), StatementError);
});

t.test('a cluster remembers what was right, and forgets it with its end or its revocation', async (t) => {
  const { key } = await initCluster(`${t.testdir()}/cluster.key`);
  let now = NOW;
  const cluster = createCluster(key.id, () => now);
  const heard: string[] = [];
  cluster.onRevoked((subject) => heard.push(subject));
  const [one, two] = [(await createIdentity()).peerId, (await createIdentity()).peerId];
  const text = await signMembership(key, { peerId: one, role: 'agent' }, HOUR, now);
  const other = await signMembership(key, { peerId: two, role: 'tracker' }, HOUR, now);
  t.match(await cluster.member(text), { peerId: one });
  const empty = cluster.version;
  const statement = await signRevocation(key, one, now);
  t.equal(await cluster.revoke(statement), one);
  t.equal(await cluster.revoke(statement), one, 'again is nothing new');
  t.same(heard, [one]);
  t.not(cluster.version, empty);
  await t.rejects(cluster.member(text), { message: /revoked/ });
  t.match(await cluster.member(other), { peerId: two });
  now += HOUR + 6_000;
  await t.rejects(cluster.member(other), { message: /expired/ });
  const late = createCluster(key.id, () => now);
  for (const each of cluster.statements()) await late.revoke(each);
  t.equal(late.version, cluster.version, 'the same list has the same version');
});
