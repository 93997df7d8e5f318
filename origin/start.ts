/** Wires the origin's parts together, and takes them down in the order that loses nothing. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { openBlobStore, openS3BlobStore, type S3Options } from '#blobs';
import { type Admission, decideAdmission, spokenUnder, wantsCluster } from '#config';
import { openDatabase } from '#database';
import { createHashing } from '#hashing';
import { createHttpServer, type HostPort, type TlsFiles } from '#http';
import { parseImageReference, parseRepositoryName } from '#oci';
import { DEFAULT_TRANSPORTS, identityFile, loadIdentity, type Transport } from '#swarm';
import { exposeDisk, type Logger, type Metrics } from '#telemetry';
import { openMetainfoCatalog } from '#torrent';
import { createTracker } from '#tracker';
import { type AccessConfig, openAccess } from './access/index.ts';
import { openLedger, registerAccounts, tagsOf } from './accounts/index.ts';
import { createAddresses } from './addresses.ts';
import { heldNow, registerApi } from './api.ts';
import { demandKey, openCluster } from './cluster/index.ts';
import { type CollectionConfig, createCollector, DEFAULT_COLLECTION } from './collection/index.ts';
import { createDrafts, type Drafts } from './drafts.ts';
import { createExclusive } from './exclusive.ts';
import { openLeafLists } from './leaf-lists.ts';
import { createLevelMetadataStore } from './metadata/level.ts';
import { upgradeMetadata } from './metadata/upgrade.ts';
import { registerPages } from './pages/index.ts';
import { createPayload } from './payload.ts';
import { standsFor } from './registry/lookup.ts';
import { locate, requirements, requirementsOf } from './registry/manifests.ts';
import { createRecentBytes } from './registry/recent-bytes.ts';
import { registerRegistry } from './registry/routes.ts';
import { createUploadSessions } from './registry/upload-sessions.ts';
import {
  createRollouts,
  createTriggers,
  registerPreheat,
  registerRollouts,
  type TriggerConfig,
} from './rollouts/index.ts';
import { createScrubber } from './scrub/index.ts';
import { startSeeding } from './seeding.ts';
import { createSpaceGuard } from './space.ts';
import { identifySwarm } from './swarm-blob.ts';
import { createTorrents } from './torrents.ts';
import { checkExposure, createUpstreams, type UpstreamConfig } from './upstream/index.ts';

const MEMBERSHIP_MS = 3_600_000;
const KEEP_ACCOUNTS_MS = 400 * 24 * 3_600_000;
/** Some thousand manifests. */
const RECENT_MANIFEST_BYTES = 16 * 1024 * 1024;

export interface OriginConfig {
  /** Registry, tracker, management and metrics. Port 0 takes a free port. */
  readonly listen: HostPort;
  readonly tls?: TlsFiles;
  /** Folder of the blobs and the database; made when it is missing. */
  readonly data: string;
  /** The bucket that blobs are kept in; undefined: files below `data`. Metadata is below `data` always. */
  readonly storage?: S3Options | undefined;
  /** How members are reached, the preferred first; what is not listed is not spoken. Default libp2p, then TCP. */
  readonly transports?: readonly Transport[] | undefined;
  /** libp2p, for the swarm. */
  readonly peerListen: HostPort | 'off';
  /** Plain BitTorrent TCP, for the swarm and for any BitTorrent client. */
  readonly bittorrentListen: HostPort | 'off';
  /** The tracker's UDP side (BEP 15); none by default. */
  readonly udpListen?: HostPort;
  /** The host that members dial for the BitTorrent and UDP listeners; by default the listener's. */
  readonly advertise?: string;
  /** URL of this origin as its clients see it; by default what each request's Host header says. */
  readonly publicUrl?: string;
  /** Trackers that run alone and are named in metainfo: http://HOST:PORT or udp://HOST:PORT. None by default. */
  readonly trackers?: readonly string[];
  readonly uploadRateBytesPerSecond?: number;
  /** Who may do what; undefined: everybody everything. */
  readonly access?: AccessConfig | undefined;
  /** Registries whose images are fetched when they are asked for; none by default. */
  readonly upstreams?: readonly UpstreamConfig[] | undefined;
  /** What begins prefetches beside commands; by default nothing. */
  readonly triggers?: TriggerConfig;
  /** How long the sums of agents' accounts are kept. Default 400 days. */
  readonly keepAccountsMs?: number;
  /** Garbage collection; what is left out is as without options: on, no policies. */
  readonly collection?: Partial<CollectionConfig>;
  /** Who takes part in the swarm; by default everybody while every listener is on the loopback, else members. */
  readonly admission?: Admission;
  /** The cluster's key; by default cluster.key in `data`. */
  readonly clusterKeyFile?: string;
  /** How long a membership counts. Default one hour. */
  readonly membershipLifetimeMs?: number;
}

