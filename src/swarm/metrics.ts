/** What every member of the swarm counts, the same in each program: registered once, wired into its observer. */
import type { Metrics } from '#telemetry';
import type { SwarmObserver, Transport } from './port.ts';

export interface SwarmMetrics {
  /** Parts of an observer as they are. */
  readonly observer: Pick<SwarmObserver, 'payload' | 'connected' | 'disconnected'>;
  pieceRejected(): void;
}

export function createSwarmMetrics(metrics: Metrics): SwarmMetrics {
  const payloadOf = metrics.sums<'direction' | 'transport'>({
    name: 'shoal_swarm_payload_bytes_total',
    help: 'Blob payload exchanged with other members of the swarm',
    labels: ['direction', 'transport'],
  });
  const payloadBy = (direction: 'in' | 'out') => ({
    tcp: payloadOf({ direction, transport: 'tcp' }),
    libp2p: payloadOf({ direction, transport: 'libp2p' }),
  });
  const payload = { in: payloadBy('in'), out: payloadBy('out') };
  const rejected = metrics.counter({
    name: 'shoal_pieces_rejected_total',
    help: 'Pieces that failed their hash',
  });
  const connected: Record<Transport, number> = { tcp: 0, libp2p: 0 };
  metrics.gauge<'transport'>({
    name: 'shoal_peers_connected',
    help: 'Members of the swarm that are connected now',
    labels: ['transport'],
    read(gauge) {
      gauge.set({ transport: 'tcp' }, connected.tcp);
      gauge.set({ transport: 'libp2p' }, connected.libp2p);
    },
  });
  return {
    observer: {
      payload: (direction, transport, bytes) => payload[direction][transport](bytes),
      connected(transport) {
        connected[transport] += 1;
      },
      disconnected(transport) {
        connected[transport] -= 1;
      },
    },
    pieceRejected: () => rejected.inc(),
  };
}
