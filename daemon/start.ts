/** Makes the agent's parts, wires them, and takes them down in the order that loses nothing. */

import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { type CredentialsFor, withCredentials } from '#auth';
import { type BlobStore, openBlobStore } from '#blobs';
import {
  checkStanding,
  createRefusals,
  exposeMembership,
  type Membership,
  membershipForSwarm,
  openMembership,
} from '#cluster';
import { type Admission, decideAdmission, spokenUnder } from '#config';
import { openDatabase } from '#database';
import { createCombinedDiscovery, createOverlayDiscovery, createTrackerDiscovery } from '#discovery';
import { followEndpoints } from '#endpoints';
import { createHashing } from '#hashing';
import { createHttpClient, createHttpServer, formatHostPort, type HostPort, type TlsFiles } from '#http';
import {
  createSwarm,
  DEFAULT_TRANSPORTS,
  type Identity,
  identityFile,
  loadIdentity,
  type OverlayOptions,
  type Seed,
  type Swarm,
  type SwarmRates,
  type Transport,
} from '#swarm';
import { exposeDisk, type Logger, type Metrics } from '#telemetry';
import { type InfoHash, type MetainfoCatalog, openMetainfoCatalog } from '#torrent';
import { openAccounts } from './accounts/index.ts';
import { type BudgetConfig, exposeLimits, openBudget, registerLimits, swarmRates } from './budget/index.ts';
import { registerCache } from './cache-routes.ts';
import { setUpCache } from './cache-setup.ts';
import { contentFile, startSharing } from './content-store.ts';
import { createDownloads } from './downloads.ts';
import { DEFAULT_LIMITS, type FallbackLimits } from './fallback-policy.ts';
import { listHeld } from './held.ts';
import { createLazyReads, DEFAULT_LAZY, type LazyLimits } from './lazy/index.ts';
import { keepToThisMachine } from './local-only.ts';
import { openManifestCache } from './manifest-cache.ts';
import { createMetainfoSource } from './metainfo-source.ts';
import { type AgentMetrics, registerMetrics } from './metrics.ts';
import { registerMirror } from './mirror/routes.ts';
import { createOpenness } from './openness.ts';
import { takeOrders } from './orders/index.ts';
import { createOriginClient } from './origin-client.ts';
import type { OriginOrder } from './origin-order.ts';
import { openPins } from './pins.ts';
import { createPulls, registerPulls } from './pulls.ts';
import { createResolver } from './resolver.ts';
import { createRights, type RightsOptions } from './rights.ts';
import { startScrub } from './scrub.ts';
import { createServes } from './serves.ts';
import { registerStatus } from './status.ts';
import {
  createAnswers,
  createAsks,
  type DiscoveryConfig,
  keepMembers,
  recentlyHeld,
  registerTrackerlessMetrics,
} from './trackerless/index.ts';
import { ABANDONED_AFTER_MS, openUnfinished } from './unfinished.ts';

