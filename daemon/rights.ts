/**
 * Rights on a cache hit: what is cached is served only to a client that the origin would serve.
 *
 * - While every origin is open, or when configured so, clients are not told apart: no request is made.
 * - Else the origin is asked with the client's own Authorization, or with none when it sent none: by the
 *   request that is needed anyway (a tag, a list), or by a HEAD of what is in the cache. Its refusal and
 *   its challenge go back to the client, which then logs in as it would at the origin.
 * - A verdict is about one client, one repository and one digest. That of a manifest covers what the
 *   manifest refers to, so that a pull costs one question. Nothing wider would do: a name may stand for
 *   two repositories of the origin, of which a client may read one.
 * - While no origin answers, a verdict that is not too old still counts; without one the answer is 503.
 *
 * Verdicts are in memory only, and bounded: the oldest go first.
 */
import { type Digest, OciError, parseManifest } from '#oci';
import type { Logger } from '#telemetry';
import { type Client, toClient } from './client.ts';
import { forgetFirst } from './forget-first.ts';
import type { CachedManifest } from './manifest-cache.ts';
import type { AgentMetrics } from './metrics.ts';
import type { Openness } from './openness.ts';
import type { OriginClient } from './origin-client.ts';
import type { Ask } from './origins.ts';
import { formatRepository, type Repository } from './repository.ts';

export interface RightsOptions {
  /** `client`: each client needs the right itself. `agent`: all may pull what the agent may. */
  readonly mode: 'client' | 'agent';
  /** How long a verdict counts before the origin is asked again, in milliseconds. */
  readonly verdictMs: number;
  /** How long it counts while no origin answers. */
  readonly staleMs: number;
}

export interface Rights {
  /** Whom a request comes from; undefined: clients are not told apart. */
  clientOf(authorization: string | undefined): Promise<Client | undefined>;
  /** `GET /v2/`, where some clients look for the challenge. @throws OciError UNAUTHORIZED, UNAVAILABLE */
  enter(client: Client, ask: Ask): Promise<void>;
  /** @throws OciError UNAUTHORIZED with the origin's challenge, DENIED, *_UNKNOWN, UNAVAILABLE */
  mayPull(
    client: Client,
    repository: Repository,
    kind: 'manifests' | 'blobs',
    digest: Digest,
    ask: Ask,
  ): Promise<void>;
  /** An origin gave this client the manifest just now. */
  granted(client: Client, repository: Repository, digest: Digest): void;
  /** What this manifest refers to may be pulled for as long as the manifest itself. */
  cover(client: Client, repository: Repository, manifest: CachedManifest): void;
  /** Whether a verdict counts although no origin answers. */
  mayStill(client: Client, repository: Repository, digest: Digest): boolean;
  /** A client that was found to have the right to this repository not long ago. */
  lender(repository: Repository): Client | undefined;
}

interface Verdict {
  /** When an origin gave it, of the monotonic clock: a clock that jumps changes no right. */
  readonly at: number;
  covers: boolean;
}

/** About 250 bytes each. */
const MAX_VERDICTS = 20_000;
const MAX_REFUSALS = 1_000;
const MAX_LENDERS = 1_000;
/** A refusal is repeated for this long: a client that tries again at once gets the same answer. */
const REFUSED_MS = 3_000;
/** Longer than any answer of an origin that works; the client waits for it. */
const CHECK_DEADLINE_MS = 5_000;
const LENT_MS = 10 * 60_000;

