/**
 * Members that misbehaved, refused for a while. The time doubles with each offence up to an hour,
 * and an hour after a ban ended the offence is forgotten.
 */
const FIRST_BAN_MS = 60_000;
const LONGEST_BAN_MS = 3_600_000;
const FORGOTTEN_AFTER_MS = 3_600_000;
/** A peer id costs its owner nothing, so the list is bounded; the oldest entry goes first. */
const MAX_ENTRIES = 10_000;

interface Entry {
  readonly until: number;
  readonly durationMs: number;
}

export interface Bans {
  /** Whether any of these keys is banned now. */
  banned(keys: readonly string[]): boolean;
  /** Bans all keys of one offender. Returns how long, in milliseconds. */
  ban(keys: readonly string[]): number;
}

/** Keys are made by `banKeys`. */
export function createBans(now: () => number = () => performance.now()): Bans {
  const entries = new Map<string, Entry>();

  const lookup = (key: string): Entry | undefined => {
    const entry = entries.get(key);
    if (entry && entry.until + FORGOTTEN_AFTER_MS < now()) {
      entries.delete(key);
      return undefined;
    }
    return entry;
  };

  return {
    banned: (keys) => keys.some((key) => (lookup(key)?.until ?? 0) > now()),
    ban: (keys) => {
      const earlier = Math.max(0, ...keys.map((key) => lookup(key)?.durationMs ?? 0));
      const durationMs = earlier === 0 ? FIRST_BAN_MS : Math.min(LONGEST_BAN_MS, earlier * 2);
      for (const key of keys) {
        entries.delete(key);
        entries.set(key, { until: now() + durationMs, durationMs });
      }
      for (const oldest of entries.keys()) {
        if (entries.size <= MAX_ENTRIES) break;
        entries.delete(oldest);
      }
      return durationMs;
    },
  };
}

/**
 * What identifies a member. A peer id is free to choose, so an address is banned too: the one we
 * dialled exactly, and of an incoming connection the host, because its port is a random one. On the
 * loopback all members share a host, so there the host says nothing.
 */
export function banKeys(member: {
  readonly peerId: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly direction: 'in' | 'out';
}): string[] {
  const keys = member.peerId === undefined ? [] : [`id:${member.peerId}`];
  if (member.direction === 'out') keys.push(`address:${member.host}:${member.port}`);
  else if (!isLoopback(member.host)) keys.push(`host:${member.host}`);
  return keys;
}

function isLoopback(host: string): boolean {
  return host === '::1' || host.startsWith('127.') || host.startsWith('::ffff:127.');
}
