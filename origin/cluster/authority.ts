/**
 * The origin as who admits members: it gives memberships for join tokens, renews them, and keeps what was
 * revoked. Revocations, and the uses of a token, are on the disk before they are answered. Origins that share
 * the cluster's key give the same memberships; each counts the uses of a token by itself.
 */
import { z } from 'zod';
import {
  type Cluster,
  type ClusterKey,
  createCluster,
  type JoinClaims,
  type Member,
  type MemberRole,
  StatementError,
  signMembership,
} from '#cluster';
import type { Database } from '#database';
import type { Logger } from '#telemetry';

export interface KnownMember {
  readonly peerId: string;
  readonly role: MemberRole;
  /** Where it joined or renewed from. */
  readonly address: string;
  /** Milliseconds since the epoch. */
  readonly joinedAt: number;
  readonly renewedAt: number;
  readonly expiresAt: number;
}

export interface Authority {
  readonly cluster: Cluster;
  readonly key: ClusterKey;
  /** Our own membership: an origin's, made when it is needed. */
  ownMembership(peerId: string): Promise<string>;
  /** @throws StatementError for who may not */
  join(token: JoinClaims, who: Pick<Member, 'peerId' | 'role'>, address: string): Promise<string>;
  /** For a member that has proved to be one. */
  renew(member: Member, address: string): Promise<string>;
  /** Takes a signed revocation; durable when it resolves. @throws StatementError */
  revoke(statement: string): Promise<string>;
  members(): readonly KnownMember[];
}

const MAX_MEMBERS = 100_000;
const MAX_USES_KEPT = 10_000;
/** Who has not renewed for so long is not listed any more. */
const FORGET_AFTER_MS = 7 * 24 * 3_600_000;

const stored = z.object({
  peerId: z.string(),
  role: z.enum(['agent', 'origin', 'tracker']),
  address: z.string(),
  joinedAt: z.number(),
  renewedAt: z.number(),
  expiresAt: z.number(),
});
const uses = z.object({ expiresAt: z.number(), by: z.array(z.string()) });

export async function openAuthority(options: {
  readonly key: ClusterKey;
  readonly db: Database;
  readonly lifetimeMs: number;
  readonly now: () => number;
  readonly log: Logger;
}): Promise<Authority> {
  const { key, db, lifetimeMs, now, log } = options;
  const cluster = createCluster(key.id, now);
  const table = (name: string) => db.sublevel<string, unknown>(`cluster-${name}`, { valueEncoding: 'json' });
  const [revoked, used, known] = [table('revoked'), table('uses'), table('members')];
  /** On the disk when it resolves. */
  const keep = (where: typeof revoked, key: string, value: unknown): Promise<void> =>
    db.batch([{ type: 'put', sublevel: where, key, value: value as never }], { sync: true });
  for await (const statement of revoked.values()) {
    await cluster.revoke(String(statement)).catch((error: unknown) => {
      log.warn({ reason: (error as Error).message }, 'a kept revocation is of another cluster');
    });
  }
  const members = new Map<string, KnownMember>();
  for await (const value of known.values()) {
    const member = stored.safeParse(value);
    if (member.success) members.set(member.data.peerId, member.data);
  }
  /** One after another: two joins must not both take the last use. */
  let turn: Promise<unknown> = Promise.resolve();

  const forgetOld = async (): Promise<void> => {
    const old = [...members.values()].filter(({ expiresAt }) => expiresAt + FORGET_AFTER_MS < now());
    for (const { peerId } of old) members.delete(peerId);
    await known.batch(old.map(({ peerId }) => ({ type: 'del' as const, key: peerId })));
    for await (const [id, value] of used.iterator()) {
      const entry = uses.safeParse(value);
      if (!entry.success || entry.data.expiresAt < now()) await used.del(id);
    }
  };
  await forgetOld();

  const issue = async (
    who: Pick<Member, 'peerId' | 'role'>,
    address: string,
    before: KnownMember | undefined,
    durable: boolean,
  ): Promise<string> => {
    const { peerId, role } = who;
    const text = await signMembership(key, { peerId, role }, lifetimeMs, now());
    const joinedAt = before?.joinedAt ?? now();
    const member = { peerId, role, address, joinedAt, renewedAt: now(), expiresAt: now() + lifetimeMs };
    members.set(peerId, member);
    await (durable ? keep(known, peerId, member) : known.put(peerId, member));
    return text;
  };

  const takeUse = async ({ id, uses: most, expiresAt }: JoinClaims, peerId: string): Promise<void> => {
    if (most === undefined) return;
    const entry = uses.safeParse(await used.get(id));
    const by = entry.success ? entry.data.by : [];
    // Who joins again, because the answer was lost, uses it once.
    if (by.includes(peerId)) return;
    if (by.length >= Math.min(most, MAX_USES_KEPT)) {
      throw new StatementError(`the join token was used as often as it may be (${most})`);
    }
    await keep(used, id, { expiresAt, by: [...by, peerId] });
  };

  return {
    cluster,
    key,
    ownMembership: (peerId) => signMembership(key, { peerId, role: 'origin' }, lifetimeMs, now()),
    async join(token, who, address) {
      const joined = turn.then(async () => {
        if (cluster.isRevoked(token.id)) throw new StatementError('the join token was revoked');
        if (cluster.isRevoked(who.peerId)) throw new StatementError('this peer id was revoked');
        if (members.size >= MAX_MEMBERS) await forgetOld();
        if (members.size >= MAX_MEMBERS)
          throw new StatementError('the cluster has as many members as it may');
        await takeUse(token, who.peerId);
        return issue(who, address, undefined, true);
      });
      turn = joined.catch(() => undefined);
      return joined;
    },
    renew: (member, address) => issue(member, address, members.get(member.peerId), false),
    async revoke(statement) {
      const subject = await cluster.revoke(statement);
      await keep(revoked, subject, statement);
      return subject;
    },
    members: () => [...members.values()],
  };
}
