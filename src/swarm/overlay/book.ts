/** Where members are reached: what they said of themselves, or others of them. Bounded; the longest unheard goes first. */
import { isPeerId } from '#multiaddr';
import type { NodeAddress } from '../transport/libp2p/index.ts';

const MAX_MEMBERS = 4_096;
const MAX_ADDRESSES = 8;

export interface Book {
  /**
   * `own`: the member said so itself, and no other is believed from then on; else it is only noted for a member whose
   * address is not known.
   */
  learn(peerId: string, addresses: readonly NodeAddress[], own: boolean): void;
  addressesOf(peerId: string): readonly NodeAddress[];
  /** Whether it ever spoke to us itself. */
  met(peerId: string): boolean;
  forget(peerId: string): void;
  /** It could not be reached just now. */
  failed(peerId: string): void;
  /** Those with an address, the latest heard first; behind them those that could not be reached a while ago. */
  latest(): { readonly peerId: string; readonly addresses: readonly NodeAddress[] }[];
  readonly size: number;
}

/** How long a member that could not be reached stands behind the others. */
const FAILED_MS = 60_000;

interface Entry {
  readonly addresses: readonly NodeAddress[];
  readonly own: boolean;
  failedAt: number;
}

export function createBook(ownPeerId: string): Book {
  const members = new Map<string, Entry>();

  function makeRoom(): void {
    if (members.size <= MAX_MEMBERS) return;
    // Names that others made up go before members that were met.
    for (const [peerId, { own }] of members) {
      if (own) continue;
      members.delete(peerId);
      return;
    }
    for (const peerId of members.keys()) {
      members.delete(peerId);
      return;
    }
  }

  return {
    learn(peerId, addresses, own) {
      if (peerId === ownPeerId || !isPeerId(peerId) || addresses.length === 0) return;
      const known = members.get(peerId);
      if (known?.own && !own) return;
      members.delete(peerId);
      members.set(peerId, {
        addresses: addresses.slice(0, MAX_ADDRESSES),
        own,
        failedAt: own ? Number.NEGATIVE_INFINITY : (known?.failedAt ?? Number.NEGATIVE_INFINITY),
      });
      makeRoom();
    },
    addressesOf: (peerId) => members.get(peerId)?.addresses ?? [],
    met: (peerId) => members.get(peerId)?.own === true,
    forget: (peerId) => void members.delete(peerId),
    failed(peerId) {
      const entry = members.get(peerId);
      if (entry) entry.failedAt = performance.now();
    },
    latest() {
      const since = performance.now() - FAILED_MS;
      const all = [...members].reverse();
      return [
        ...all.filter(([, it]) => it.failedAt < since),
        ...all.filter(([, it]) => it.failedAt >= since),
      ].map(([peerId, { addresses }]) => ({ peerId, addresses }));
    },
    get size() {
      return members.size;
    },
  };
}
