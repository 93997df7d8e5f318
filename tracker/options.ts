/** The options of a tracker that runs alone, and how their values become its configuration. */
import { credentialOptions, credentialsOf } from '#auth';
import {
  admissionOptions,
  besideListener,
  ConfigError,
  dataFolder,
  dataFolderHelp,
  defineOptions,
  derived,
  hostPort,
  hostPortOrOff,
  joinOptions,
  listenerOptions,
  logLevel,
  namesOptions,
  optional,
  path,
  repeated,
  serverUrl,
  tlsFiles,
  type Values,
  withDefault,
} from '#config';
import type { TrackerConfig } from './index.ts';

export const trackerOptions = defineOptions({
  origin: repeated(
    serverUrl,
    'URL of an origin whose blobs may be announced; at least one. dns+http://NAME:PORT stands for an origin at each address of the name',
  ),
  ...namesOptions,
  listen: withDefault(hostPort, '127.0.0.1:6969', 'address of the HTTP tracker and /metrics'),
  ...admissionOptions,
  ...joinOptions,
  'udp.listen': derived(
    hostPortOrOff,
    besideListener('listen', 6969),
    'port 6969 on the host of listen',
    'address of the UDP tracker (BEP 15)',
  ),
  data: withDefault(
    path,
    dataFolder('tracker'),
    'folder of its key and membership under --admission token; everything else is in memory only',
    dataFolderHelp('tracker'),
  ),
  'ca.file': optional(path, 'PEM file of authorities to trust for the origins, beside the built-in ones'),
  ...credentialOptions,
  ...listenerOptions,
  'log.level': logLevel,
});

/** @throws ConfigError for combinations that cannot be used */
export function trackerConfig(values: Values<typeof trackerOptions>): TrackerConfig {
  const { listen, origin: origins } = values;
  const tls = tlsFiles(values);
  const udpListen = values['udp.listen'];
  const caFile = values['ca.file'];
  if (origins.length === 0) {
    throw new ConfigError(['origin: the tracker needs an origin: --origin http://127.0.0.1:5000']);
  }
  const joinTokenFile = values['join.token-file'];
  const credentialsFor = credentialsOf(values, origins);
  return {
    listen,
    origins: [...origins],
    resolveMs: values['origins.resolve'],
    ...(tls && { tls }),
    ...(udpListen !== 'off' && { udpListen }),
    ...(caFile !== undefined && { caFile }),
    ...(credentialsFor && { credentialsFor }),
    data: values.data,
    ...(values.admission !== undefined && { admission: values.admission }),
    ...(joinTokenFile !== undefined && { joinTokenFile }),
  };
}
