/**
 * Nodes with links of their own: one network namespace each, joined by a bridge in another, every
 * link limited both ways by a token bucket (tbf). Nodes of a zone are joined by a bridge of the zone,
 * whose one link to the others is counted and can be cut. Nothing of it touches the machine's own network.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { whenInterrupted } from '../measure/interrupted.ts';

const run = promisify(execFile);

export interface Network {
  /** Namespace of node `index`; 0 is the seed's. */
  namespace(index: number): string;
  /** Its address on the shared network. */
  address(index: number): string;
  /** Limits both directions of a node's link from now on. */
  setRate(index: number, rate: string): Promise<void>;
  /** Bytes that came into a zone so far, headers of the packets included. */
  bytesInto(zone: number): Promise<number>;
  /** Cuts a zone's link to all others, or mends it. */
  setLink(zone: number, state: 'up' | 'down'): Promise<void>;
  close(): Promise<void>;
}

/**
 * Makes `nodes` namespaces whose links run at `rate` (tc's notation, for example 100mbit). Needs root.
 * `zoneOf` a node is a number from 0 on; undefined: it is in none. By default none is.
 */
export async function createNetwork(
  nodes: number,
  rate: string,
  zoneOf: (index: number) => number | undefined = () => undefined,
): Promise<Network> {
  const prefix = `shoal${process.pid}`;
  const hub = `${prefix}hub`;
  const namespace = (index: number): string => `${prefix}n${index}`;
  const address = (index: number): string => `10.77.${Math.floor(index / 200)}.${(index % 200) + 1}`;
  /** The zone's end of its link to the others. */
  const uplink = (zone: number): string => `up${zone}`;
  const ip = (...args: string[]): Promise<unknown> => run('ip', args);
  const shape = (space: string, link: string, limit: string): Promise<unknown> =>
    run('ip', [
      'netns',
      'exec',
      space,
      'tc',
      'qdisc',
      'replace',
      'dev',
      link,
      'root',
      'tbf',
      'rate',
      limit,
      'burst',
      '64kb',
      'latency',
      '200ms',
    ]);
  const made: string[] = [];

  const close = async (): Promise<void> => {
    ended();
    for (const space of made) await ip('netns', 'del', space).catch(() => undefined);
  };
  const ended = whenInterrupted(close);
  try {
    await ip('netns', 'add', hub);
    made.push(hub);
    await ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge');
    await ip('-n', hub, 'link', 'set', 'br0', 'up');
    const zones = new Set(Array.from({ length: nodes }, (_, index) => zoneOf(index) ?? -1));
    zones.delete(-1);
    for (const zone of zones) {
      await ip('-n', hub, 'link', 'add', `br${zone + 1}`, 'type', 'bridge');
      await ip('-n', hub, 'link', 'add', uplink(zone), 'type', 'veth', 'peer', 'name', `down${zone}`);
      await ip('-n', hub, 'link', 'set', uplink(zone), 'master', `br${zone + 1}`, 'up');
      await ip('-n', hub, 'link', 'set', `down${zone}`, 'master', 'br0', 'up');
      await ip('-n', hub, 'link', 'set', `br${zone + 1}`, 'up');
    }
    for (let index = 0; index < nodes; index += 1) {
      const space = namespace(index);
      await ip('netns', 'add', space);
      made.push(space);
      await ip('-n', hub, 'link', 'add', `v${index}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space);
      await ip('-n', hub, 'link', 'set', `v${index}`, 'master', `br${(zoneOf(index) ?? -1) + 1}`, 'up');
      await ip('-n', space, 'addr', 'add', `${address(index)}/16`, 'dev', 'eth0');
      await ip('-n', space, 'link', 'set', 'eth0', 'up');
      await ip('-n', space, 'link', 'set', 'lo', 'up');
      // As on a machine with a default route: mDNS.
      await ip('-n', space, 'route', 'add', '224.0.0.0/4', 'dev', 'eth0');
    }
    const setRate = async (index: number, limit: string): Promise<void> => {
      await shape(namespace(index), 'eth0', limit);
      await shape(hub, `v${index}`, limit);
    };
    for (let index = 0; index < nodes; index += 1) await setRate(index, rate);
    return {
      namespace,
      address,
      setRate,
      async bytesInto(zone) {
        const { stdout } = await run('ip', ['-n', hub, '-s', '-j', 'link', 'show', uplink(zone)]);
        const [link] = JSON.parse(stdout) as { stats64: { rx: { bytes: number } } }[];
        if (link === undefined) throw new Error(`zone ${zone} has no link`);
        return link.stats64.rx.bytes;
      },
      setLink: async (zone, state) => void (await ip('-n', hub, 'link', 'set', uplink(zone), state)),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
