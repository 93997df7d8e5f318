/** The tracker as a program of its own, for blobs that origins elsewhere hold. */
import { type CredentialsFor, withCredentials } from '#auth';
import {
  checkStanding,
  createGuard,
  createRefusals,
  exposeMembership,
  type Guard,
  type Membership,
  openMembership,
  registerRevocations,
} from '#cluster';
import { type Admission, decideAdmission } from '#config';
import { followEndpoints } from '#endpoints';
import {
  createHttpClient,
  createHttpServer,
  formatHostPort,
  type HostPort,
  isFromHere,
  ProblemError,
  type TlsFiles,
} from '#http';
import { OciError } from '#oci';
import { identityFile, loadIdentity } from '#swarm';
import type { Logger, Metrics } from '#telemetry';
import { admitByOrigins, mayAnnounceByOrigins } from './origin-admission.ts';
import { createTracker } from './tracker.ts';

export interface TrackerConfig {
  /** HTTP announces, inventories and /metrics. Port 0 takes a free port. */
  readonly listen: HostPort;
  readonly tls?: TlsFiles;
  /** UDP announces (BEP 15); none by default. */
  readonly udpListen?: HostPort;
  /** URLs of the origins whose blobs may be announced, asked in this order; `dns+http://NAME:PORT`: every address of the name. */
  readonly origins: readonly string[];
  /** How often names of those are resolved again. Default half a minute. */
  readonly resolveMs?: number | undefined;
  /** A PEM file of authorities to trust for the origins, beside the built-in ones. */
  readonly caFile?: string;
  /** Log-ins at origins with access control, as a user who has the right `join`; none by default. */
  readonly credentialsFor?: CredentialsFor;
  /** Whose inventories are taken; by default everybody's while every listener is on the loopback, else members'. */
  readonly admission?: Admission;
  /** A join token, for `token`. */
  readonly joinTokenFile?: string;
  /** Folder of the key and the membership, for `token`. */
  readonly data?: string;
}

export interface RunningTracker {
  readonly address: HostPort;
  readonly udpAddress?: HostPort;
  close(): Promise<void>;
}

/** How often the origins are asked what was revoked. */
const REVOCATIONS_MS = 10_000;

/** @throws ConfigError for admission by token without a join token and a membership that was kept */
export async function startTracker(
  config: TrackerConfig,
  telemetry: { readonly log: Logger; readonly metrics: Metrics },
): Promise<RunningTracker> {
  const { log, metrics } = telemetry;
  const { listen } = config;
  const { admission } = decideAdmission(config.admission, {
    listen,
    'udp.listen': config.udpListen ?? 'off',
  });
  const startedAt = Date.now();
  const data = config.data ?? '.';
  if (admission === 'token') await checkStanding({ data, joinTokenFile: config.joinTokenFile });
  await using parts = new AsyncDisposableStack();
  const origins = parts.adopt(followEndpoints(config.origins, { log, refreshMs: config.resolveMs }), (it) =>
    it.close(),
  );
  const bare = await createHttpClient({ caFile: config.caFile, connectTimeoutMs: 1_500 });
  parts.defer(() => bare.close());
  const membership =
    admission === 'open'
      ? undefined
      : parts.adopt(
          await openMembership({
            ...{ data, origins, log, http: bare, role: 'tracker', joinTokenFile: config.joinTokenFile },
            identity: await loadIdentity(identityFile(data)),
            pollMs: REVOCATIONS_MS,
          }),
          (it) => it.close(),
        );
  const guard = membership && guardOf(membership, telemetry);
  const client = withCredentials(membership?.http ?? bare, {
    credentialsFor: config.credentialsFor ?? (() => undefined),
  });
  const tracker = parts.adopt(
    createTracker({
      admit: admitByOrigins(origins, client),
      mayAnnounce: mayAnnounceByOrigins(origins, client, Date.now),
      guard,
      log,
      metrics,
    }),
    (it) => it.close(),
  );
  const udpAddress = config.udpListen && (await tracker.listenUdp(config.udpListen));
  const http = parts.adopt(
    await createHttpServer({
      ...{ listen, tls: config.tls, log, metrics },
      notReady: () => membership?.problem() ?? origins.problem(),
    }),
    (it) => it.close(),
  );
  if (guard !== undefined) {
    registerRevocations(http.app, guard);
    http.app.addHook('onRequest', async ({ raw, routeOptions }) => {
      const route = routeOptions.url ?? '';
      if (!route.startsWith('/api/v1/') || route.startsWith('/api/v1/cluster/')) return;
      if (/^\/api\/v1\/(?:agents|torrents)\/:/.test(route)) await guard.demand(raw);
      else if (!isFromHere(raw))
        throw new ProblemError(403, 'Forbidden', 'this is told to its own machine alone');
    });
  }
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
    origins: origins.current().map(({ name }) => name),
    ...tracker.stats(),
  }));
  const address = await http.start();
  log.info({ listen: address, udp: udpAddress, origins: config.origins }, 'tracker is up');
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

function guardOf(
  membership: Membership,
  { log, metrics }: { readonly log: Logger; readonly metrics: Metrics },
): Guard {
  const refused = createRefusals(metrics, log);
  exposeMembership(metrics, membership);
  return createGuard(membership.cluster, {
    now: Date.now,
    onRefused: (reason) => refused('http', reason),
  });
}
