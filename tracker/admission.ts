/** Which blobs may be announced: those that an origin holds. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { PeerAddress } from '#swarm';
import type { InfoHash } from '#torrent';
import { isHost, plainIp } from './ip.ts';
import { createQuestions, withDeadline } from './questions.ts';

/** The origin's answer for a blob that it holds: who seeds it for certain. */
export interface Admitted {
  readonly seeds: readonly PeerAddress[];
}

/**
 * Asks the origin. Undefined: it does not hold this blob. Rejects when that cannot be said now.
 * The tracker gives up after its deadline and aborts `signal`.
 */
export type Admit = (infoHash: InfoHash, signal: AbortSignal) => Promise<Admitted | undefined>;

/** A seed with its address for compact answers, which have no room for names. */
export interface AdmittedSeed extends PeerAddress {
  readonly ip: string | undefined;
}

export interface Admission {
  /** @throws AdmissionError when the origin cannot be asked now */
  seedsOf(infoHash: InfoHash): Promise<readonly AdmittedSeed[] | undefined>;
  forget(infoHash: InfoHash): void;
}

const KNOWN_MS = 30_000;
/** Short: a blob is announced as soon as it was pushed. */
const UNKNOWN_MS = 2_000;
const DNS_DEADLINE_MS = 2_000;
const DNS_KNOWN_MS = 60_000;

export function createAdmission(options: {
  readonly admit: Admit;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Admission {
  const { admit, now } = options;
  const resolve = createResolver(now);
  const questions = createQuestions<readonly AdmittedSeed[] | undefined>({
    async answer(infoHash, signal) {
      const admitted = await admit(infoHash as InfoHash, signal);
      return (
        admitted &&
        (await Promise.all(admitted.seeds.map(async (seed) => ({ ...seed, ip: await resolve(seed.host) }))))
      );
    },
    knownMs: (seeds) => (seeds ? KNOWN_MS : UNKNOWN_MS),
    now,
  });
  return { seedsOf: questions.ask, forget: questions.forget };
}

/** IP addresses of seeds that are named by DNS; undefined when the name does not resolve now. */
function createResolver(now: () => number): (host: string) => Promise<string | undefined> {
  const names = new Map<string, { readonly ip: string | undefined; readonly until: number }>();
  return async (host) => {
    if (isIP(host) !== 0) return plainIp(host);
    if (!isHost(host)) return undefined;
    const known = names.get(host);
    if (known && known.until > now()) return known.ip;
    const ip = await withDeadline(lookup(host), DNS_DEADLINE_MS).then(
      (found) => plainIp(found.address),
      () => undefined,
    );
    // An origin has a handful of names; more than that is not one.
    if (names.size >= 1_000) names.clear();
    names.set(host, { ip, until: now() + DNS_KNOWN_MS });
    return ip;
  };
}
