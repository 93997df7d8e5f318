/** The tracker as a program of its own, for blobs that origins elsewhere hold. */
import { type CredentialsFor, withCredentials } from '#auth';
import { checkAdmission } from '#config';
import { createHttpClient, createHttpServer, formatHostPort, type HostPort, type TlsFiles } from '#http';
import { OciError } from '#oci';
import type { Logger, Metrics } from '#telemetry';
import { admitByOrigins, mayAnnounceByOrigins } from './origin-admission.ts';
import { createTracker } from './tracker.ts';

export interface TrackerConfig {
  /** HTTP announces, inventories and /metrics. Port 0 takes a free port. */
  readonly listen: HostPort;
  readonly tls?: TlsFiles;
  /** UDP announces (BEP 15); none by default. */
  readonly udpListen?: HostPort;
  /** URLs of the origins whose blobs may be announced, asked in this order. */
  readonly origins: readonly string[];
  /** A PEM file of authorities to trust for the origins, beside the built-in ones. */
  readonly caFile?: string;
  /** Log-ins at origins with access control, as a user who has the right `join`; none by default. */
  readonly credentialsFor?: CredentialsFor;
  /** `open` lets listeners leave the loopback without admission control. */
  readonly admission?: 'open';
}

export interface RunningTracker {
  readonly address: HostPort;
  readonly udpAddress?: HostPort;
  close(): Promise<void>;
}

/** @throws ConfigError for a listener that other machines can reach without `admission: 'open'` */
export async function startTracker(
  config: TrackerConfig,
  telemetry: { readonly log: Logger; readonly metrics: Metrics },
): Promise<RunningTracker> {
  const { log, metrics } = telemetry;
  const { listen, origins } = config;
  checkAdmission(config.admission, { listen, 'udp.listen': config.udpListen ?? 'off' });
  const startedAt = Date.now();
  await using parts = new AsyncDisposableStack();
  const client = parts.adopt(
    withCredentials(await createHttpClient({ caFile: config.caFile, connectTimeoutMs: 1_500 }), {
      credentialsFor: config.credentialsFor ?? (() => undefined),
    }),
    (it) => it.close(),
  );
  const tracker = parts.adopt(
    createTracker({
      admit: admitByOrigins(origins, client),
      mayAnnounce: mayAnnounceByOrigins(origins, client, Date.now),
      log,
      metrics,
    }),
    (it) => it.close(),
  );
  const udpAddress = config.udpListen && (await tracker.listenUdp(config.udpListen));
  const http = parts.adopt(await createHttpServer({ listen, tls: config.tls, log, metrics }), (it) =>
    it.close(),
  );
  tracker.register(http.app);
  // An agent whose second `--origin` is this tracker learns that nothing here needs a right.
  http.app.get('/v2/', async (_request, reply) => {
    reply.header('shoal-access', 'open');
    throw new OciError('UNSUPPORTED', 'this is a tracker, not a registry', undefined, { status: 404 });
  });
  http.app.get('/api/v1/status', async () => ({
    program: 'tracker',
    startedAt: new Date(startedAt).toISOString(),
    uptimeSeconds: Math.round((Date.now() - startedAt) / 1000),
    listen: formatHostPort(address),
    udpListen: udpAddress ? formatHostPort(udpAddress) : null,
    origins,
    ...tracker.stats(),
  }));
  const address = await http.start();
  log.info({ listen: address, udp: udpAddress, origins }, 'tracker is up');
  const running = parts.move();
  let closing: Promise<void> | undefined;
  return {
    address,
    ...(udpAddress && { udpAddress }),
    close: () => {
      closing ??= running.disposeAsync();
      return closing;
    },
  };
}
