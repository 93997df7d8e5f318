/** The options of finding members without a tracker. */
import { ConfigError, kind, repeated, type Values, withDefault } from '#config';
import { parseMembers, parseMultiaddr } from '#multiaddr';
import type { Transport } from '#swarm';

const onOrOff = kind('on|off', "'on' or 'off'", (text) =>
  text === 'on' ? true : text === 'off' ? false : undefined,
);
const member = kind(
  'MEMBER',
  'where a member is reached by libp2p: /ip4/10.0.0.7/tcp/4002/p2p/12D3KooW…, or HOST:PORT',
  (text) => {
    if (text.startsWith('/')) return parseMultiaddr(text)?.host === undefined ? undefined : text;
    return parseMembers([text]).length === 1 ? text : undefined;
  },
);

export const discoveryOptions = {
  'discovery.dht': withDefault(
    onOrOff,
    'off',
    'find members that have a blob by a Kad-DHT of the agents when no tracker answers, and let others find what is here',
  ),
  'discovery.mdns': withDefault(
    onOrOff,
    'off',
    'find other agents on the local network by mDNS, and be found: they are asked when no tracker answers',
  ),
  'discovery.bootstrap': repeated(
    member,
    'a member that an agent with discovery.dht begins with, besides those it met before: a multiaddr, or HOST:PORT of the libp2p listeners behind a name; any agent will do',
  ),
};

export interface DiscoveryConfig {
  readonly dht: boolean;
  /** The UDP port of mDNS; undefined: not spoken. */
  readonly mdns: { readonly port: number } | undefined;
  readonly bootstrap: readonly string[];
}

const MDNS_PORT = 5353;

/** @throws ConfigError when libp2p is not spoken, or a member is named that nobody asks */
export function discoveryConfig(
  values: Values<typeof discoveryOptions>,
  transports: readonly Transport[],
): DiscoveryConfig | undefined {
  const { 'discovery.dht': dht, 'discovery.mdns': mdns, 'discovery.bootstrap': bootstrap } = values;
  if (!dht && bootstrap.length > 0) {
    throw new ConfigError(['discovery.bootstrap: is of use with --discovery-dht on']);
  }
  if (!dht && !mdns) return undefined;
  if (!transports.includes('libp2p')) {
    const key = dht ? 'discovery.dht' : 'discovery.mdns';
    throw new ConfigError([`${key}: needs libp2p among swarm.transports (${transports.join(', ')})`]);
  }
  return { dht, mdns: mdns ? { port: MDNS_PORT } : undefined, bootstrap };
}
