/**
 * Which known members of one blob's swarm are dialled, and when again. Members of role origin
 * wait until the owner says that the others do not suffice. A failure, and a connection that brought
 * no block, doubles the pause before the next try.
 */
import type { PeerAddress } from '../port.ts';

const MAX_KNOWN = 2_000;
const MAX_DIALLING = 8;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 120_000;

interface Known {
  address: PeerAddress;
  state: 'idle' | 'dialling' | 'connected';
  failures: number;
  notBefore: number;
}

export interface DialerOptions {
  /** Dials and introduces the member; resolves when it is connected, rejects when it is not. */
  readonly dial: (address: PeerAddress) => Promise<void>;
  /** Whether one more connection may be made now. */
  readonly room: () => boolean;
  readonly banned: (address: PeerAddress) => boolean;
  /** Orders who is dialled, first first. */
  readonly rank: (addresses: readonly PeerAddress[]) => readonly PeerAddress[];
  readonly now: () => number;
}

export interface Dialer {
  add(addresses: readonly PeerAddress[]): void;
  /** What we know of the member that listens there. */
  find(host: string, port: number): PeerAddress | undefined;
  /** A connection to this member exists now (whoever dialled). */
  connected(address: PeerAddress): void;
  /** It is over; `useful` when a block came over it: then it is dialled again soon. */
  disconnected(address: PeerAddress, useful: boolean): void;
  /** Dials who may be dialled. Origins only when `withOrigins`. */
  run(withOrigins: boolean): void;
  /** Members known that are not origins, neither connected nor failed: still worth waiting for. */
  readonly untried: number;
}

const key = (address: { readonly host: string; readonly port: number }): string =>
  `${address.host}:${address.port}`;

export function createDialer(options: DialerOptions): Dialer {
  const known = new Map<string, Known>();
  let dialling = 0;

  function pause(entry: Known): void {
    entry.failures++;
    entry.notBefore = options.now() + Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (entry.failures - 1));
  }

  async function dial(entry: Known): Promise<void> {
    entry.state = 'dialling';
    dialling++;
    try {
      await options.dial(entry.address);
    } catch {
      if (entry.state === 'dialling') entry.state = 'idle';
      pause(entry);
    } finally {
      dialling--;
    }
  }

  function ready(entry: Known, withOrigins: boolean, at: number): boolean {
    if (entry.state !== 'idle' || entry.notBefore > at) return false;
    if (entry.address.role === 'origin' && !withOrigins) return false;
    return !options.banned(entry.address);
  }

  return {
    add(addresses) {
      for (const address of addresses) {
        const at = key(address);
        const entry = known.get(at);
        if (entry === undefined) {
          if (known.size >= MAX_KNOWN) return;
          known.set(at, { address, state: 'idle', failures: 0, notBefore: 0 });
        } else {
          // A role, a zone or a libp2p address may be told later, by somebody who knows more.
          entry.address = { ...entry.address, ...address };
        }
      }
    },
    find: (host, port) => known.get(key({ host, port }))?.address,
    connected(address) {
      const entry = known.get(key(address));
      if (entry !== undefined) entry.state = 'connected';
    },
    disconnected(address, useful) {
      const entry = known.get(key(address));
      if (entry === undefined) return;
      entry.state = 'idle';
      if (useful) entry.failures = 0;
      pause(entry);
    },
    run(withOrigins) {
      if (dialling >= MAX_DIALLING) return;
      const at = options.now();
      const candidates = [...known.values()].filter((entry) => ready(entry, withOrigins, at));
      if (candidates.length === 0) return;
      for (const address of options.rank(candidates.map((entry) => entry.address))) {
        if (dialling >= MAX_DIALLING || !options.room()) return;
        const entry = known.get(key(address));
        if (entry !== undefined) void dial(entry);
      }
    },
    get untried() {
      let count = 0;
      for (const entry of known.values()) {
        const fresh = entry.state === 'dialling' || (entry.state === 'idle' && entry.failures === 0);
        if (entry.address.role !== 'origin' && fresh) count++;
      }
      return count;
    },
  };
}
