/**
 * What every program's listeners share: TLS, admission, and addresses that follow the first one.
 * Programs listen on the loopback unless they are told otherwise, and then say so aloud.
 */
import type { HostPort, TlsFiles } from '#http';
import type { Transport } from '#swarm';
import { ConfigError } from './errors.ts';
import { duration, type Kind, oneOf, path } from './kinds.ts';
import { type EarlierText, type Option, optional, repeated, withDefault } from './options.ts';

export type Admission = 'open' | 'token';

/** Options that each program with a listener has. */
export const listenerOptions = {
  'tls.cert': optional(path, 'PEM certificate (chain) for the HTTP listener; needs --tls-key'),
  'tls.key': optional(path, 'PEM private key of the certificate'),
} as const satisfies Record<string, Option>;

/** Who takes part; must stand above the listeners. */
export const admissionOptions = {
  admission: optional(
    oneOf('open', 'token') as Kind<Admission>,
    'who takes part in the swarm: open: everybody; token: members of the cluster; by default open while every listener is on the loopback, else token',
  ),
} as const satisfies Record<string, Option>;

/** Options of a program that joins a cluster. */
export const joinOptions = {
  'join.token-file': optional(
    path,
    "file with a join token ('shoal cluster join-token'), for --admission token; read when a membership is needed",
  ),
} as const satisfies Record<string, Option>;

/** Options of a program that asks origins by their names. */
export const namesOptions = {
  'origins.resolve': withDefault(
    duration,
    '30s',
    'how often the name of a dns+http or dns+https URL is resolved again; sooner, but not within 5s, when one of its addresses cannot be reached',
  ),
} as const satisfies Record<string, Option>;

export const logLevel = withDefault(
  oneOf('silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'),
  'info',
  'least severity of a log line; debug also shows the stack of errors',
);

/**
 * A default beside the listener `key`: its host, and `port`, so that opening the one opens the
 * other. Where the listener takes a free port this one does too.
 */
export function besideListener(key: string, port: number): (earlier: EarlierText) => string | undefined {
  return (earlier) => {
    const listen = earlier(key);
    if (listen === undefined) return undefined;
    const colon = listen.lastIndexOf(':');
    return `${listen.slice(0, colon)}:${listen.slice(colon + 1) === '0' ? 0 : port}`;
  };
}

/** How members of the swarm speak with each other; must stand above the listeners of both. */
export const transportOptions = {
  'swarm.transports': repeated(
    oneOf('libp2p', 'tcp') as Kind<Transport>,
    'how members are reached, the preferred first; what is not listed is not spoken',
    'libp2p,tcp',
  ),
} as const satisfies Record<string, Option>;

/** A default beside the listener `listen` for a transport that is spoken; else `off`. */
export function listenerOf(transport: Transport, port: number): (earlier: EarlierText) => string | undefined {
  const beside = besideListener('listen', port);
  return (earlier) => {
    const spoken = earlier('swarm.transports')?.split(',');
    return spoken === undefined || spoken.includes(transport) ? beside(earlier) : 'off';
  };
}

/**
 * The transports in their order.
 * @throws ConfigError when there is none, one is named twice, or a listener is of another
 */
export function checkTransports(values: {
  readonly 'swarm.transports': readonly Transport[];
  readonly 'peer.listen': HostPort | 'off';
  readonly 'bittorrent.listen': HostPort | 'off';
}): readonly Transport[] {
  const transports = values['swarm.transports'];
  if (transports.length === 0) throw new ConfigError(['swarm.transports: name libp2p, tcp, or both']);
  if (new Set(transports).size < transports.length) {
    throw new ConfigError([`swarm.transports: ${transports.join(', ')} names one twice`]);
  }
  for (const [key, transport] of [
    ['peer.listen', 'libp2p'],
    ['bittorrent.listen', 'tcp'],
  ] as const) {
    if (values[key] === 'off' || transports.includes(transport)) continue;
    throw new ConfigError([
      `${key}: ${transport} is not among swarm.transports (${transports.join(', ')}): add it, or leave the listener out`,
    ]);
  }
  return transports;
}

/**
 * The folder of the service under systemd (StateDirectory=), else one below the working directory.
 * systemd.exec(5): $STATE_DIRECTORY is a colon-separated list of absolute paths.
 */
export function dataFolder(program: string): string {
  const service = process.env['STATE_DIRECTORY']?.split(':')[0];
  return service || `./shoal-data/${program}`;
}

/** How `dataFolder` reads in help. */
export function dataFolderHelp(program: string): string {
  return `./shoal-data/${program}; as a systemd service its StateDirectory, /var/lib/shoal/${program}`;
}

/**
 * The certificate and key, or undefined for plain HTTP.
 * @throws ConfigError when only one of them is given
 */
export function tlsFiles(values: {
  readonly 'tls.cert': string | undefined;
  readonly 'tls.key': string | undefined;
}): TlsFiles | undefined {
  const { 'tls.cert': certFile, 'tls.key': keyFile } = values;
  if (certFile !== undefined && keyFile !== undefined) return { certFile, keyFile };
  if (certFile === undefined && keyFile === undefined) return undefined;
  const missing = certFile === undefined ? 'tls.cert' : 'tls.key';
  throw new ConfigError([`${missing}: TLS needs both --tls-cert and --tls-key`]);
}

/** Who takes part, and the listener that decided it when nobody said. */
export interface DecidedAdmission {
  readonly admission: Admission;
  /** The first listener that other machines can reach. */
  readonly exposed: string | undefined;
}

/** What was said, or else: open while every listener is on the loopback. */
export function decideAdmission(
  given: Admission | undefined,
  listeners: Readonly<Record<string, HostPort | 'off'>>,
): DecidedAdmission {
  const [exposed] = Object.entries(listeners)
    .filter(([, address]) => address !== 'off' && !isLoopback(address.host))
    .map(([key]) => key);
  return { admission: given ?? (exposed === undefined ? 'open' : 'token'), exposed };
}

/** Begins an error about a cluster that is not set up: which option wants one. */
export function wantsCluster({ exposed }: DecidedAdmission, given: Admission | undefined): string {
  return exposed !== undefined && given === undefined
    ? `${exposed}: other machines can reach this listener, so that members must be told from strangers`
    : 'admission: token needs a cluster';
}

/** Plain BitTorrent knows no members: under `token` it is spoken only where its listener was asked for. */
export function spokenUnder(
  admission: Admission,
  transports: readonly Transport[],
  bittorrentListen: HostPort | 'off',
): readonly Transport[] {
  if (admission === 'open' || bittorrentListen !== 'off') return transports;
  return transports.filter((transport) => transport !== 'tcp');
}

/** The default of the plain BitTorrent listener: beside the first one, and `off` where members are told apart. */
export function plainListener(port: number): (earlier: EarlierText) => string | undefined {
  const beside = listenerOf('tcp', port);
  return (earlier) => {
    const exposed = ['listen', 'peer.listen'].some((key) => {
      const text = earlier(key);
      return text !== undefined && text !== 'off' && !isLoopback(text.slice(0, text.lastIndexOf(':')));
    });
    const admission = earlier('admission') ?? (exposed ? 'token' : 'open');
    return admission === 'token' ? 'off' : beside(earlier);
  };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(host);
}
