/**
 * Blobs that are on their way from an upstream, as drafts: the hash of each piece is told as soon as
 * its bytes are on disk, so that agents exchange what has come while the rest is still fetched. What is
 * told is what arrived and not yet what is right: only the whole blob's digest says that, here and at
 * each agent, and nothing enters a cache before.
 *
 * A draft stays for a while after its blob is complete, because its members have not all of it yet
 * and who comes now should meet them.
 */
import type { BlobReader, BlobStore } from '#blobs';
import type { Hashing } from '#hashing';
import type { Digest } from '#oci';
import type { Seed, SeedStore } from '#swarm';
import type { Logger } from '#telemetry';
import {
  createDraft,
  DRAFT_END,
  DRAFT_WAITING,
  type Draft,
  encodeDraftFailure,
  encodeDraftHashes,
  type InfoHash,
  isDraftable,
  pieceCount,
  pieceSize,
} from '#torrent';
import type { BlobIdentity } from './torrents.ts';
import type { IncomingBlob } from './upstream/index.ts';

/** Agents take a stream that is silent for ten seconds for dead. */
const WAITING_MS = 3_000;
/** After the blob is complete, and as long again while members are connected. */
const LINGER_MS = 60_000;

export interface OriginDraft {
  readonly draft: Draft;
  /**
   * The hashes from piece `from`, in frames, as they become known. Ends with the blob or with its failure;
   * without a last frame when `signal` is aborted or the origin stops.
   */
  frames(from: number, signal: AbortSignal): AsyncGenerator<Uint8Array>;
}

export interface Drafts {
  /** The draft of a blob that is on its way; undefined when it has none (one piece). Begun at the first call. */
  of(incoming: IncomingBlob): OriginDraft | undefined;
  /** The draft of a blob that is complete, while its members are still at it. */
  lingering(digest: Digest): OriginDraft | undefined;
  /** The piece hashes that were computed as the blob came; undefined when they were not, or not all. */
  hashesOf(digest: Digest): Promise<Uint8Array | undefined>;
  /** What the swarm seeds under a draft's infohash. */
  seed(infoHash: InfoHash): Seed | undefined;
  identify(infoHash: InfoHash): BlobIdentity | undefined;
  /** Cuts the streams: their clients take them up again. */
  cut(): void;
  /** The blob is being deleted. */
  forget(digest: Digest): Promise<void>;
  close(): Promise<void>;
}

interface Entry extends OriginDraft {
  readonly digest: Digest;
  readonly complete: boolean;
  /** Resolves when every piece is hashed, or none will be any more. */
  readonly hashed: Promise<boolean>;
  readonly seed: Seed;
  close(): Promise<void>;
}

