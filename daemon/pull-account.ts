/**
 * Where the seconds and bytes of one blob's fetch went. Pure: the caller tells the time.
 *
 * The seconds are those of the fetch, not of a client that reads slowly. They are cut into phases that
 * follow one another, so they add up to the whole; the bytes are counted once, by who brought the piece.
 */
import type { Digest } from '#oci';
import type { PieceSource } from '#swarm';

/** The phases, in their order; one that a fetch did not have took no time. */
export const PULL_PHASES = [
  'metainfo',
  'prepare',
  'first-peer',
  'first-piece',
  'transfer',
  'verify',
  'disk',
] as const;
export type PullPhase = (typeof PULL_PHASES)[number];

/** `resumed`: verified pieces that an earlier attempt had left on the disk. */
export type PullSource = PieceSource | 'resumed';
export const PULL_SOURCES: readonly PullSource[] = [
  'peer',
  'origin-swarm',
  'origin-http',
  'upstream',
  'resumed',
];

/** A member that sent bytes, as far as it was connected when the last piece came. */
interface PullPeer {
  readonly address: string;
  readonly role: 'origin' | 'agent';
  readonly bytes: number;
}

export interface PullReport {
  readonly digest: Digest;
  readonly repository: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly state: 'running' | 'complete' | 'failed';
  /** Why it failed. */
  readonly error: string | null;
  /** Null until it is known. */
  readonly size: number | null;
  /** Whole milliseconds; the sum of the phases. */
  readonly wallMs: number;
  readonly phasesMs: Readonly<Record<PullPhase, number>>;
  /** Bytes of verified pieces by who brought them; their sum is `size` once complete. */
  readonly bytesBySource: Readonly<Record<PullSource, number>>;
  /** Of the phase `transfer`: the time of each piece since the one before it, by who brought the piece; whole milliseconds. */
  readonly transferMsBySource: Readonly<Record<PullSource, number>>;
  /** In which a piece was being written to the file: beside the transfer, and so a part of no phase of its own; whole milliseconds. */
  readonly writingMs: number;
  /** Who sent most, at most five. */
  readonly topPeers: readonly PullPeer[];
  /** What took longest, in words. */
  readonly slowest: string;
}

/** Times are milliseconds of one monotonic clock. */
export interface PullAccount {
  /** The phase so far ends and this one begins. After the end nothing changes any more. */
  enter(phase: PullPhase, at: number): void;
  sized(size: number, resumedBytes: number): void;
  /** The origin has all of the blob only now: it fetched the blob from an upstream meanwhile. */
  arrivedAtOrigin(at: number): void;
  /** Somebody to fetch from was named, or it was said that there is nobody. */
  met(at: number): void;
  /** Whoever was connected at the end. */
  peers(members: readonly PullPeer[]): void;
  /** A verified piece is here; the first of a fetch ends its wait for the first piece. */
  arrived(source: PieceSource, bytes: number, at: number): void;
  /** A piece was written to the file, from then to then. */
  wrote(from: number, to: number): void;
  complete(at: number): void;
  failed(reason: string, at: number): void;
  report(now: number): PullReport;
}

const WORDS: Readonly<Record<PullPhase, string>> = {
  metainfo: 'asking the origin for the metainfo',
  prepare: 'making room and opening the file on the disk',
  'first-peer': 'waiting for the tracker to name peers',
  'first-piece': 'meeting peers and waiting for the first piece',
  transfer: 'receiving the bytes',
  verify: "checking the whole blob's digest",
  disk: 'keeping it on the disk',
};

const SOURCE_WORDS: Readonly<Record<PullSource, string>> = {
  peer: 'other agents',
  'origin-swarm': 'the origin over the swarm',
  'origin-http': 'the origin over HTTP',
  upstream: 'the upstream',
  resumed: 'an earlier attempt',
};

const TOP_PEERS = 5;
/** With all of the blob at the origin so late in the transfer, a faster swarm would have gained nothing. */
const UPSTREAM_SHARE = 0.75;
/** With pieces being written for so much of the transfer, a faster swarm would have gained nothing either. */
const DISK_SHARE = 0.75;

