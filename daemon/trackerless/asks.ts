/**
 * What an agent asks of other members while no origin answers: manifests and metainfo, by digest. Members that the DHT names for the
 * digest are asked first, and those that had what was asked last; the others that are known when these had nothing for a moment; a few at
 * a time, within a deadline. Each question to a member that was not met is a handshake: a cluster that lost its origin asks all at once.
 *
 * What they say is checked. A manifest is right when it has its digest. Metainfo is only an offer until its pieces have led to bytes that
 * have the digest: offers are gathered for a moment, told apart by infohash (honest members say the same, for it follows from the
 * bytes), and tried one after the other, those of most members first. A member whose answer was wrong is banned, counted and logged.
 */
import { providerKey } from '#discovery';
import {
  type Digest,
  digestAlgorithm,
  digestOf,
  MAX_MANIFEST_BYTES,
  type Manifest,
  parseManifest,
} from '#oci';
import type { Overlay, PeerAddress } from '#swarm';
import type { Logger } from '#telemetry';
import { MAX_METAINFO_BYTES, type Metainfo, parseMetainfo } from '#torrent';
import { backoffMs, createPause } from '#waiting';
import type { CachedManifest } from '../manifest-cache.ts';
import { SMALL_BLOB_BYTES } from '../metainfo-source.ts';
import type { Sought, TrackerlessMetrics } from './metrics.ts';

/** Metainfo that some members vouch for, and nobody else. */
export interface Offer {
  readonly metainfo: Metainfo;
  readonly members: readonly PeerAddress[];
}

export interface Asks {
  /** Undefined: nobody has it. Never rejects. */
  manifest(digest: Digest): Promise<CachedManifest | undefined>;
  /** A blob of at most one piece. Undefined: nobody has it. Never rejects. */
  smallBlob(digest: Digest): Promise<Buffer | undefined>;
  /** The offers for a blob, the best first; of `size` bytes when that is known. Never rejects. */
  metainfo(digest: Digest, size: number | undefined): Promise<readonly Offer[]>;
  /** The blob turned out to be this offer's: who offered another lied. */
  proved(right: Offer, offers: Iterable<Offer>): void;
  /** Its pieces are not the blob: who offered it lied. */
  disproved(wrong: Offer): void;
}

const SEARCH_DEADLINE_MS = 10_000;
const ASK_DEADLINE_MS = 5_000;
const ASKED_AT_ONCE = 6;
/** What those that are asked first may take until the others are asked too. */
const HEAD_START_MS = 500;
/** Who is likely to have it and refuses is asked so often, after pauses that begin with this. */
const MAX_ATTEMPTS = 4;
const AGAIN_MS = 250;
/** Known members that are asked about one digest, besides those that the DHT names. */
const MAX_ASKED = 32;
/** Members that had what was asked last are asked first: who has an image's manifest has its layers too. */
const MAX_HELPFUL = 8;
/** How long other offers are waited for after the first, and how many are enough. */
const GATHER_MS = 150;
const ENOUGH_OFFERS = 5;
/** A member that is said to provide a blob, by records that only it can make, and does not have it: so often it is a mistake. */
const MAX_EMPTY_RECORDS = 8;
const MAX_COUNTED = 4_096;

const manifestQuestion = (digest: Digest): string => `manifest ${digest}`;
const blobQuestion = (digest: Digest): string => `blob ${digest}`;
const metainfoQuestion = (digest: Digest): string => `metainfo ${digest}`;

interface Answer<T> {
  readonly member: PeerAddress;
  readonly value: T;
}

