/**
 * One blob that we download, announced to each of its trackers: at once, then as the tracker asks,
 * and a few times sooner while hardly anybody is known, because in a rollout the others arrive
 * within seconds. A tracker that fails is tried again with growing pauses; nobody is told of it. One that
 * leaves the list is left in silence, one that comes is announced to.
 */
import type { PeerAddress } from '#swarm';
import type { Logger } from '#telemetry';
import type { InfoHash } from '#torrent';
import { backoffMs, createPause } from '#waiting';
import type { Announce, AnnounceTarget, Answer } from './announce.ts';
import type { Membership } from './port.ts';

export interface AnnounceTiming {
  /** Pauses of the announces that come early while fewer than `fewPeers` are known. */
  readonly earlyMs: readonly number[];
  readonly fewPeers: number;
  readonly firstBackoffMs: number;
  readonly mostBackoffMs: number;
  readonly answerDeadlineMs: number;
  /** For `completed` and `stopped`, which nobody should wait for. */
  readonly farewellMs: number;
}

export const ANNOUNCE_TIMING: AnnounceTiming = {
  earlyMs: [2_000, 3_000, 4_000, 6_000],
  fewPeers: 4,
  firstBackoffMs: 1_000,
  mostBackoffMs: 30_000,
  answerDeadlineMs: 10_000,
  farewellMs: 1_800,
};

export interface JoinedBlob {
  readonly infoHash: InfoHash;
  readonly left: () => number;
  readonly onPeers: (peers: readonly PeerAddress[]) => void;
  /** Called once, when each tracker has answered or failed; whether any answered. */
  readonly onAnswered?: ((answered: boolean) => void) | undefined;
}

export interface JoinedTrackers extends Membership {
  /** From now on these. */
  follow(targets: readonly AnnounceTarget[]): void;
}

export function joinTrackers(
  blob: JoinedBlob,
  targets: readonly AnnounceTarget[],
  options: { readonly timing: AnnounceTiming; readonly log: Logger; readonly onEnd: () => void },
): JoinedTrackers {
  const { timing, log } = options;
  const stop = new AbortController();
  /** Trackers that know us. */
  const greeted = new Set<AnnounceTarget>();
  const known = new Set<string>();
  let ended: Promise<void> | undefined;

  const followed = new Map<string, { readonly end: AbortController; readonly done: Promise<void> }>();
  const unanswered = new Set(targets);
  const tried = (target: AnnounceTarget): void => {
    if (unanswered.delete(target) && unanswered.size === 0 && !stop.signal.aborted)
      blob.onAnswered?.(greeted.size > 0);
  };

  const learn = (answer: Answer): void => {
    if (stop.signal.aborted || answer.peers.length === 0) return;
    for (const peer of answer.peers) known.add(`${peer.host} ${peer.port}`);
    try {
      blob.onPeers(answer.peers);
    } catch (error) {
      log.error({ err: error, infoHash: blob.infoHash }, 'peers could not be used');
    }
  };

  const announceTo = async (target: AnnounceTarget, signal: AbortSignal): Promise<void> => {
    const pause = createPause();
    let failures = 0;
    let early = 0;
    while (!signal.aborted) {
      const announce: Announce = {
        infoHash: blob.infoHash,
        left: blob.left(),
        ...(!greeted.has(target) && { event: 'started' as const }),
      };
      let pauseMs: number;
      try {
        const deadline = AbortSignal.any([signal, AbortSignal.timeout(timing.answerDeadlineMs)]);
        const answer = await target.announce(announce, deadline);
        if (signal.aborted && !stop.signal.aborted) return;
        greeted.add(target);
        failures = 0;
        learn(answer);
        tried(target);
        const soon = known.size < timing.fewPeers ? timing.earlyMs[early++] : undefined;
        pauseMs = soon ?? answer.intervalMs;
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        tried(target);
        pauseMs = backoffMs(failures, timing.firstBackoffMs, timing.mostBackoffMs);
        log.debug(
          { tracker: target.url, infoHash: blob.infoHash, reason: reasonOf(error) },
          'announce failed',
        );
      }
      await pause.wait(pauseMs, signal);
    }
  };

  const farewell = (event: 'completed' | 'stopped'): Promise<void> => {
    ended ??= (async () => {
      stop.abort();
      options.onEnd();
      await Promise.all(Array.from(followed.values(), ({ done }) => done));
      const left = event === 'completed' ? 0 : blob.left();
      const deadline = AbortSignal.timeout(timing.farewellMs);
      await Promise.all(
        Array.from(greeted, (target) =>
          target.announce({ infoHash: blob.infoHash, event, left }, deadline).catch((error: unknown) => {
            log.debug({ tracker: target.url, event, reason: reasonOf(error) }, 'announce failed');
          }),
        ),
      );
    })();
    return ended;
  };

  const follow = (wanted: readonly AnnounceTarget[]): void => {
    if (stop.signal.aborted) return;
    const byName = new Map(wanted.map((target) => [`${target.url} ${target.address ?? ''}`, target]));
    for (const [name, { end }] of followed) {
      if (byName.has(name)) continue;
      followed.delete(name);
      end.abort();
    }
    for (const [name, target] of byName) {
      if (followed.has(name)) continue;
      const end = new AbortController();
      // In a later turn, so that the caller has its membership before it hears of peers.
      const done = Promise.resolve()
        .then(() => announceTo(target, AbortSignal.any([stop.signal, end.signal])))
        .catch((error: unknown) => log.error({ err: error }, 'announcing failed'))
        .finally(() => {
          if (!end.signal.aborted) return;
          greeted.delete(target);
          tried(target);
        });
      followed.set(name, { end, done });
    }
  };
  follow(targets);
  if (targets.length === 0) queueMicrotask(() => blob.onAnswered?.(false));
  return { follow, complete: () => farewell('completed'), leave: () => farewell('stopped') };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
