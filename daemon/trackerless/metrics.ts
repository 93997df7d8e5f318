/** The metrics of what is found without origin and tracker. */
import type { OverlayStatus } from '#swarm';
import type { Metrics } from '#telemetry';

/** What members are asked for. */
export type Sought = 'manifest' | 'blob' | 'metainfo';

export interface TrackerlessMetrics {
  searched(what: Sought, found: boolean): void;
  lied(what: Sought | 'provider'): void;
}

export function registerTrackerlessMetrics(
  metrics: Metrics,
  status: () => OverlayStatus | undefined,
): TrackerlessMetrics {
  const searches = metrics.counter({
    name: 'shoal_discovery_searches_total',
    help: 'Manifests, small blobs and metainfo that were looked for at other members because no origin answered, by whether they were found',
    labels: ['what', 'result'],
  });
  const lies = metrics.counter({
    name: 'shoal_discovery_lies_total',
    help: 'Wrong answers of members to what was asked while no origin answered; the member is then banned',
    labels: ['what'],
    known: [{ what: 'manifest' }, { what: 'metainfo' }, { what: 'provider' }],
  });
  metrics.gauge({
    name: 'shoal_discovery_members',
    help: 'Members of the swarm that are known without a tracker',
    read: (gauge) => gauge.set(status()?.members ?? 0),
  });
  metrics.gauge({
    name: 'shoal_discovery_records',
    help: 'Provider records that this agent keeps for the DHT',
    read: (gauge) => gauge.set(status()?.records ?? 0),
  });
  return {
    searched: (what, found) => searches.inc({ what, result: found ? 'found' : 'missing' }),
    lied: (what) => lies.inc({ what }),
  };
}
