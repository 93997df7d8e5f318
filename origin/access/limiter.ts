/**
 * Bounds failed log-ins by token buckets: for a user at one address, for an address, and for a user
 * over all addresses. A try takes a token from each before the password is looked at, so that many at
 * once gain nothing; a right password gives them back.
 */
import { createBoundedMap } from '#bounded';

interface Bucket {
  tokens: number;
  /** When `tokens` was right, in ms. */
  at: number;
}

interface Limit {
  readonly burst: number;
  /** A new try comes after this many ms. */
  readonly everyMs: number;
}

/** Generous for an address, behind which a whole company may be, and for a name, which anybody may try. */
export const LOGIN_LIMITS = {
  userAtAddress: { burst: 10, everyMs: 6_000 },
  address: { burst: 50, everyMs: 1_000 },
  user: { burst: 100, everyMs: 500 },
} as const satisfies Readonly<Record<string, Limit>>;

export type LoginLimits = Readonly<Record<keyof typeof LOGIN_LIMITS, Limit>>;

/** Some 100 bytes each. When there are more, the oldest are forgotten. */
const MAX_BUCKETS = 50_000;

export interface LoginLimiter {
  /** Undefined: go on, and give the try back when it was right. Else when the next may be, in seconds. */
  take(user: string, address: string): number | undefined;
  giveBack(user: string, address: string): void;
}

/** `now` in ms, steadily rising. */
export function createLoginLimiter(limits: LoginLimits, now: () => number): LoginLimiter {
  const buckets = createBoundedMap<string, Bucket>(MAX_BUCKETS);

  const bucketsOf = (user: string, address: string): (readonly [Bucket, Limit])[] => {
    const network = networkOf(address);
    const name = user.slice(0, 256);
    return [
      [bucket(`b ${network} ${name}`, limits.userAtAddress), limits.userAtAddress],
      [bucket(`a ${network}`, limits.address), limits.address],
      [bucket(`u ${name}`, limits.user), limits.user],
    ];
  };

  function bucket(key: string, { burst, everyMs }: Limit): Bucket {
    const at = now();
    const found = buckets.get(key) ?? { tokens: burst, at };
    found.tokens = Math.min(burst, found.tokens + (at - found.at) / everyMs);
    found.at = at;
    // Set anew at each use: those go first that were not used for the longest time.
    buckets.set(key, found);
    return found;
  }

  return {
    take(user, address) {
      const all = bucketsOf(user, address);
      const waits = all.map(([{ tokens }, { everyMs }]) => (1 - tokens) * everyMs);
      const waitMs = Math.max(...waits);
      if (waitMs > 0) return Math.max(1, Math.ceil(waitMs / 1000));
      for (const [each] of all) each.tokens -= 1;
      return undefined;
    },
    giveBack(user, address) {
      for (const [each, { burst }] of bucketsOf(user, address))
        each.tokens = Math.min(burst, each.tokens + 1);
    },
  };
}

/** Who has one IPv6 address has 2^64 of them. */
function networkOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '');
  if (!plain.includes(':')) return plain;
  const [head = ''] = plain.split('::', 1);
  return head.split(':').slice(0, 4).join(':');
}
