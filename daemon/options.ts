/** The agent's options, and how their values become its configuration. */
import { hostname } from 'node:os';
import { credentialOptions, credentialsOf } from '#auth';
import {
  admissionOptions,
  ConfigError,
  checkTransports,
  dataFolder,
  dataFolderHelp,
  defineOptions,
  derived,
  duration,
  host,
  hostPort,
  hostPortOrOff,
  joinOptions,
  kind,
  listenerOf,
  listenerOptions,
  logLevel,
  namesOptions,
  oneOf,
  optional,
  path,
  plainListener,
  rate,
  repeated,
  serverUrl,
  size,
  string,
  tlsFiles,
  transportOptions,
  type Values,
  withDefault,
} from '#config';
import { NODE_NAME } from '#orders';
import { budgetConfig, budgetOptions } from './budget/options.ts';
import type { AgentConfig } from './index.ts';
import { lazyLimits, lazyOptions } from './lazy/options.ts';
import { discoveryConfig, discoveryOptions } from './trackerless/options.ts';

/** What no selector could name is no name. */
function nodeName(): string {
  const name = hostname();
  return NODE_NAME.test(name) ? name : 'node';
}

/** How much the disk should have free; 0: the cache does not care. */
const sizeOrOff = kind('SIZE|off', `${size.expected}, or off`, (text) =>
  text === 'off' ? 0 : size.schema.safeParse(text).data,
);

const count = kind('N', 'a whole number from 1 to 1000000', (text) =>
  /^[1-9]\d{0,5}$|^1000000$/.test(text) ? Number(text) : undefined,
);

export const agentOptions = defineOptions({
  origin: repeated(
    serverUrl,
    'URL of an origin, which is also a tracker; at least one. dns+http://NAME:PORT stands for an origin at each address of the name. With several, each is told what this agent holds, and one that is silent is passed over within a second',
  ),
  'origins.order': withDefault(
    oneOf('spread', 'listed'),
    'spread',
    'who of several origins is asked first for what a digest names: spread: another for each digest; listed: the first. A tag is always asked in the order of the list',
  ),
  ...namesOptions,
  listen: withDefault(
    hostPort,
    '127.0.0.1:5001',
    'address of the mirror for containerd, CRI-O and podman, and of /metrics',
  ),
  data: withDefault(
    path,
    dataFolder('agent'),
    'folder of the cache and its database',
    dataFolderHelp('agent'),
  ),
  ...admissionOptions,
  ...joinOptions,
  ...transportOptions,
  'peer.listen': derived(
    hostPortOrOff,
    listenerOf('libp2p', 4002),
    'port 4002 on the host of listen',
    'address where other members of the swarm reach this agent by libp2p',
  ),
  'bittorrent.listen': derived(
    hostPortOrOff,
    plainListener(6882),
    'port 6882 on the host of listen; off under --admission token',
    'address where other members, and any BitTorrent client, reach this agent by plain TCP',
  ),
  advertise: optional(host, 'host that other members dial; by default the one that the tracker sees'),
  'node.name': withDefault(
    string('NAME', 'a host name', NODE_NAME),
    nodeName(),
    "this node's name, by which prefetches and rollouts select it",
    'the host name of the machine',
  ),
  zone: optional(
    string('a/b/c', 'a zone such as eu1/rack7, coarse to fine', /^[\w.-]{1,63}(?:\/[\w.-]{1,63}){0,7}$/),
    'where this node is, coarse to fine',
  ),
  'cache.size': optional(
    size,
    'most that the cache may hold, blobs that are being fetched included; by default the disk is the limit',
  ),
  'cache.free': optional(
    sizeOrOff,
    'the cache gives way while the disk has less than this free; by default 5 % of the disk, at most 1GiB',
  ),
  'cache.scrub-rate': optional(
    rate,
    'how fast cached blobs are hashed again in the background, on average; by default only changed files are',
  ),
  'containerd.content': optional(
    path,
    "folder of containerd's content store, /var/lib/containerd/io.containerd.content.v1.content: a blob that is there too is kept on disk once. The agent must be able to read it, to link its files as their owner",
  ),
  ...lazyOptions,
  ...budgetOptions,
  'max.requests': withDefault(
    count,
    '1000',
    'requests that the mirror answers at once; more are refused with 503',
  ),
  'max.downloads': withDefault(count, '200', 'blobs that are fetched at once; more are refused with 503'),
  ...discoveryOptions,
  'ca.file': optional(path, 'PEM file of authorities to trust for the origins, beside the built-in ones'),
  ...credentialOptions,
  'rights.mode': withDefault(
    oneOf('client', 'agent'),
    'client',
    'who may pull: client: who may pull the same from the origin; agent: every client, what the agent may',
  ),
  'rights.verdict': withDefault(
    duration,
    '1m',
    "how long an origin's word that a client may pull something counts before it is asked again",
  ),
  'rights.stale': withDefault(duration, '1h', 'how long it counts while no origin answers'),
  ...listenerOptions,
  'log.level': logLevel,
});

/** @throws ConfigError for combinations that cannot be used */
export function agentConfig(values: Values<typeof agentOptions>): AgentConfig {
  const { listen, origin: origins, advertise, zone } = values;
  const tls = tlsFiles(values);
  const transports = checkTransports(values);
  const peerListen = values['peer.listen'];
  const bittorrentListen = values['bittorrent.listen'];
  const caFile = values['ca.file'];
  const cacheSizeBytes = values['cache.size'];
  const cacheFreeBytes = values['cache.free'];
  const contentStore = values['containerd.content'];
  const scrubRateBytesPerSecond = values['cache.scrub-rate'];
  if (origins.length === 0) {
    throw new ConfigError(['origin: the agent needs an origin: --origin http://HOST:5000']);
  }
  const joinTokenFile = values['join.token-file'];
  const credentialsFor = credentialsOf(values, origins);
  const discovery = discoveryConfig(values, transports);
  return {
    origins: [...origins],
    originOrder: values['origins.order'],
    resolveMs: values['origins.resolve'],
    ...(credentialsFor && { credentialsFor }),
    rights: {
      mode: values['rights.mode'],
      verdictMs: values['rights.verdict'],
      staleMs: values['rights.stale'],
    },
    maxRequests: values['max.requests'],
    maxDownloads: values['max.downloads'],
    listen,
    data: values.data,
    nodeName: values['node.name'],
    transports,
    peerListen,
    bittorrentListen,
    ...(caFile !== undefined && { caFile }),
    ...(tls && { tls }),
    ...(values.admission !== undefined && { admission: values.admission }),
    ...(joinTokenFile !== undefined && { joinTokenFile }),
    ...(advertise !== undefined && { advertise }),
    ...(zone !== undefined && { zone }),
    ...(cacheSizeBytes !== undefined && { cacheSizeBytes }),
    ...(cacheFreeBytes !== undefined && { cacheFreeBytes }),
    ...(contentStore !== undefined && { contentStore }),
    lazy: lazyLimits(values),
    ...(discovery && { discovery }),
    ...(scrubRateBytesPerSecond !== undefined && { scrubRateBytesPerSecond }),
    ...budgetConfig(values),
    maxConnections: values['max.connections'],
  };
}