export function createPullAccount(subject: {
  readonly digest: Digest;
  readonly repository: string;
  readonly startedAt: Date;
  readonly at: number;
}): PullAccount {
  const phases: Record<PullPhase, number> = {
    metainfo: 0,
    prepare: 0,
    'first-peer': 0,
    'first-piece': 0,
    transfer: 0,
    verify: 0,
    disk: 0,
  };
  const none: Readonly<Record<PullSource, number>> = {
    peer: 0,
    'origin-swarm': 0,
    'origin-http': 0,
    upstream: 0,
    resumed: 0,
  };
  const bytes = { ...none };
  const transferMs = { ...none };
  let state: PullReport['state'] = 'running';
  let error: string | null = null;
  let size: number | null = null;
  let topPeers: readonly PullPeer[] = [];
  let transferFrom: number | undefined;
  /** When the newest piece came. */
  let lastAt: number | undefined;
  let atOrigin: number | undefined;
  let writingMs = 0;
  /** Until when writing was counted: two pieces at a time count once. */
  let writtenUntil = subject.at;
  let phase: PullPhase = 'metainfo';
  let since = subject.at;

  function advance(at: number): void {
    phases[phase] += Math.max(0, at - since);
    since = Math.max(since, at);
  }
  function end(outcome: 'complete' | 'failed', reason: string | null, at: number): void {
    if (state !== 'running') return;
    advance(at);
    state = outcome;
    error = reason;
  }

  /** Whether the bytes came no faster than the origin got them. */
  function waitedForUpstream(transferMs: number): boolean {
    const from = transferFrom ?? Number.POSITIVE_INFINITY;
    return atOrigin !== undefined && atOrigin - from >= UPSTREAM_SHARE * transferMs;
  }

  /** What held the transfer back, where that was not who sent. */
  function paceOf(transferMs: number): string {
    if (waitedForUpstream(transferMs)) return ', as fast as the origin got them from the upstream';
    return transferMs > 0 && writingMs >= DISK_SHARE * transferMs ? ', as fast as the disk took them' : '';
  }

  return {
    enter(next, at) {
      if (state !== 'running') return;
      advance(at);
      phase = next;
    },
    sized(length, resumedBytes) {
      size = length;
      bytes.resumed = resumedBytes;
    },
    arrivedAtOrigin(at) {
      atOrigin ??= at;
    },
    met(at) {
      if (state !== 'running' || phase !== 'first-peer') return;
      advance(at);
      phase = 'first-piece';
    },
    peers(members) {
      const sent = members.filter(({ bytes: count }) => count > 0);
      topPeers = sent.sort((a, b) => b.bytes - a.bytes).slice(0, TOP_PEERS);
    },
    arrived(source, count, at) {
      if (state !== 'running') return;
      bytes[source] += count;
      if (phase === 'transfer') transferMs[source] += Math.max(0, at - (lastAt ?? since));
      lastAt = at;
      if (phase !== 'first-peer' && phase !== 'first-piece') return;
      advance(at);
      phase = 'transfer';
      transferFrom = at;
    },
    wrote(from, to) {
      if (state !== 'running') return;
      writingMs += Math.max(0, to - Math.max(from, writtenUntil));
      writtenUntil = Math.max(writtenUntil, to);
    },
    complete: (at) => end('complete', null, at),
    failed: (reason, at) => end('failed', reason, at),
    report(now) {
      const phasesMs = { ...phases };
      if (state === 'running') phasesMs[phase] += Math.max(0, now - since);
      for (const name of PULL_PHASES) phasesMs[name] = Math.round(phasesMs[name]);
      const wallMs = PULL_PHASES.reduce((sum, name) => sum + phasesMs[name], 0);
      return {
        digest: subject.digest,
        repository: subject.repository,
        startedAt: subject.startedAt.toISOString(),
        ...{ state, error, size, wallMs, phasesMs },
        bytesBySource: { ...bytes },
        transferMsBySource: rounded(transferMs),
        writingMs: Math.round(writingMs),
        topPeers,
        slowest: slowestOf(phasesMs, wallMs, bytes, paceOf(phasesMs.transfer)),
      };
    },
  };
}

function rounded(ms: Readonly<Record<PullSource, number>>): Record<PullSource, number> {
  const whole: Record<PullSource, number> = { ...ms };
  for (const source of PULL_SOURCES) whole[source] = Math.round(ms[source]);
  return whole;
}

function slowestOf(
  phasesMs: Readonly<Record<PullPhase, number>>,
  wallMs: number,
  bytes: Readonly<Record<PullSource, number>>,
  pace: string,
): string {
  if (wallMs === 0) return 'nothing took a millisecond';
  const slowest = PULL_PHASES.reduce((most, name) => (phasesMs[name] > phasesMs[most] ? name : most));
  const share = `${phasesMs[slowest]} ms, ${Math.round((100 * phasesMs[slowest]) / wallMs)} % of the time`;
  const fetched = (Object.keys(bytes) as PullSource[]).filter(
    (name) => name !== 'resumed' && bytes[name] > 0,
  );
  if (slowest !== 'transfer' || fetched.length === 0) return `${WORDS[slowest]}: ${share}`;
  const most = fetched.reduce((best, name) => (bytes[name] > bytes[best] ? name : best));
  return `${WORDS.transfer}${pace}, most of them from ${SOURCE_WORDS[most]}: ${share}`;
}