export interface AgentConfig extends BudgetConfig {
  /** URLs of the origins; `dns+http://NAME:PORT` stands for every address of the name. */
  readonly origins: readonly string[];
  /** How often names of those are resolved again. Default half a minute. */
  readonly resolveMs?: number | undefined;
  /** How several are asked for what a digest names; tags are always asked in the order of the list. Default spread. */
  readonly originOrder?: OriginOrder | undefined;
  /** What the agent logs in with at them; undefined: anonymous. */
  readonly credentialsFor?: CredentialsFor | undefined;
  /** A PEM file of authorities to trust for the origins, beside the built-in ones. */
  readonly caFile?: string | undefined;
  /** The mirror, /metrics and the status API. */
  readonly listen: HostPort;
  readonly tls?: TlsFiles | undefined;
  /** Folder of the cache and its database; made when missing. */
  readonly data: string;
  /** How members are reached, the preferred first; what is not listed is not spoken. Default libp2p, then TCP. */
  readonly transports?: readonly Transport[] | undefined;
  /** Where other members of the swarm reach this agent by libp2p; 'off': by it we only dial. */
  readonly peerListen: HostPort | 'off';
  /** Where other members, and any BitTorrent client, reach it by plain TCP; 'off': by it we only dial. */
  readonly bittorrentListen: HostPort | 'off';
  /** Host that other members dial; by default the one that the tracker sees. */
  readonly advertise?: string | undefined;
  /** What selectors of rollouts name it by. Default: the host name of the machine. */
  readonly nodeName?: string | undefined;
  /** Where this node is, coarse to fine, split by `/`. */
  readonly zone?: string | undefined;
  /** Most that the cache may hold; by default the disk is the limit. */
  readonly cacheSizeBytes?: number | undefined;
  /** The cache gives way while the disk has less than this free. Default 5 % of the disk, at most 1 GiB. */
  readonly cacheFreeBytes?: number | undefined;
  /** How long who needs room waits for blobs that are in use, in milliseconds. Default 20 s. */
  readonly waitForRoomMs?: number | undefined;
  /** Folder of containerd's content store: what is there too is kept on disk once. Default: it is not looked at. */
  readonly contentStore?: string | undefined;
  /** How fast cached blobs are hashed again in the background, on average; by default they are not. */
  readonly scrubRateBytesPerSecond?: number | undefined;
  /** Before each pass of that. Default one minute. */
  readonly scrubRestMs?: number | undefined;
  /** Connections with members of the swarm, over all blobs. */
  readonly maxConnections?: number | undefined;
  /** Who takes part in the swarm; by default everybody while every listener is on the loopback, else members. */
  readonly admission?: Admission | undefined;
  /** A join token, for `token`. */
  readonly joinTokenFile?: string | undefined;
  /** How long a tag is served while no origin answers. Default one hour. */
  readonly staleTagsMs?: number | undefined;
  /** What is read lazily, and how much of it is kept. */
  readonly lazy?: Partial<LazyLimits> | undefined;
  /** Who may pull what is cached; see rights.ts. Default: who may pull it from the origin, asked once a minute. */
  readonly rights?: Partial<RightsOptions> | undefined;
  /** Requests of clients that are answered at once, and blobs that are fetched at once; more are refused with 503. */
  readonly maxRequests?: number | undefined;
  readonly maxDownloads?: number | undefined;
  /** How members are found without a tracker. Default: they are not. */
  readonly discovery?: DiscoveryConfig | undefined;
  /** When clients get status and headers of a blob whose metainfo is other members' word. Default 12 s. */
  readonly headersAfterMs?: number | undefined;
  /** When ranges from the origin step in for the swarm, and when a download is given up. */
  readonly fallback?: Partial<FallbackLimits> | undefined;
}

export interface Agent {
  readonly address: HostPort;
  readonly bittorrentAddress: HostPort | undefined;
  /** The libp2p listener, and who answers there. */
  readonly peerAddress: (HostPort & { readonly peerId: string }) | undefined;
  /** Takes the rates of a configuration that was read again; the rest of it needs a restart. */
  reload(config: BudgetConfig): void;
  /** Stops accepting, finishes what streams (30 s at most), says goodbye to the tracker, keeps verified pieces. */
  close(): Promise<void>;
}

/** A node that starts its pods all at once asks for some hundred layers. */
const MAX_REQUESTS = 1_000;
const MAX_DOWNLOADS = 200;
const MAX_CONNECTIONS = 500;
const STALE_TAGS_MS = 60 * 60 * 1000;
const DEFAULT_RIGHTS: RightsOptions = { mode: 'client', verdictMs: 60_000, staleMs: 60 * 60_000 };
/** Of the 30 s that a drain may take, what is left to the goodbyes. */
const DRAIN_MS = 25_000;
/** An origin that does not accept or does not go on is given up after these. */
const CONNECT_TIMEOUT_MS = 3_000;
const STALL_TIMEOUT_MS = 10_000;
/** The start waits so long for a membership; the mirror serves what it has without one. */
const JOIN_PATIENCE_MS = 5_000;
/** And so long for names to be resolved. */
const NAMES_PATIENCE_MS = 3_000;

/**
 * Starts an agent. Everything that it opened is closed again when a part cannot start.
 * @throws ConfigError for admission by token without a join token and a membership that was kept
 * @throws Error when the data folder is in use by another agent or a port is taken
 */