export function createRights(options: {
  readonly settings: RightsOptions;
  readonly openness: Openness;
  readonly origin: OriginClient;
  readonly metrics: Pick<AgentMetrics, 'rightsCheck'>;
  readonly log: Logger;
}): Rights {
  const { settings, openness, origin, metrics, log } = options;
  const verdicts = new Map<string, Verdict>();
  const refusals = new Map<string, { readonly error: OciError; readonly until: number }>();
  const lenders = new Map<string, { readonly client: Client; readonly at: number }>();
  const asking = new Map<string, Promise<void>>();
  /** The origin's last challenge at `GET /v2/`. */
  let challenge: OciError | undefined;

  const keyOf = (client: Client, place: string): string => `${client.key} ${place}`;
  const placeOf = (repository: Repository, digest: Digest): string =>
    `${formatRepository(repository)} ${digest}`;

  function note(key: string, at: number): void {
    verdicts.delete(key);
    verdicts.set(key, { at, covers: false });
    forgetFirst(verdicts, MAX_VERDICTS);
  }

  const within = (key: string, ms: number): boolean => {
    const verdict = verdicts.get(key);
    return verdict !== undefined && performance.now() - verdict.at <= ms;
  };

  /** One question at a time for each key. @throws OciError */
  async function settle(key: string, question: () => Promise<void>): Promise<void> {
    if (within(key, settings.verdictMs)) return metrics.rightsCheck('remembered');
    const refusal = refusals.get(key);
    if (refusal && refusal.until > performance.now()) {
      metrics.rightsCheck('refused');
      throw refusal.error;
    }
    let answer = asking.get(key);
    if (answer === undefined) {
      answer = askOrigin(key, question).finally(() => asking.delete(key));
      asking.set(key, answer);
    }
    return answer;
  }

  async function askOrigin(key: string, question: () => Promise<void>): Promise<void> {
    try {
      await question();
      refusals.delete(key);
      note(key, performance.now());
      metrics.rightsCheck('granted');
    } catch (error) {
      if (!(error instanceof OciError)) throw error;
      if (error.code === 'UNAVAILABLE') {
        if (within(key, settings.staleMs)) return metrics.rightsCheck('stale');
        metrics.rightsCheck('unavailable');
        throw error;
      }
      metrics.rightsCheck('refused');
      verdicts.delete(key);
      if (error.code === 'UNAUTHORIZED' || error.code === 'DENIED') {
        refusals.delete(key);
        refusals.set(key, { error, until: performance.now() + REFUSED_MS });
        forgetFirst(refusals, MAX_REFUSALS);
      }
      throw error;
    }
  }

  const bounded = (client: Client, ask: Ask): Ask => ({
    as: client,
    requestId: ask.requestId,
    signal: AbortSignal.timeout(CHECK_DEADLINE_MS),
  });

  function lend(client: Client, repository: Repository): void {
    if (client.authorization === undefined) return;
    const name = formatRepository(repository);
    lenders.delete(name);
    lenders.set(name, { client, at: performance.now() });
    forgetFirst(lenders, MAX_LENDERS);
  }

  return {
    async clientOf(authorization) {
      if (settings.mode === 'agent' || (await openness.open())) return undefined;
      return toClient(authorization);
    },
    async enter(client, ask) {
      try {
        await settle(keyOf(client, '/v2/'), () => origin.enter(bounded(client, ask)));
      } catch (error) {
        if (!(error instanceof OciError)) throw error;
        if (error.code === 'UNAUTHORIZED') challenge = error;
        if (error.code !== 'UNAVAILABLE') throw error;
        // Nothing is given away here. Who logs in by Basic needs to hear so; a token cannot be had now.
        const basic = /^basic\b/i.test(challenge?.headers['www-authenticate'] ?? '');
        if (basic && challenge !== undefined && client.authorization === undefined) throw challenge;
      }
    },
    async mayPull(client, repository, kind, digest, ask) {
      const key = keyOf(client, placeOf(repository, digest));
      await settle(key, () => origin.mayRead(repository, kind, digest, bounded(client, ask)));
      lend(client, repository);
    },
    granted(client, repository, digest) {
      note(keyOf(client, placeOf(repository, digest)), performance.now());
      lend(client, repository);
    },
    cover(client, repository, manifest) {
      const verdict = verdicts.get(keyOf(client, placeOf(repository, manifest.digest)));
      if (verdict === undefined || verdict.covers) return;
      verdict.covers = true;
      try {
        const { blobs, manifests } = parseManifest(manifest.bytes, manifest.mediaType);
        for (const { digest } of [...blobs, ...manifests]) {
          const key = keyOf(client, placeOf(repository, digest));
          if ((verdicts.get(key)?.at ?? Number.NEGATIVE_INFINITY) < verdict.at) note(key, verdict.at);
        }
      } catch (error) {
        // Each of its blobs is then asked about by itself.
        log.debug({ digest: manifest.digest, err: error }, 'manifest not understood');
      }
    },
    mayStill: (client, repository, digest) =>
      within(keyOf(client, placeOf(repository, digest)), Math.max(settings.staleMs, settings.verdictMs)),
    lender(repository) {
      const known = lenders.get(formatRepository(repository));
      return known && performance.now() - known.at <= LENT_MS ? known.client : undefined;
    },
  };
}
