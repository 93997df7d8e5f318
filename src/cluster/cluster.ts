/**
 * A cluster as whoever checks its members knows it: its name, which is the key that it signs with, and what
 * it has revoked. Memberships that were right are remembered, for one is shown with each request.
 */
import { createHash } from 'node:crypto';
import { type Member, StatementError, verifyMembership, verifyRevocation } from './statements.ts';

export interface Cluster {
  readonly id: string;
  /** Whose membership this is. @throws StatementError when it does not count now */
  member(text: string): Promise<Member>;
  /** `subject`: a peer id, or the id of a join token. */
  isRevoked(subject: string): boolean;
  /** Takes what the cluster signed, once; answers with what is revoked by it. @throws StatementError */
  revoke(statement: string): Promise<string>;
  /** All revocations. */
  statements(): readonly string[];
  /** Names the list of revocations as it is; changes with it. */
  readonly version: string;
  /** Called with each newly revoked subject. Must not throw. */
  onRevoked(listener: (subject: string) => void): void;
}

const MAX_REMEMBERED = 20_000;
/** Of some 250 bytes each. */
const MAX_REVOCATIONS = 20_000;

export function createCluster(id: string, now: () => number): Cluster {
  const remembered = new Map<string, Member>();
  const revoked = new Map<string, string>();
  const listeners = new Set<(subject: string) => void>();
  let version = versionOf(revoked);

  const check = async (text: string): Promise<Member> => {
    const key = createHash('sha256').update(text).digest('base64');
    const known = remembered.get(key);
    if (known !== undefined && known.expiresAt > now()) return known;
    remembered.delete(key);
    const member = await verifyMembership(id, text, now());
    if (remembered.size >= MAX_REMEMBERED) remembered.delete(remembered.keys().next().value ?? '');
    remembered.set(key, member);
    return member;
  };

  return {
    id,
    async member(text) {
      const member = await check(text);
      if (revoked.has(member.peerId)) throw new StatementError('it was revoked');
      return member;
    },
    isRevoked: (subject) => revoked.has(subject),
    async revoke(statement) {
      const subject = await verifyRevocation(id, statement, now());
      if (revoked.has(subject)) return subject;
      if (revoked.size >= MAX_REVOCATIONS) throw new StatementError('there are too many revocations');
      revoked.set(subject, statement);
      version = versionOf(revoked);
      for (const listener of listeners) listener(subject);
      return subject;
    },
    statements: () => [...revoked.values()],
    get version() {
      return version;
    },
    onRevoked(listener) {
      listeners.add(listener);
    },
  };
}

function versionOf(revoked: ReadonlyMap<string, string>): string {
  const subjects = [...revoked.keys()].sort().join();
  return createHash('sha256').update(subjects).digest('hex').slice(0, 16);
}