export async function startAgent(
  config: AgentConfig,
  { log, metrics }: { readonly log: Logger; readonly metrics: Metrics },
): Promise<Agent> {
  const { admission } = decideAdmission(config.admission, {
    listen: config.listen,
    'peer.listen': config.peerListen,
    'bittorrent.listen': config.bittorrentListen,
  });
  if (admission === 'token') await checkStanding({ data: config.data, joinTokenFile: config.joinTokenFile });
  await using parts = new AsyncDisposableStack();

  await mkdir(config.data, { recursive: true });
  const db = await openDatabase(path.join(config.data, 'db'));
  parts.defer(() => db.close());
  const { contentStore } = config;
  const hashing = parts.adopt(createHashing(), (it) => it.close());
  const store = parts.adopt(
    await openBlobStore({
      ...{ root: path.join(config.data, 'blobs'), level: db, hashing, log },
      outside: contentStore === undefined ? undefined : (digest) => contentFile(contentStore, digest),
    }),
    (it) => it.close(),
  );
  const catalog = openMetainfoCatalog(db);
  const transports = spokenUnder(admission, config.transports ?? DEFAULT_TRANSPORTS, config.bittorrentListen);
  // Also where nobody speaks libp2p: origins know this node by it.
  const identity = await loadIdentity(identityFile(config.data));
  const network = await createHttpClient({
    caFile: config.caFile,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    stallTimeoutMs: STALL_TIMEOUT_MS,
  });
  const { data, joinTokenFile } = config;
  const origins = parts.adopt(
    followEndpoints(config.origins, { log: log.child({ part: 'origins' }), refreshMs: config.resolveMs }),
    (it) => it.close(),
  );
  const membership =
    admission === 'open'
      ? undefined
      : parts.adopt(
          await openMembership({ identity, data, origins, joinTokenFile, http: network, role: 'agent', log }),
          (it) => it.close(),
        );
  if (membership !== undefined) exposeMembership(metrics, membership);
  const bare = membership?.http ?? network;
  const http = parts.adopt(
    withCredentials(bare, { credentialsFor: config.credentialsFor ?? (() => undefined) }),
    (it) => it.close(),
  );
  exposeDisk(metrics, data);
  const counters = registerMetrics(metrics, () => store.totals());
  const budget = parts.adopt(await openBudget({ config, data, log }), (it) => it.close());
  exposeLimits(metrics, budget);

  // The swarm comes first: discovery tells its address. What the swarm finds damaged is dropped later.
  let drop = (_infoHash: InfoHash): void => undefined;
  const staleTagsMs = config.staleTagsMs ?? STALE_TAGS_MS;
  const manifests = await openManifestCache(db, { maxTagAgeMs: staleTagsMs });
  const openness = await createOpenness({ origins, http: bare, db, log });
  // Who may see what is here cannot be told of a member: so only what everybody may see is shared.
  const mayTell = (): boolean => openness.openNow();
  const overlay = config.discovery && {
    ...{ dht: config.discovery.dht, mdns: config.discovery.mdns, advertise: config.advertise },
    answer: createAnswers({ store, catalog, manifests, mayTell }),
  };
  const swarm = parts.adopt(
    await joinSwarm({
      ...{
        config,
        identity: transports.includes('libp2p') || membership ? identity : undefined,
        rates: swarmRates(budget.limits),
        membership,
        transports,
        catalog,
        store,
        counters,
        metrics,
        overlay,
        log,
      },
      drop: (infoHash) => drop(infoHash),
    }),
    (it) => it.close(),
  );
  budget.follow((limits) => swarm.limit(swarmRates(limits)));
  const tracker = parts.adopt(
    createTrackerDiscovery({
      trackers: origins,
      client: http,
      peerId: swarm.peerId,
      address: { host: config.advertise, port: swarm.address?.port },
      libp2p: transports.includes('libp2p')
        ? { port: swarm.libp2p?.port, peerId: identity.peerId }
        : undefined,
      zone: config.zone,
      log,
    }),
    (it) => it.close(),
  );
  const members = swarm.overlay;
  const told = { store, catalog, manifests };
  const trackerless =
    members &&
    parts.adopt(
      createOverlayDiscovery({
        overlay: members,
        digestOf: async (infoHash) => (await catalog.byInfoHash(infoHash))?.digest,
        recent: config.discovery?.dht ? (most) => recentlyHeld(told, most) : undefined,
        mayTell,
        log,
      }),
      (it) => it.close(),
    );
  const discovery =
    members && trackerless
      ? createCombinedDiscovery(tracker, trackerless, { onNamed: members.introduce })
      : tracker;
  drop = (infoHash) => discovery.drop([infoHash]);
  if (members) {
    const { bootstrap = [] } = config.discovery ?? {};
    parts.adopt(await keepMembers({ db, overlay: members, bootstrap, log }), (it) => it.close());
  }
  const asks =
    members &&
    createAsks({
      overlay: members,
      metrics: registerTrackerlessMetrics(metrics, () => members.status()),
      log,
    });

  const origin = createOriginClient({
    origins,
    order: config.originOrder,
    http,
    bare,
    ownCredentials: config.credentialsFor !== undefined,
    lender: (repository) => rights.lender(repository),
    onRefused: openness.doubt,
    log,
  });
  const settings = { ...DEFAULT_RIGHTS, ...config.rights };
  const rights = createRights({ settings, openness, origin, metrics: counters, log });
  const unfinished = openUnfinished({ db, store, catalog, log });
  const held = parts.adopt(await listHeld({ catalog, unfinished, discovery: tracker, log }), (it) =>
    it.close(),
  );
  const ready = Promise.all([held.listed, store.counted]);
  const pins = await openPins(db);
  const cache = parts.adopt(
    await setUpCache({
      ...{ config, origins, store, catalog, swarm, discovery, unfinished, pins, ready },
      ...{ http, counters, metrics, log },
      onIdle: (digest) => sharing?.used(digest),
    }),
    (it) => it.close(),
  );
  const sharing =
    contentStore === undefined
      ? undefined
      : parts.adopt(startSharing({ store, cache, pins, ready, onShared: counters.shared, log }), (it) =>
          it.close(),
        );
  const accounts = parts.adopt(await openAccounts({ db, log }), (it) => it.close());
  const pulls = createPulls();
  const metainfos = createMetainfoSource({ origin, catalog, store, log });
  const serves = createServes();
  const downloads = parts.adopt(
    createDownloads({
      store,
      catalog,
      swarm,
      discovery,
      origin,
      cache,
      metrics: counters,
      accounts,
      limits: { ...DEFAULT_LIMITS, ...config.fallback },
      mostDownloads: config.maxDownloads ?? MAX_DOWNLOADS,
      log,
      metainfos,
      unfinished,
      pulls,
      members: asks,
      headersAfterMs: config.headersAfterMs,
      onCached(digest) {
        lazy.forget(digest);
        sharing?.used(digest);
      },
    }),
    (it) => it.close(),
  );
  const lazy = parts.adopt(
    createLazyReads({
      origin,
      metrics: counters,
      accounts,
      limits: { ...DEFAULT_LAZY, ...config.lazy },
      sizeHint: metainfos.sizeHint,
      fetchWhole: (repository, digest) => downloads.open(repository, digest, {}),
      log,
    }),
    (it) => it.close(),
  );
  const resolver = createResolver({
    origin,
    cache: manifests,
    staleTagsMs,
    members: asks,
    onImage: downloads.expect,
    onAsked: accounts.asked,
    onManifest: (digest) => trackerless?.holdManifest(digest),
    rights,
    log,
  });
  await unfinished.dropAbandoned(ABANDONED_AFTER_MS);
  cache.trim();
  if (config.scrubRateBytesPerSecond !== undefined) {
    const bytesPerSecond = config.scrubRateBytesPerSecond;
    const scrub = startScrub({ bytesPerSecond, store, catalog, cache, log, restMs: config.scrubRestMs });
    parts.defer(() => scrub.close());
  }

  const server = parts.adopt(
    await createHttpServer({
      ...{ listen: config.listen, tls: config.tls, log, metrics },
      notReady: () => membership?.problem() ?? origins.problem(),
    }),
    (it) => it.close(DRAIN_MS),
  );
  if (membership !== undefined) keepToThisMachine(server.app);
  registerMirror(server.app, {
    store,
    cache,
    downloads,
    lazy,
    resolver,
    origin,
    rights,
    serves,
    metrics: counters,
    accounts,
    mostRequests: config.maxRequests ?? MAX_REQUESTS,
  });
  registerStatus(server.app, {
    ...{ config, store, swarm, origin, downloads, openness, settings, membership },
  });
  registerCache(server.app, { store, cache, pins, config });
  registerPulls(server.app, pulls, serves);
  registerLimits(server.app, { budget, maxConnections: config.maxConnections ?? MAX_CONNECTIONS });
  await origins.resolved(AbortSignal.timeout(NAMES_PATIENCE_MS));
  // A stranger would be told nothing.
  await membership?.joined(AbortSignal.timeout(JOIN_PATIENCE_MS));
  // What the first client would wait for otherwise.
  void openness.open();
  const address = await server.start();
  accounts.tell({ origins, node: identity.peerId, http });
  parts.adopt(
    takeOrders({
      ...{ origins, http, zone: config.zone, node: identity.peerId, name: config.nodeName ?? hostname() },
      parts: { store, cache, cacheSizeBytes: config.cacheSizeBytes, downloads, resolver, pulls },
      budget,
      log: log.child({ part: 'orders' }),
    }),
    (it) => it.close(),
  );
  log.info({ mirror: formatHostPort(address) }, 'agent is up');

  const running = parts.move();
  let closing: Promise<void> | undefined;
  return {
    address,
    bittorrentAddress: swarm.address,
    peerAddress: swarm.libp2p,
    reload: budget.configure,
    close: () => {
      closing ??= running.disposeAsync();
      return closing;
    },
  };
}

