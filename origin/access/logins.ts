/**
 * Checks user names and passwords. A log-in that was right a moment ago is remembered by an HMAC under
 * a key of this process, so that clients which send Basic with each request cost one bcrypt, and are
 * not locked out by somebody who guesses at their name. A changed hash ends what is remembered.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { createBoundedMap } from '#bounded';
import type { Logger, Metrics } from '#telemetry';
import { createBcrypt } from './bcrypt.ts';
import { hashOfNobody, type Users } from './htpasswd.ts';
import { createLoginLimiter, LOGIN_LIMITS, type LoginLimits } from './limiter.ts';

/** `busy`: more log-ins at once than can be compared. A number: too many failures, seconds to wait. */
export type LoginResult = 'right' | 'wrong' | 'busy' | { readonly retryAfterSeconds: number };

export interface Logins {
  check(user: string, password: string, address: string): Promise<LoginResult>;
  /** Names the user's present password without telling it; undefined when there is no such user. */
  versionOf(user: string): string | undefined;
  replace(users: Users): void;
  close(): Promise<void>;
}

const REMEMBER_MS = 5 * 60_000;
const MAX_REMEMBERED = 10_000;

export function createLogins(options: {
  readonly users: Users;
  readonly limits?: LoginLimits | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
}): Logins {
  const { log } = options;
  const now = (): number => performance.now();
  const limiter = createLoginLimiter(options.limits ?? LOGIN_LIMITS, now);
  const bcrypt = createBcrypt();
  const secret = randomBytes(32);
  const remembered = createBoundedMap<string, { readonly hash: string; readonly until: number }>(
    MAX_REMEMBERED,
  );
  const comparing = new Map<string, Promise<boolean>>();
  const results = options.metrics.counter<'result'>({
    name: 'shoal_origin_logins_total',
    help: 'Log-ins whose password was compared or refused unseen, by result',
    labels: ['result'],
    known: ['right', 'wrong', 'busy', 'limited'].map((result) => ({ result })),
  });
  let { users } = options;
  let nobody = hashOfNobody(users);

  const compare = (key: string, password: string, hash: string): Promise<boolean> | undefined => {
    const running = comparing.get(key);
    if (running !== undefined) return running;
    const begun = bcrypt.compare(password, hash)?.finally(() => comparing.delete(key));
    if (begun !== undefined) comparing.set(key, begun);
    return begun;
  };

  const judge = async (user: string, password: string, address: string): Promise<LoginResult> => {
    const hash = users.get(user);
    const key = createHmac('sha256', secret).update(`${user}\0${password}`).digest('base64');
    const known = remembered.get(key);
    if (known && known.hash === hash && known.until > now()) return 'right';
    const retryAfterSeconds = limiter.take(user, address);
    if (retryAfterSeconds !== undefined) return { retryAfterSeconds };
    const comparison = compare(`${key} ${hash ?? ''}`, password, hash ?? nobody);
    if (comparison === undefined) {
      limiter.giveBack(user, address);
      return 'busy';
    }
    const equal = await comparison;
    if (!equal || hash === undefined) return 'wrong';
    limiter.giveBack(user, address);
    remembered.set(key, { hash, until: now() + REMEMBER_MS });
    return 'right';
  };

  return {
    async check(user, password, address) {
      const result = await judge(user, password, address);
      const text = typeof result === 'string' ? result : 'limited';
      results.inc({ result: text });
      // A name that is not a user's may be a password that was typed in the wrong place.
      if (result !== 'right') {
        log.warn(
          { user: users.has(user) ? user : '(unknown)', remote: address, result: text },
          'log-in refused',
        );
      }
      return result;
    },
    versionOf(user) {
      const hash = users.get(user);
      return hash && createHmac('sha256', hash).update(user).digest('base64url').slice(0, 16);
    },
    replace(next) {
      users = next;
      nobody = hashOfNobody(users);
    },
    close: () => bcrypt.close(),
  };
}