export function createDrafts(options: {
  readonly blobs: BlobStore;
  readonly hashing: Hashing;
  /** What makes the infohash of a blob's draft one that cannot be guessed; undefined where nothing is secret. */
  readonly keyOf: (digest: Digest) => Uint8Array | undefined;
  /** A draft can be found by its infohash from now on, or no longer. */
  readonly onChange: (infoHash: InfoHash) => void;
  /** Ends what the swarm has open under an infohash. */
  readonly release: (infoHash: InfoHash) => Promise<void>;
  /** Whether members are connected for it. */
  readonly isBusy: (infoHash: InfoHash) => boolean;
  readonly lingerMs?: number;
  readonly log: Logger;
}): Drafts {
  const { blobs, hashing, log } = options;
  const entries = new Map<Digest, Entry>();
  const byInfoHash = new Map<InfoHash, Entry>();
  const stopping = new AbortController();
  const lingerMs = options.lingerMs ?? LINGER_MS;

  async function drop(entry: Entry): Promise<void> {
    if (entries.get(entry.digest) !== entry) return;
    const { infoHash } = entry.draft;
    entries.delete(entry.digest);
    byInfoHash.delete(infoHash);
    options.onChange(infoHash);
    await options.release(infoHash);
    await entry.close();
  }

  function dropLater(entry: Entry): void {
    if (stopping.signal.aborted) return;
    setTimeout(() => {
      if (options.isBusy(entry.draft.infoHash)) dropLater(entry);
      else drop(entry).catch((error: unknown) => log.warn({ err: error }, 'a draft was not closed'));
    }, lingerMs).unref();
  }

  function begin(incoming: IncomingBlob): Entry {
    const { digest, size } = incoming;
    const growing = createDraft({ digest, length: size, key: options.keyOf(digest) });
    const { draft } = growing;
    const count = pieceCount(draft);
    const wakers = new Set<() => void>();
    let outcome: 'coming' | 'complete' | { readonly reason: string } = 'coming';
    let reader: Promise<BlobReader> | undefined;

    const wake = (): void => {
      for (const waker of [...wakers]) waker();
    };
    /** Until something changed, `ms` have passed or `signal` is aborted. True: something did. */
    const change = (signal: AbortSignal, ms?: number): Promise<boolean> =>
      new Promise((resolve) => {
        const end = (changed: boolean): void => {
          clearTimeout(timer);
          wakers.delete(woken);
          signal.removeEventListener('abort', woken);
          resolve(changed);
        };
        const woken = (): void => end(true);
        const timer = ms === undefined ? undefined : setTimeout(() => end(false), ms);
        wakers.add(woken);
        signal.addEventListener('abort', woken, { once: true });
        if (signal.aborted) woken();
      });

    /** One piece after another, read once it is on disk. False: the rest will not come. */
    async function hashAll(): Promise<boolean> {
      const memory = new Uint8Array(new SharedArrayBuffer(draft.pieceLength));
      for (let piece = 0; piece < count; piece += 1) {
        const position = piece * draft.pieceLength;
        const bytes = memory.subarray(0, pieceSize(draft, piece));
        while (incoming.available() < position + bytes.length) {
          if (stopping.signal.aborted || typeof outcome === 'object') return false;
          await change(stopping.signal);
        }
        await incoming.read(position, bytes);
        growing.add(await hashing.sha1(bytes));
        wake();
      }
      return true;
    }

    async function run(): Promise<boolean> {
      const stop = incoming.onGrowth(wake);
      incoming.finished.then(
        () => {
          outcome = 'complete';
          wake();
        },
        (error: unknown) => {
          outcome = { reason: error instanceof Error ? error.message : String(error) };
          wake();
        },
      );
      try {
        return await hashAll();
      } catch (error) {
        log.warn({ digest, err: error }, 'a blob on its way could not be read');
        outcome = { reason: 'the origin cannot read what has come' };
        return false;
      } finally {
        stop();
        wake();
      }
    }

    async function readStored(position: number, into: Uint8Array): Promise<void> {
      reader ??= blobs.open(digest).then((opened) => {
        if (opened === undefined) throw new Error(`${digest} is gone`);
        return opened;
      });
      await (await reader).read(position, into);
    }

    const store: SeedStore = {
      has: (piece) => piece < draft.growth.known,
      read: (position, into) =>
        outcome === 'complete' ? readStored(position, into) : incoming.read(position, into),
      async write() {},
      onPiece(listener) {
        let told = draft.growth.known;
        return draft.growth.onMore(() => {
          while (told < draft.growth.known) listener(told++);
        });
      },
      async close() {},
    };

    async function* frames(from: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
      const ended = AbortSignal.any([signal, stopping.signal]);
      let told = from;
      while (!ended.aborted) {
        const { known } = draft.growth;
        if (known > told) {
          yield encodeDraftHashes(draft, told, known);
          told = known;
        } else if (typeof outcome === 'object') {
          yield encodeDraftFailure(outcome.reason);
          return;
        } else if (outcome === 'complete' && known === count) {
          yield DRAFT_END;
          return;
        } else if (!(await change(ended, WAITING_MS))) {
          yield DRAFT_WAITING;
        }
      }
    }

    const hashed = run();
    const entry: Entry = {
      digest,
      draft,
      hashed,
      get complete() {
        return outcome === 'complete';
      },
      seed: { metainfo: draft, store },
      frames,
      async close() {
        await (await reader?.catch(() => undefined))?.close();
      },
    };
    Promise.all([hashed, incoming.finished])
      .then(
        ([all]) => (all ? dropLater(entry) : drop(entry)),
        () => drop(entry),
      )
      .catch((error: unknown) => log.warn({ digest, err: error }, 'a draft was not closed'));
    return entry;
  }

  return {
    of(incoming) {
      if (!isDraftable(incoming.size) || stopping.signal.aborted) return undefined;
      const known = entries.get(incoming.digest);
      if (known !== undefined) return known;
      const entry = begin(incoming);
      entries.set(entry.digest, entry);
      byInfoHash.set(entry.draft.infoHash, entry);
      options.onChange(entry.draft.infoHash);
      return entry;
    },
    lingering: (digest) => entries.get(digest),
    async hashesOf(digest) {
      const entry = entries.get(digest);
      return entry !== undefined && (await entry.hashed) ? entry.draft.pieces : undefined;
    },
    seed: (infoHash) => byInfoHash.get(infoHash)?.seed,
    identify(infoHash) {
      const entry = byInfoHash.get(infoHash);
      return entry && { digest: entry.digest, size: entry.draft.length };
    },
    cut: () => stopping.abort(),
    async forget(digest) {
      const entry = entries.get(digest);
      if (entry?.complete) await drop(entry);
    },
    async close() {
      stopping.abort();
      for (const entry of [...entries.values()]) await drop(entry);
    },
  };
}
