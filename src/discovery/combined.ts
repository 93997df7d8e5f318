/**
 * Two discoveries as one: the second is asked for the members of a blob only when the first fails, or names nobody in good
 * time. When the first answers that there is nobody, it is believed. Both are told what we hold.
 */
import type { PeerAddress } from '#swarm';
import type { Discovery } from './port.ts';

/** A tracker in reach answers within this; who finds members otherwise need not wait longer. */
const PATIENCE_MS = 400;

export function createCombinedDiscovery(
  first: Discovery,
  second: Discovery,
  options: {
    /** Told of each member that the first names. */
    readonly onNamed?: ((peers: readonly PeerAddress[]) => void) | undefined;
    readonly patienceMs?: number;
  } = {},
): Discovery {
  const both = [first, second];
  return {
    join(blob) {
      let ended = false;
      let named = false;
      let told = false;
      let other: ReturnType<Discovery['join']> | undefined;

      function answered(): void {
        if (told || ended) return;
        told = true;
        clearTimeout(late);
        blob.onAnswered?.(true);
      }

      function joinOther(): void {
        clearTimeout(late);
        if (ended || named || told || other !== undefined) return;
        other = second.join({ ...blob, onAnswered: answered });
      }
      const late = setTimeout(joinOther, options.patienceMs ?? PATIENCE_MS);
      const membership = first.join({
        ...blob,
        onPeers(peers) {
          named ||= peers.length > 0;
          options.onNamed?.(peers);
          blob.onPeers(peers);
        },
        onAnswered(any) {
          if (any) answered();
          else joinOther();
        },
      });
      const end = async (how: 'complete' | 'leave'): Promise<void> => {
        ended = true;
        clearTimeout(late);
        await Promise.all([membership[how](), other?.[how]()]);
      };
      return { complete: () => end('complete'), leave: () => end('leave') };
    },
    hold(infoHashes) {
      const all = [...infoHashes];
      for (const discovery of both) discovery.hold(all);
    },
    drop(infoHashes) {
      const all = [...infoHashes];
      for (const discovery of both) discovery.drop(all);
    },
    async close() {
      await Promise.all(both.map((discovery) => discovery.close()));
    },
  };
}
