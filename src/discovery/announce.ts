/** What an announce says and what it is answered with, whatever the protocol. */
import { isIP } from 'node:net';
import type { PeerAddress } from '#swarm';
import type { InfoHash } from '#torrent';

/** Who we are to every tracker. */
export interface Self {
  /** 40 hex digits. */
  readonly peerId: string;
  /** Undefined: nobody can dial us. `host` undefined: the address that the tracker sees. */
  readonly address: { readonly host?: string | undefined; readonly port: number } | undefined;
  readonly zone?: string | undefined;
}

export interface Announce {
  readonly infoHash: InfoHash;
  readonly event?: 'started' | 'completed' | 'stopped';
  /** Bytes still missing. */
  readonly left: number;
}

export interface Answer {
  /** When the tracker wants the next announce. */
  readonly intervalMs: number;
  readonly peers: readonly PeerAddress[];
}

/** One tracker. Rejects with the tracker's reason, or when it does not answer before `signal`. */
export interface AnnounceTarget {
  readonly url: string;
  announce(announce: Announce, signal: AbortSignal): Promise<Answer>;
}

/** How others announce a member that cannot be dialled (libtorrent does the same): 0 is refused by many trackers. */
export const UNREACHABLE_PORT = 1;
export const PEERS_WANTED = 50;
/** Of one answer; more is not believed. */
export const MAX_PEERS = 200;

const MIN_INTERVAL_MS = 5_000;
const MAX_INTERVAL_MS = 60 * 60_000;

/** A tracker's interval, kept within what is sensible. */
export function intervalMs(seconds: unknown): number {
  if (typeof seconds !== 'number' || !Number.isFinite(seconds)) return MIN_INTERVAL_MS * 6;
  return Math.min(MAX_INTERVAL_MS, Math.max(MIN_INTERVAL_MS, seconds * 1000));
}

/** A peer that may be dialled, from a tracker's words; undefined when they are not an address. */
export function toPeer(host: string, port: unknown, zone?: string): PeerAddress | undefined {
  const name = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/i;
  if (isIP(host) === 0 && !name.test(host)) return undefined;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) return undefined;
  return { host, port, ...(zone !== undefined && { zone }) };
}
