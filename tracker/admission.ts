/**
 * Which blobs may be announced: those that an origin holds. What the origin said is remembered for
 * a short while, and questions are bounded, so that announces for random infohashes cost it little.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { PeerAddress } from '#swarm';
import type { InfoHash } from '#torrent';
import { isHost, plainIp } from './ip.ts';

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

/** The answer is not known; trying again later makes sense. */
export class AdmissionError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'AdmissionError';
  }
}

const KNOWN_MS = 30_000;
/** Short: a blob is announced as soon as it was pushed. */
const UNKNOWN_MS = 2_000;
const REMEMBERED = 50_000;
/** Questions to the origin at the same time, and announces that wait for one. */
const MAX_ASKING = 64;
const MAX_WAITING = 4_096;
const DEADLINE_MS = 5_000;
const DNS_DEADLINE_MS = 2_000;
const DNS_KNOWN_MS = 60_000;

export function createAdmission(options: {
  readonly admit: Admit;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Admission {
  const { admit, now } = options;
  const remembered = new Map<
    InfoHash,
    { readonly seeds: readonly AdmittedSeed[] | undefined; readonly until: number }
  >();
  const asking = new Map<InfoHash, Promise<readonly AdmittedSeed[] | undefined>>();
  const resolve = createResolver(now);
  let waiting = 0;

  const ask = async (infoHash: InfoHash): Promise<readonly AdmittedSeed[] | undefined> => {
    const given = new AbortController();
    const admitted = await withDeadline(admit(infoHash, given.signal), DEADLINE_MS).catch(
      (error: unknown) => {
        given.abort();
        throw new AdmissionError('the origin cannot be asked now; try again', error);
      },
    );
    const seeds =
      admitted &&
      (await Promise.all(admitted.seeds.map(async (seed) => ({ ...seed, ip: await resolve(seed.host) }))));
    if (remembered.size >= REMEMBERED) {
      const [oldest] = remembered.keys();
      if (oldest !== undefined) remembered.delete(oldest);
    }
    remembered.set(infoHash, { seeds, until: now() + (seeds ? KNOWN_MS : UNKNOWN_MS) });
    return seeds;
  };

  return {
    async seedsOf(infoHash) {
      const known = remembered.get(infoHash);
      if (known && known.until > now()) return known.seeds;
      if (waiting >= MAX_WAITING) throw new AdmissionError('too many announces at once; try again');
      let answer = asking.get(infoHash);
      if (answer === undefined) {
        if (asking.size >= MAX_ASKING) throw new AdmissionError('too many unknown blobs at once; try again');
        remembered.delete(infoHash);
        answer = ask(infoHash).finally(() => asking.delete(infoHash));
        asking.set(infoHash, answer);
      }
      waiting += 1;
      return answer.finally(() => {
        waiting -= 1;
      });
    },
    forget: (infoHash) => void remembered.delete(infoHash),
  };
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

function withDeadline<T>(work: Promise<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
    work.then(resolve, reject).finally(() => clearTimeout(late));
  });
}
