/**
 * What a download goes by: metainfo, or the draft of a blob that the origin still fetches, whose piece
 * hashes come by and by. A draft's stream that was cut is taken up again where it stopped; the origin
 * may have the blob whole by then, and answers with its metainfo.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { OciError } from '#oci';
import type { Logger } from '#telemetry';
import { createDraft, knownPieces, type Metainfo, type Torrent } from '#torrent';
import type { DraftStream } from './draft-stream.ts';

export interface TorrentFeed {
  readonly torrent: Torrent;
  /** The blob's metainfo, as soon as every piece hash is known. */
  whole(): Metainfo | undefined;
  /** Rejects with an OciError when the rest will not become known. Never resolves. */
  readonly failed: Promise<never>;
  /** Nobody needs the rest. */
  close(): void;
}

/** Asks the origin again, for the hashes from this piece. */
export type Resume = (from: number, signal: AbortSignal) => Promise<Metainfo | DraftStream>;

/** Attempts in a row that brought no hash. */
const MAX_FAILURES = 6;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4_000;

const OTHER_BYTES = 'the origin tells of another blob than before under this digest';
const NEVER = new Promise<never>(() => undefined);

export function feedOf(metainfo: Metainfo): TorrentFeed {
  return { torrent: metainfo, whole: () => metainfo, failed: NEVER, close: () => undefined };
}

export function followDraft(options: {
  readonly first: DraftStream;
  readonly resume: Resume;
  /** Told once, when every piece hash is known. */
  readonly onWhole: (metainfo: Metainfo) => void;
  readonly log: Logger;
}): TorrentFeed {
  const { first, resume, log } = options;
  const growing = createDraft(first.header);
  const { draft } = growing;
  const { digest } = draft;
  const closed = new AbortController();
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => undefined);
  let stream: DraftStream | undefined = first;
  /** The origin said so itself: asking again does not help. */
  let final = false;

  function giveUp(why: string): never {
    final = true;
    throw new OciError('UNAVAILABLE', why);
  }

  const take = (hashes: Uint8Array): void => {
    growing.add(hashes);
    const whole = growing.whole();
    if (whole !== undefined) options.onWhole(whole);
  };

  /** The blob is complete at the origin. */
  function takeRest(metainfo: Metainfo): void {
    const known = 20 * knownPieces(draft);
    const same = Buffer.compare(metainfo.pieces.subarray(0, known), draft.pieces.subarray(0, known)) === 0;
    if (!same || metainfo.length !== draft.length) giveUp(OTHER_BYTES);
    if (known < metainfo.pieces.length) take(metainfo.pieces.subarray(known));
  }

  async function followOnce(): Promise<void> {
    if (stream === undefined) {
      const answer = await resume(knownPieces(draft), closed.signal);
      if ('infoHash' in answer) {
        takeRest(answer);
        return;
      }
      stream = answer;
      if (answer.header.length !== draft.length || answer.header.from !== knownPieces(draft)) {
        giveUp(OTHER_BYTES);
      }
    }
    const outcome = await stream.follow(take);
    if (outcome !== 'complete') giveUp(`the origin could not fetch the blob: ${outcome.failed}`);
  }

  async function follow(): Promise<void> {
    let failures = 0;
    for (;;) {
      const before = knownPieces(draft);
      try {
        await followOnce();
        return;
      } catch (error) {
        closed.signal.throwIfAborted();
        // Cut, or nobody answers: that may pass.
        const passes = !final && (!(error instanceof OciError) || error.code === 'UNAVAILABLE');
        stream?.close();
        stream = undefined;
        failures = knownPieces(draft) > before ? 1 : failures + 1;
        if (!passes || failures > MAX_FAILURES) throw error;
        log.info(
          { digest, known: knownPieces(draft), err: error },
          'the draft was cut; it is taken up again',
        );
        const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1));
        await delay(pause, undefined, { signal: closed.signal });
      }
    }
  }

  follow().catch((error: unknown) => {
    if (closed.signal.aborted) return;
    log.warn({ digest, err: error }, 'the draft of a blob failed');
    failure.reject(
      error instanceof OciError
        ? error
        : new OciError(
            'UNAVAILABLE',
            `the origin tells no more of the blob: ${(error as Error).message}`,
            undefined,
            { cause: error },
          ),
    );
  });
  return {
    torrent: draft,
    whole: growing.whole,
    failed: failure.promise,
    close() {
      closed.abort();
      stream?.close();
    },
  };
}
