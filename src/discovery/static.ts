/** Discovery without a tracker: a fixed list of members, the same for every blob. */
import type { PeerAddress } from '#swarm';
import type { Discovery } from './port.ts';

/** For tests and for clusters whose members are known. Nobody is told what we hold. */
export function createStaticDiscovery(peers: readonly PeerAddress[]): Discovery {
  let closed = false;
  return {
    join({ onPeers, onAnswered }) {
      let joined = !closed;
      setImmediate(() => {
        if (!joined || closed) return;
        if (peers.length > 0) onPeers(peers);
        onAnswered?.(true);
      });
      const end = async (): Promise<void> => {
        joined = false;
      };
      return { complete: end, leave: end };
    },
    hold: () => undefined,
    drop: () => undefined,
    async close() {
      closed = true;
    },
  };
}
