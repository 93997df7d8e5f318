/** Blob payload that passed, over HTTP and the swarm: the metric, and the sums for status pages. */
import type { Metrics } from '#telemetry';

export interface Payload {
  count(direction: 'in' | 'out', via: 'http' | 'swarm', bytes: number): void;
  totals(): { in: number; out: number };
  sent(): { readonly http: number; readonly swarm: number };
}

export function createPayload(metrics: Metrics): Payload {
  const member = metrics.sums<'direction' | 'via'>({
    name: 'shoal_origin_blob_bytes_total',
    help: 'Blob payload that the origin received and sent, without headers and protocol',
    labels: ['direction', 'via'],
  });
  const both = (direction: 'in' | 'out') => ({
    http: member({ direction, via: 'http' }),
    swarm: member({ direction, via: 'swarm' }),
  });
  const sums = { in: both('in'), out: both('out') };
  const totals = { in: 0, out: 0 };
  const sent = { http: 0, swarm: 0 };
  return {
    count(direction, via, bytes) {
      sums[direction][via](bytes);
      totals[direction] += bytes;
      if (direction === 'out') sent[via] += bytes;
    },
    totals: () => ({ ...totals }),
    sent: () => ({ ...sent }),
  };
}
