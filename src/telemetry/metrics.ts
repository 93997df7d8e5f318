/**
 * The metrics of one program, in one registry. The names are fixed (DESIGN of the product: users'
 * dashboards rely on them); a program registers only those it owns.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** A metric's help text and labels; `read` makes a gauge that is computed when it is scraped. */
interface Spec<L extends string> {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly L[];
}

interface GaugeSpec<L extends string> extends Spec<L> {
  readonly read: (gauge: Gauge<L>) => void | Promise<void>;
}

/** Adds to one counter of a family; costs an addition. */
export type Add = (amount: number) => void;

export interface Metrics {
  /**
   * A family of counters for hot paths: each member is named once, by all its labels, and is zero from then
   * on. What is added is put in order at a scrape.
   */
  sums<L extends string>(spec: Spec<L>): (labels: Record<L, string>) => Add;
  /**
   * `known`: members that are there from the start, at zero. Prometheus sees no increase in a member that begins with
   * its first event, so whoever is alerted by one names it here.
   */
  counter<L extends string = never>(
    spec: Spec<L> & { readonly known?: readonly Readonly<Record<L, string>>[] },
  ): Counter<L>;
  /** A gauge whose value is read at each scrape. */
  gauge<L extends string = never>(spec: GaugeSpec<L>): Gauge<L>;
  histogram<L extends string = never>(spec: Spec<L> & { readonly buckets: readonly number[] }): Histogram<L>;
  /** The text of /metrics. */
  text(): Promise<string>;
  readonly contentType: string;
  close(): void;
}

/** `process` adds Node's process metrics; in one process only one program should ask for it. */
export function createMetrics(options: { readonly process?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (options.process) {
    collectDefaultMetrics({ register: registry });
    // Gauges that are named as counters are; the same is told by type, without the ending.
    for (const what of ['resources', 'handles', 'requests']) {
      registry.removeSingleMetric(`nodejs_active_${what}_total`);
    }
  }
  const base = <L extends string>(spec: Spec<L>) => ({
    name: spec.name,
    help: spec.help,
    labelNames: [...(spec.labels ?? [])] as L[],
    registers: [registry],
  });
  return {
    sums<L extends string>(spec: Spec<L>) {
      const members: { readonly labels: Record<L, string>; pending: number }[] = [];
      const counter: Counter<L> = new Counter<L>({
        ...base<L>(spec),
        collect: () => {
          for (const member of members) {
            counter.inc(member.labels, member.pending);
            member.pending = 0;
          }
        },
      });
      return (labels: Record<L, string>) => {
        const member = { labels, pending: 0 };
        members.push(member);
        return (amount) => {
          member.pending += amount;
        };
      };
    },
    counter: <L extends string>(
      spec: Spec<L> & { readonly known?: readonly Readonly<Record<L, string>>[] },
    ) => {
      const counter = new Counter<L>(base(spec));
      for (const labels of spec.known ?? []) counter.inc(labels, 0);
      return counter;
    },
    gauge: <L extends string>(spec: GaugeSpec<L>) => {
      const gauge: Gauge<L> = new Gauge<L>({
        ...base(spec),
        collect: (): void | Promise<void> => spec.read(gauge),
      });
      return gauge;
    },
    histogram: (spec) => new Histogram({ ...base(spec), buckets: [...spec.buckets] }),
    text: () => registry.metrics(),
    contentType: registry.contentType,
    close: () => registry.clear(),
  };
}
