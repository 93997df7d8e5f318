/**
 * The members that discovery told a download about: which of them to dial now. A member that
 * failed or left is tried again later and later; the origin only when `originUse` wants it.
 */
import type { PeerAddress, PeerRole } from '../port.ts';
import type { OriginUse } from './origin-use.ts';

/** Connections that one download opens by itself. */
const WANTED_CONNECTIONS = 30;
const DIALS_AT_ONCE = 10;
/** Discovery may name many members; the first ones are enough. */
const MAX_KNOWN = 500;
const RETRY_MS = [1_000, 5_000, 15_000, 60_000] as const;

export interface Member {
  readonly host: string;
  readonly port: number;
  role: PeerRole;
  state: 'idle' | 'dialling' | 'connected';
  failures: number;
  retryAt: number;
}

export interface Members {
  add(peers: readonly PeerAddress[]): void;
  get(host: string, port: number): Member | undefined;
  /** Members to dial now, most wanted first; `dial` marks them as being dialled. */
  due(view: {
    readonly now: number;
    readonly connected: number;
    readonly originUse: OriginUse;
    readonly refused: (member: Member) => boolean;
  }): Member[];
  /** Members that are no origin and are being dialled or may be dialled now. */
  introducing(now: number): number;
  /** The connection or the attempt ended; `useful` when blocks came over it. */
  ended(member: Member, now: number, useful: boolean): void;
}

export function createMembers(): Members {
  const known = new Map<string, Member>();
  const keyOf = (host: string, port: number): string => `${host}:${port}`;

  const members: Members = {
    add: (peers) => {
      for (const { host, port, role } of peers) {
        const member = known.get(keyOf(host, port));
        if (member) {
          // Discovery may name the origin like any agent; whoever knows better wins.
          if (role === 'origin') member.role = 'origin';
        } else if (port > 0 && port < 65536 && (known.size < MAX_KNOWN || role === 'origin')) {
          const added: Member = { host, port, role: role ?? 'agent', state: 'idle', failures: 0, retryAt: 0 };
          known.set(keyOf(host, port), added);
        }
      }
    },
    get: (host, port) => known.get(keyOf(host, port)),
    due: (view) => {
      let dialling = 0;
      for (const member of known.values()) if (member.state === 'dialling') dialling += 1;
      const room = Math.min(DIALS_AT_ONCE - dialling, WANTED_CONNECTIONS - view.connected - dialling);
      if (room <= 0) return [];
      const candidates = [...known.values()].filter(
        (member) =>
          member.state === 'idle' &&
          member.retryAt <= view.now &&
          (member.role !== 'origin' || view.originUse !== 'none') &&
          !view.refused(member),
      );
      // The origin is wanted at once when it is wanted at all; of the others those that failed least.
      const rank = (member: Member): number => (member.role === 'origin' ? -1 : member.failures);
      return candidates.sort((a, b) => rank(a) - rank(b)).slice(0, room);
    },
    introducing: (now) => {
      let count = 0;
      for (const member of known.values()) {
        if (member.role === 'origin') continue;
        const dueNow = member.state === 'idle' && member.failures === 0 && member.retryAt <= now;
        if (member.state === 'dialling' || dueNow) count += 1;
      }
      return count;
    },
    ended: (member, now, useful) => {
      member.state = 'idle';
      if (useful) member.failures = 0;
      member.retryAt = now + (RETRY_MS[Math.min(member.failures, RETRY_MS.length - 1)] ?? 0);
      member.failures += 1;
    },
  };
  return members;
}