export function createAsks(options: {
  readonly overlay: Overlay;
  readonly metrics: TrackerlessMetrics;
  readonly log: Logger;
}): Asks {
  const { overlay, metrics, log } = options;
  const emptyRecords = new Map<string, Set<Digest>>();
  /** The latest last. */
  const helpful = new Map<string, PeerAddress>();

  function helped(member: PeerAddress): void {
    helpful.delete(idOf(member));
    helpful.set(idOf(member), member);
    const [oldest] = helpful.keys();
    if (helpful.size > MAX_HELPFUL && oldest !== undefined) helpful.delete(oldest);
  }

  function liar(member: PeerAddress, what: Sought | 'provider', digest: Digest): void {
    const peerId = member.libp2p?.peerId;
    if (peerId === undefined) return;
    helpful.delete(peerId);
    metrics.lied(what);
    log.warn({ peer: peerId, host: member.host, what, digest }, 'a member lied; it is avoided');
    overlay.ban(peerId);
  }

  /** Blobs are evicted while records still name them; who writes many such records does it on purpose. */
  function noteEmptyRecord(member: PeerAddress, digest: Digest): void {
    const peerId = member.libp2p?.peerId ?? '';
    const digests = emptyRecords.get(peerId) ?? new Set();
    emptyRecords.delete(peerId);
    emptyRecords.set(peerId, digests.add(digest));
    for (const oldest of emptyRecords.keys()) {
      if (emptyRecords.size <= MAX_COUNTED) break;
      emptyRecords.delete(oldest);
    }
    log.debug({ peer: peerId, digest }, 'a member does not have what it is said to provide');
    if (digests.size < MAX_EMPTY_RECORDS) return;
    emptyRecords.delete(peerId);
    liar(member, 'provider', digest);
  }

  /** Asks until `enough` or nobody is left. `read` answers undefined for what is wrong. */
  async function search<T>(
    what: Sought,
    digest: Digest,
    ask: {
      readonly question: string;
      readonly maxBytes: number;
      readonly read: (bytes: Buffer) => T | undefined;
      readonly enough: (answers: readonly Answer<T>[], done: () => void) => boolean;
    },
  ): Promise<readonly Answer<T>[]> {
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, AbortSignal.timeout(SEARCH_DEADLINE_MS)]);
    const answers: Answer<T>[] = [];
    const named: PeerAddress[] = [];
    const likely = [...helpful.values()].reverse();
    const known = overlay.members().slice(0, MAX_ASKED);
    const asked = new Set<string>();
    /** Those that the DHT names, and those that do not have it: who is both has an empty record. */
    const namedIds = new Set<string>();
    const without = new Set<string>();
    const finished = Promise.withResolvers<void>();
    let running = 0;
    let searching = true;
    /** Those that are likely to have it had their time. */
    let late = likely.length === 0 && !overlay.searchable;
    const headStart = setTimeout(() => {
      late = true;
      goOn();
    }, HEAD_START_MS);
    signal.addEventListener('abort', () => finished.resolve());
    overlay.listen();

    function next(): PeerAddress | undefined {
      // Who is not known to have it is asked only while nobody had it.
      for (const list of [named, likely, ...(late && answers.length === 0 ? [known] : [])]) {
        for (let member = list.shift(); member !== undefined; member = list.shift()) {
          const peerId = idOf(member);
          if (asked.has(peerId)) continue;
          asked.add(peerId);
          return member;
        }
      }
      return undefined;
    }

    function note(member: PeerAddress, where: Set<string>): void {
      const peerId = idOf(member);
      if (where.has(peerId)) return;
      where.add(peerId);
      if (namedIds.has(peerId) && without.has(peerId)) noteEmptyRecord(member, digest);
    }

    /** Who is likely to have it may be asked by everybody just now, and refuse: it is asked again. */
    async function askPatiently(member: PeerAddress): Promise<Buffer | undefined> {
      const within = AbortSignal.any([signal, AbortSignal.timeout(ASK_DEADLINE_MS)]);
      const isLikely = helpful.has(idOf(member)) || namedIds.has(idOf(member));
      const again = createPause();
      for (let failures = 1; ; failures += 1) {
        try {
          return await overlay.ask(member, ask.question, { maxBytes: ask.maxBytes, signal: within });
        } catch (error) {
          if (!isLikely || failures >= MAX_ATTEMPTS || within.aborted) throw error;
          await again.wait(backoffMs(failures, AGAIN_MS, ASK_DEADLINE_MS), within);
        }
      }
    }

    async function askOne(member: PeerAddress): Promise<void> {
      const bytes = await askPatiently(member);
      if (signal.aborted) return;
      if (bytes === undefined) {
        if (what !== 'manifest') note(member, without);
        return;
      }
      const value = ask.read(bytes);
      if (value === undefined) return liar(member, what, digest);
      helped(member);
      answers.push({ member, value });
      if (ask.enough(answers, () => over.abort())) over.abort();
    }

    function goOn(): void {
      while (running < ASKED_AT_ONCE && !signal.aborted) {
        const candidate = next();
        if (candidate === undefined) {
          // Nobody is left who is likely to have it: no reason to wait.
          if (late || running > 0 || searching || answers.length > 0) break;
          late = true;
          continue;
        }
        running += 1;
        askOne(candidate)
          .catch((error: unknown) => log.debug({ peer: idOf(candidate), err: error }, 'not asked'))
          .finally(() => {
            running -= 1;
            goOn();
          });
      }
      if (running === 0 && !searching) finished.resolve();
    }

    goOn();
    for await (const member of overlay.providers(providerKey(digest), signal)) {
      named.push(member);
      note(member, namedIds);
      goOn();
    }
    searching = false;
    goOn();
    await finished.promise;
    clearTimeout(headStart);
    over.abort();
    metrics.searched(what, answers.length > 0);
    return answers;
  }

  return {
    async manifest(digest) {
      const [found] = await search<Manifest & { bytes: Buffer }>('manifest', digest, {
        question: manifestQuestion(digest),
        maxBytes: MAX_MANIFEST_BYTES,
        read(bytes) {
          if (!hasDigest(bytes, digest)) return undefined;
          return { ...parsed(bytes), bytes: Buffer.from(bytes) };
        },
        enough: () => true,
      });
      return found && { digest, mediaType: found.value.mediaType, bytes: found.value.bytes };
    },
    async smallBlob(digest) {
      const [found] = await search<Buffer>('blob', digest, {
        question: blobQuestion(digest),
        maxBytes: SMALL_BLOB_BYTES,
        read: (bytes) => (hasDigest(bytes, digest) ? Buffer.from(bytes) : undefined),
        enough: () => true,
      });
      return found?.value;
    },
    async metainfo(digest, size) {
      let late: NodeJS.Timeout | undefined;
      const answers = await search<Metainfo>('metainfo', digest, {
        question: metainfoQuestion(digest),
        maxBytes: MAX_METAINFO_BYTES,
        read: (bytes) => readMetainfo(bytes, digest, size),
        enough(found, done) {
          late ??= setTimeout(done, GATHER_MS);
          return found.length >= ENOUGH_OFFERS;
        },
      });
      clearTimeout(late);
      const groups = new Map<string, { metainfo: Metainfo; members: PeerAddress[] }>();
      for (const { member, value } of answers) {
        const group = groups.get(value.infoHash) ?? { metainfo: value, members: [] };
        groups.set(value.infoHash, group);
        group.members.push(member);
      }
      return [...groups.values()].sort((a, b) => b.members.length - a.members.length);
    },
    proved(right, offers) {
      for (const offer of offers) if (offer !== right) this.disproved(offer);
    },
    disproved({ metainfo, members }) {
      for (const member of members) liar(member, 'metainfo', metainfo.digest);
    },
  };
}

const idOf = (member: PeerAddress): string => member.libp2p?.peerId ?? '';

const hasDigest = (bytes: Buffer, digest: Digest): boolean =>
  digestOf(digestAlgorithm(digest), bytes) === digest;

function parsed(bytes: Buffer): Manifest {
  try {
    return parseManifest(bytes, undefined);
  } catch {
    // It has its digest, so it is what was asked for; media types that Shoal does not know pass through.
    const mediaType = /"mediaType"\s*:\s*"([\w.+/-]{3,255})"/.exec(bytes.toString('latin1', 0, 4_096))?.[1];
    return {
      mediaType: mediaType ?? 'application/vnd.oci.image.manifest.v1+json',
      blobs: [],
      manifests: [],
      subject: undefined,
      artifactType: undefined,
      annotations: undefined,
    };
  }
}

function readMetainfo(bytes: Buffer, digest: Digest, size: number | undefined): Metainfo | undefined {
  try {
    const metainfo = parseMetainfo(bytes);
    const fits = metainfo.digest === digest && (size === undefined || metainfo.length === size);
    return fits && metainfo.length > 0 ? metainfo : undefined;
  } catch {
    return undefined;
  }
}
