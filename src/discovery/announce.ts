/** What an announce says and what it is answered with, whatever the protocol. */
import { isIP } from 'node:net';
import { type Libp2pAddress, parseMultiaddr } from '#multiaddr';
import type { PeerAddress } from '#swarm';
import type { InfoHash } from '#torrent';

/** Where members dial us. Without a host, the address that the tracker sees; without a port, not by plain TCP. */
export interface SelfAddress {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
}

/** Who we are to every tracker. */
export interface Self {
  /** 40 hex digits. */
  readonly peerId: string;
  readonly address: SelfAddress | undefined;
  /** Who we are on libp2p; undefined: we do not speak it. The port UNREACHABLE_PORT: we only dial. */
  readonly libp2p?: Libp2pAddress | undefined;
  readonly zone?: string | undefined;
}

/** Whether members can dial us in any way. */
export function isReachable({ address, libp2p }: Self): boolean {
  return address?.port !== undefined || (libp2p !== undefined && libp2p.port !== UNREACHABLE_PORT);
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
  /** Which server of the URL's name, where it has several. */
  readonly address?: string | undefined;
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
export function toPeer(
  host: string,
  port: unknown,
  more: { readonly zone?: string | undefined; readonly multiaddr?: string | undefined } = {},
): PeerAddress | undefined {
  const { zone, multiaddr } = more;
  const name = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/i;
  if (isIP(host) === 0 && !name.test(host)) return undefined;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) return undefined;
  // One host a member: the one that the tracker names beside it.
  const { port: libp2pPort, peerId } = parseMultiaddr(multiaddr ?? '') ?? {};
  const libp2p: Libp2pAddress | undefined =
    libp2pPort === undefined || peerId === undefined ? undefined : { port: libp2pPort, peerId };
  return { host, port, ...(libp2p !== undefined && { libp2p }), ...(zone !== undefined && { zone }) };
}
