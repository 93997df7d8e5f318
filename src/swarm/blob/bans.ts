/**
 * Members that sent bad bytes or lied. On libp2p a ban holds for the member's key, under whatever
 * address. On plain TCP it holds for the pair of host and peer id, and for the address where the
 * member listens; a host that comes back under new names is banned as a whole (not the loopback:
 * there every member has the same host). Each ban lasts longer than the last.
 */
import type { PeerAddress } from '../port.ts';
import type { Sender } from './pieces.ts';

const FIRST_BAN_MS = 60_000;
const LONGEST_BAN_MS = 24 * 3_600_000;

/** Names under which one host may offend before it is banned as a whole. */
const MAX_NAMES_PER_HOST = 4;

/** Old records are dropped above this, oldest first. */
const MAX_RECORDS = 10_000;

interface Ban {
  times: number;
  until: number;
}

export interface Bans {
  add(member: Sender, now: number): void;
  has(
    member: { readonly peerId?: string; readonly host: string; readonly label: string },
    now: number,
  ): boolean;
  /** Whether the member that is reached there is banned, on whichever transport. */
  hasAddress(address: PeerAddress, now: number): boolean;
}

function isLoopback(host: string): boolean {
  return host.startsWith('127.') || host === '::1' || host.startsWith('::ffff:127.') || host === 'localhost';
}

function dropOldest(map: Map<string, unknown>): void {
  for (const oldest of map.keys()) {
    if (map.size <= MAX_RECORDS) return;
    map.delete(oldest);
  }
}

export function createBans(): Bans {
  const records = new Map<string, Ban>();
  const names = new Map<string, Set<string>>();

  const until = (key: string): number => records.get(key)?.until ?? 0;

  function record(key: string, now: number): void {
    const times = (records.get(key)?.times ?? 0) + 1;
    records.delete(key);
    records.set(key, { times, until: now + Math.min(LONGEST_BAN_MS, FIRST_BAN_MS * 4 ** (times - 1)) });
    dropOldest(records);
  }

  return {
    add(member, now) {
      record(`${member.host} ${member.peerId}`, now);
      record(member.label, now);
      if (isLoopback(member.host)) return;
      const known = names.get(member.host) ?? new Set();
      if (known.size <= MAX_NAMES_PER_HOST) known.add(member.peerId);
      names.delete(member.host);
      names.set(member.host, known);
      dropOldest(names);
      if (known.size > MAX_NAMES_PER_HOST) record(member.host, now);
    },
    has(member, now) {
      const keys = [member.host, member.label];
      if (member.peerId !== undefined) keys.push(`${member.host} ${member.peerId}`);
      return keys.some((key) => until(key) > now);
    },
    hasAddress({ host, port, libp2p }, now) {
      const keys = [host, `${host}:${port}`];
      if (libp2p !== undefined) keys.push(libp2p.peerId);
      return keys.some((key) => until(key) > now);
    },
  };
}
