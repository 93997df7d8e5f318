/** The origin's options, and how their values become its configuration. */
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
  kind,
  listenerOf,
  listenerOptions,
  logLevel,
  optional,
  path,
  plainListener,
  rate,
  repeated,
  tlsFiles,
  transportOptions,
  url,
  type Values,
  withDefault,
} from '#config';
import { accessConfig, accessOptions } from './access/options.ts';
import { accountOptions } from './accounts/options.ts';
import { collectionConfig, collectionOptions } from './collection/options.ts';
import type { OriginConfig } from './index.ts';
import { triggerConfig, triggerOptions } from './rollouts/options.ts';
import { storageConfig, storageOptions } from './storage.ts';
import { checkExposure } from './upstream/exposure.ts';
import { upstreamConfigs, upstreamOptions } from './upstream/options.ts';

const trackerUrl = kind('URL', 'a tracker such as http://10.0.0.9:6969 or udp://10.0.0.9:6969', (text) => {
  const parsed = /^(?:https?|udp):\/\//i.test(text) ? URL.parse(text) : null;
  const bare = parsed !== null && /^\/?$/.test(parsed.pathname) && !/[?#@]/.test(text);
  const dialled =
    parsed !== null && parsed.hostname !== '' && (parsed.protocol !== 'udp:' || parsed.port !== '');
  return bare && dialled ? text.replace(/\/+$/, '') : undefined;
});

export const originOptions = defineOptions({
  listen: withDefault(hostPort, '127.0.0.1:5000', 'address of the registry, the tracker and /metrics'),
  data: withDefault(
    path,
    dataFolder('origin'),
    'folder of blobs, uploads and the database',
    dataFolderHelp('origin'),
  ),
  ...admissionOptions,
  ...transportOptions,
  'peer.listen': derived(
    hostPortOrOff,
    listenerOf('libp2p', 4001),
    'port 4001 on the host of listen',
    'address of the libp2p listener that seeds the blobs',
  ),
  'bittorrent.listen': derived(
    hostPortOrOff,
    plainListener(6881),
    'port 6881 on the host of listen; off under --admission token',
    'address of the plain BitTorrent listener that seeds the blobs',
  ),
  'udp.listen': withDefault(
    hostPortOrOff,
    'off',
    'address of the UDP tracker (BEP 15); HTTP announces need no option',
  ),
  advertise: optional(host, 'host that agents dial for this origin; by default the host of the listener'),
  'public.url': optional(url, 'URL of this origin as agents see it, for announce and web seed URLs'),
  tracker: repeated(trackerUrl, "a tracker that runs alone, named in each .torrent after this origin's own"),
  'cluster.key-file': optional(
    path,
    "the cluster's key ('shoal cluster init'), for --admission token; by default cluster.key in data. Origins of one cluster have copies",
  ),
  'cluster.membership-lifetime': withDefault(
    duration,
    '1h',
    'how long a membership counts; it is renewed at half of that, and a member goes on as long without an origin',
  ),
  'upload.rate': optional(
    rate,
    'most that the swarm may upload, over all peers; what is read over HTTP does not count',
  ),
  ...triggerOptions,
  ...upstreamOptions,
  ...accessOptions,
  ...collectionOptions,
  ...accountOptions,
  ...storageOptions,
  ...listenerOptions,
  'log.level': logLevel,
});

/** @throws ConfigError for combinations that cannot be used */
export function originConfig(values: Values<typeof originOptions>): OriginConfig {
  const { listen, advertise } = values;
  const tls = tlsFiles(values);
  const storage = storageConfig(values);
  const transports = checkTransports(values);
  const peerListen = values['peer.listen'];
  const bittorrentListen = values['bittorrent.listen'];
  const udpListen = values['udp.listen'];
  const publicUrl = values['public.url'];
  const uploadRateBytesPerSecond = values['upload.rate'];
  const access = accessConfig(values);
  const clusterKeyFile = values['cluster.key-file'];
  const membershipLifetimeMs = values['cluster.membership-lifetime'];
  if (membershipLifetimeMs < 2_000 || membershipLifetimeMs > 30 * 86_400_000) {
    throw new ConfigError(['cluster.membership-lifetime: expected 2s to 30d']);
  }
  const upstreams = upstreamConfigs(values);
  checkExposure(upstreams, access);
  return {
    listen,
    data: values.data,
    ...(upstreams.length > 0 && { upstreams }),
    ...(storage && { storage }),
    transports,
    peerListen,
    bittorrentListen,
    ...(access && { access }),
    collection: collectionConfig(values),
    triggers: triggerConfig(values),
    keepAccountsMs: values['report.keep'],
    ...(tls && { tls }),
    ...(values.admission !== undefined && { admission: values.admission }),
    ...(clusterKeyFile !== undefined && { clusterKeyFile }),
    membershipLifetimeMs,
    ...(udpListen !== 'off' && { udpListen }),
    ...(advertise !== undefined && { advertise }),
    ...(publicUrl !== undefined && { publicUrl }),
    ...(values.tracker.length > 0 && { trackers: values.tracker }),
    ...(uploadRateBytesPerSecond !== undefined && { uploadRateBytesPerSecond }),
  };
}