export interface Origin {
  readonly address: HostPort;
  readonly bittorrentAddress?: HostPort;
  /** The libp2p listener, and who answers there. */
  readonly peerAddress?: HostPort & { readonly peerId: string };
  readonly udpAddress?: HostPort;
  /**
   * Applies the access of this configuration, and reads its files anew; the rest needs a restart.
   * @throws ConfigError, and all stays as it was
   */
  reload(config: Pick<OriginConfig, 'access'>): Promise<void>;
  /** Stops accepting, finishes what streams for up to 30 s, and closes everything. */
  close(): Promise<void>;
}

/**
 * Starts an origin. Everything that it opened is closed again when a part cannot start.
 * @throws ConfigError for a listener beyond the loopback without admission `open` or a cluster's key, and for an upstream
 *   whose credentials would serve everybody
 */
export async function startOrigin(
  config: OriginConfig,
  { log, metrics }: { readonly log: Logger; readonly metrics: Metrics },
): Promise<Origin> {
  const decided = decideAdmission(config.admission, {
    ...(config.access === undefined && { listen: config.listen, 'udp.listen': config.udpListen ?? 'off' }),
    'peer.listen': config.peerListen,
    'bittorrent.listen': config.bittorrentListen,
  });
  const key =
    decided.admission === 'open'
      ? undefined
      : await demandKey(config.data, config.clusterKeyFile, wantsCluster(decided, config.admission));
  const upstreamConfigs = config.upstreams ?? [];
  checkExposure(upstreamConfigs, config.access);
  const startedAt = Date.now();
  await using parts = new AsyncDisposableStack();

  await mkdir(config.data, { recursive: true });
  const db = await openDatabase(path.join(config.data, 'db'));
  parts.defer(() => db.close());
  const hashing = parts.adopt(createHashing({ threads: 2 }), (it) => it.close());
  const root = path.join(config.data, 'blobs');
  const { storage } = config;
  const blobs = parts.adopt(
    storage
      ? await openS3BlobStore({
          ...{ uploads: path.join(root, 'uploads'), s3: storage, level: db, hashing, log },
        })
      : await openBlobStore({ root, level: db, hashing, log }),
    (it) => it.close(),
  );
  const collection = { ...DEFAULT_COLLECTION, ...config.collection };
  await upgradeMetadata(db, requirementsOf);
  const metadata = parts.adopt(createLevelMetadataStore(db, collection), (it) => it.close());
  const perDigest = createExclusive();
  const catalog = openMetainfoCatalog(db);
  const drafts: Drafts = parts.adopt(
    createDrafts({
      ...{ blobs, hashing, log },
      keyOf: (digest) => access.draftKey(digest),
      onChange: (infoHash) => tracker.forget(infoHash),
      release: async (infoHash) => swarm?.release(infoHash),
      isBusy: (infoHash) => swarm?.peers().some((peer) => peer.infoHash === infoHash) === true,
    }),
    (it) => it.close(),
  );
  const torrents = parts.adopt(
    createTorrents({
      drafts,
      catalog,
      notes: metadata.collection,
      ...{ blobs, hashing, perDigest },
      onChange: (infoHash) => tracker.forget(infoHash),
      log,
    }),
    (it) => it.close(),
  );
  const leaves = parts.adopt(openLeafLists({ level: db, blobs, perDigest }), (it) => it.close());
  exposeDisk(metrics, config.data);
  const payload = createPayload(metrics);
  const space = createSpaceGuard(config.data);
  const upstreams = parts.adopt(
    await createUpstreams(upstreamConfigs, {
      ...{ metadata, blobs, torrents, perDigest, space, metrics, log },
      requirementsOf: requirements,
      onPayload: (bytes) => payload.count('in', 'http', bytes),
    }),
    (it) => it.close(),
  );
  const uploads = parts.adopt(createUploadSessions({ blobs, metadata, log }), (it) => it.close());
  const cluster =
    key &&
    parts.adopt(
      await openCluster({
        ...{ key, db, log, metrics },
        lifetimeMs: config.membershipLifetimeMs ?? MEMBERSHIP_MS,
        hasAccess: config.access !== undefined,
      }),
      (it) => it.close(),
    );
  const users = parts.adopt(
    await openAccess(config.access, {
      data: config.data,
      baseFor: (request) => addresses.baseFor(request),
      aliases: repositoriesOf,
      joins: async ({ raw }) => (await cluster?.guard.identify(raw)) !== undefined,
      log,
      metrics,
    }),
    (it) => it.close(),
  );
  const access = cluster?.inFrontOf(users) ?? users;

  const { bittorrentListen } = config;
  const transports = spokenUnder(
    decided.admission,
    config.transports ?? DEFAULT_TRANSPORTS,
    bittorrentListen,
  );
  const listen = bittorrentListen === 'off' ? undefined : bittorrentListen;
  const libp2p =
    config.peerListen === 'off' || !transports.includes('libp2p')
      ? undefined
      : { identity: await loadIdentity(identityFile(config.data)), listen: config.peerListen };
  const swarm =
    listen === undefined && libp2p === undefined
      ? undefined
      : parts.adopt(
          await startSeeding({
            ...{ listen, libp2p, transports, torrents, drafts, blobs, metrics, log },
            membership: libp2p && (await cluster?.asMember(libp2p.identity.peerId)),
            uploadRateBytesPerSecond: config.uploadRateBytesPerSecond,
            countPayload: (direction, bytes) => payload.count(direction, 'swarm', bytes),
          }),
          (it) => it.close(),
        );

  const collector = parts.adopt(
    createCollector(collection, { metadata, blobs, torrents, leaves, swarm, perDigest, metrics, log }),
    (it) => it.close(),
  );

  const identify = (text: string) => identifySwarm(text, torrents, drafts);
  const tracker = parts.adopt(
    createTracker({
      mayAnnounce: access.mayAnnounce,
      guard: cluster?.guard,
      admit: async (infoHash) =>
        (drafts.identify(infoHash) ?? (await torrents.identify(infoHash))) && {
          seeds: addresses.peers.map((peer) => ({ ...peer, role: 'origin' as const })),
        },
      identify,
      metrics,
      log,
    }),
    (it) => it.close(),
  );
  const folder = path.join(config.data, 'repair');
  const scrubber = parts.adopt(
    createScrubber({ folder, blobs, metadata, catalog, perDigest, swarm, tracker, metrics, log }),
    (it) => it.close(),
  );
  const rollouts = parts.adopt(
    await createRollouts({
      ...{ db, log, metrics },
      resolve: async (image) => {
        const { namespace, repository, reference } = parseImageReference(image);
        const query = new URLSearchParams(namespace === undefined ? {} : { ns: namespace });
        const place = await locate({ metadata, upstreams }, standsFor(repository, query), reference);
        return place && { repository: place.name, digest: place.found.record.digest };
      },
    }),
    (it) => it.close(),
  );
  const repositoryOf = async (name: string): Promise<string | undefined> => {
    for (const each of repositoriesOf(name)) {
      if (await metadata.hasRepository(parseRepositoryName(each))) return each;
    }
    return undefined;
  };
  const ledger = parts.adopt(
    await openLedger({
      ...{ db, repositoryOf, log },
      keepMs: config.keepAccountsMs ?? KEEP_ACCOUNTS_MS,
      sentNow: payload.sent,
    }),
    (it) => it.close(),
  );
  const udpAddress = config.udpListen && (await tracker.listenUdp(config.udpListen));
  let address = config.listen;
  const addresses = createAddresses({
    publicUrl: config.publicUrl,
    advertise: config.advertise,
    secure: config.tls !== undefined,
    registry: () => address,
    bittorrent: swarm?.address,
    libp2p: swarm?.libp2p,
    udp: udpAddress,
    trackers: config.trackers ?? [],
  });

  const http = parts.adopt(
    await createHttpServer({ listen: config.listen, tls: config.tls, log, metrics }),
    (it) => it.close(),
  );
  // A draft's stream is as long as its fetch: nobody waits for its end.
  http.app.addHook('preClose', async () => drafts.cut());
  cluster?.register(http.app);
  access.register(http.app);
  tracker.register(http.app);
  registerRollouts(http.app, rollouts, { guard: cluster?.guard, holdings: tracker.holdings });
  registerAccounts(http.app, ledger, {
    ...{ guard: cluster?.guard, repositoryOf },
    tagsOf: (repository) => tagsOf(metadata, repository),
  });
  const { pushRules = [], preheatDrivers = [], preheatNodes = '*' } = config.triggers ?? {};
  const triggers = createTriggers({ rollouts, rules: pushRules, log });
  registerPreheat(http.app, { drivers: preheatDrivers, selector: preheatNodes, rollouts, triggers });
  registerApi(http.app, {
    blobs,
    torrents,
    drafts,
    swarm,
    tracker,
    mayAnnounce: access.mayAnnounce,
    collector,
    scrubber,
    upstreams,
    startedAt,
    publicUrl: config.publicUrl,
    hasCluster: cluster !== undefined,
    peers: addresses.peers,
    listeners: () => ({
      registry: address,
      bittorrent: swarm?.address,
      libp2p: swarm?.libp2p,
      udpTracker: udpAddress,
    }),
    payload: payload.totals,
  });
  const held = { blobs, torrents, payload: payload.totals, upstreams, tracker };
  registerPages(http.app, {
    ...{ rollouts, tracker, metadata, identify, publicUrl: config.publicUrl },
    status: () => ({ startedAt: new Date(startedAt).toISOString(), ...heldNow(held) }),
  });
  registerRegistry(http.app, {
    metadata,
    blobs,
    uploads,
    torrents,
    leaves,
    recentManifests: createRecentBytes(RECENT_MANIFEST_BYTES),
    perDigest,
    access,
    space,
    upstreams,
    drafts,
    countPayload: (direction, bytes) => payload.count(direction, 'http', bytes),
    sourcesFor: addresses.sourcesFor,
    discard: collector.discard,
    pushed: triggers.pushed,
  });
  address = await http.start();
  torrents.resume();
  collector.start();
  log.info(
    {
      ...{ listen: address, bittorrent: swarm?.address, libp2p: swarm?.libp2p, udp: udpAddress },
      data: config.data,
      cluster: cluster?.id,
    },
    'origin is up',
  );

  const running = parts.move();
  let closing: Promise<void> | undefined;
  return {
    address,
    ...(swarm?.address && { bittorrentAddress: swarm.address }),
    ...(swarm?.libp2p && { peerAddress: swarm.libp2p }),
    ...(udpAddress && { udpAddress }),
    async reload(next) {
      checkExposure(upstreamConfigs, next.access);
      await access.reload(next.access);
    },
    close: () => {
      closing ??= running.disposeAsync();
      return closing;
    },
  };
}

/** The repositories that a pull of this name may be answered from; none when it is no name. */
function repositoriesOf(name: string): readonly string[] {
  try {
    return standsFor(parseRepositoryName(name), new URLSearchParams());
  } catch {
    return [];
  }
}