function joinSwarm(options: {
  readonly config: AgentConfig;
  readonly rates: SwarmRates;
  readonly identity: Identity | undefined;
  readonly membership: Membership | undefined;
  readonly transports: readonly Transport[];
  readonly catalog: MetainfoCatalog;
  readonly store: BlobStore;
  readonly counters: AgentMetrics;
  readonly overlay: OverlayOptions | undefined;
  readonly metrics: Metrics;
  /** The blob is not ours to seed any more. */
  readonly drop: (infoHash: InfoHash) => void;
  readonly log: Logger;
}): Promise<Swarm> {
  const { config, identity, membership, transports, catalog, store, counters, metrics, overlay, drop, log } =
    options;
  const refused = membership && createRefusals(metrics, log);

  /** Opening a blob compares its file with what was stored, and sets a changed one aside. */
  async function openSeed(infoHash: InfoHash): Promise<Seed | undefined> {
    const metainfo = await catalog.byInfoHash(infoHash);
    if (!metainfo) return undefined;
    const reader = await store.open(metainfo.digest);
    if (reader) return { metainfo, store: reader };
    drop(infoHash);
    return undefined;
  }

  return createSwarm({
    listen: config.bittorrentListen === 'off' ? undefined : config.bittorrentListen,
    transports,
    ...(identity !== undefined && { identity }),
    ...(config.peerListen !== 'off' && { peerListen: config.peerListen }),
    ...(overlay !== undefined && { overlay }),
    membership:
      membership &&
      membershipForSwarm(membership.cluster, membership.credential, (reason, peerId) =>
        refused?.('swarm', reason, peerId),
      ),
    lookup: openSeed,
    ...(config.zone !== undefined && { zone: config.zone }),
    log: log.child({ part: 'swarm' }),
    observer: {
      ...counters.swarm,
      pieceRejected(infoHash, peer) {
        counters.pieceRejected();
        log.warn({ infoHash, peer }, 'a piece failed its hash');
      },
      seedUnreadable(infoHash, error) {
        log.error({ infoHash, err: error }, 'a cached blob cannot be read');
        drop(infoHash);
        openSeed(infoHash)
          .then((seed) => seed?.store.close())
          .catch((failure: unknown) => log.error({ infoHash, err: failure }, 'blob not checked again'));
      },
    },
    ...options.rates,
    maxConnections: config.maxConnections ?? MAX_CONNECTIONS,
  });
}
