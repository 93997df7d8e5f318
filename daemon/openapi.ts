/** The agent's own API as an OpenAPI 3.1 document. The registry API under /v2 is OCI's. */
import { PULL_PHASES, PULL_SOURCES } from './pull-account.ts';
import { SERVE_PHASES } from './serves.ts';

const integer = { type: 'integer' } as const;
const text = { type: 'string' } as const;
const optionalText = { type: ['string', 'null'] } as const;

function object(properties: Readonly<Record<string, unknown>>): unknown {
  return { type: 'object', properties, required: Object.keys(properties) };
}

const status = object({
  program: { const: 'agent' },
  version: text,
  startedAt: { type: 'string', format: 'date-time' },
  zone: optionalText,
  origins: {
    type: 'array',
    items: object({
      url: text,
      address: {
        type: ['string', 'null'],
        description: 'which of the addresses of its name (dns+http://…); null: the name is one origin',
      },
      reachable: { type: ['boolean', 'null'], description: 'null: not asked yet' },
      open: { type: ['boolean', 'null'], description: 'whether everybody may pull from it; null: not known' },
    }),
  },
  cluster: {
    description: 'null: everybody takes part in the swarm (--admission open)',
    anyOf: [
      { type: 'null' },
      object({
        id: text,
        memberUntil: { type: ['string', 'null'], format: 'date-time' },
        problem: { type: ['string', 'null'], description: 'why the agent is no member now' },
      }),
    ],
  },
  rights: object({
    mode: { enum: ['client', 'agent'], description: 'whose right to pull counts: see rights.mode' },
  }),
  cache: object({ blobs: integer, bytes: integer, limitBytes: { type: ['integer', 'null'] } }),
  downloads: {
    type: 'array',
    items: object({
      digest: text,
      size: integer,
      state: { enum: ['fetching', 'verifying', 'complete', 'failed'] },
      verifiedBytes: integer,
      connectedPeers: integer,
      bytesPerSecond: { type: 'number' },
      clients: integer,
    }),
  },
  swarm: object({
    peerId: { type: 'string', description: '20 bytes in hex' },
    listen: optionalText,
    peerListen: { type: ['string', 'null'], description: 'the libp2p listener, as a multiaddr' },
    openBlobs: integer,
    peers: {
      type: 'array',
      items: object({
        infoHash: text,
        address: text,
        transport: { enum: ['tcp', 'libp2p'] },
        role: { enum: ['origin', 'agent'] },
        bytesIn: integer,
        bytesOut: integer,
        interested: { type: 'boolean', description: 'it wants pieces that are here' },
      }),
    },
  }),
  discovery: {
    ...(object({ members: integer, met: integer, table: integer, records: integer }) as object),
    type: ['object', 'null'],
    description:
      'without a tracker: members that are known, those that were met, those in the table of the DHT, provider records kept',
  },
});

function get(summary: string, content: unknown): unknown {
  return { get: { summary, responses: { 200: { description: 'OK', content } } } };
}

const counts = (names: readonly string[]): unknown =>
  object(Object.fromEntries(names.map((name) => [name, integer])));
const pulls = object({
  pulls: {
    type: 'array',
    description: 'the newest first, 256 at most; /api/v1/pulls/{digest} answers those of one blob alike',
    items: object({
      digest: text,
      repository: text,
      startedAt: text,
      state: { enum: ['running', 'complete', 'failed'] },
      error: optionalText,
      size: { type: ['integer', 'null'] },
      wallMs: integer,
      phasesMs: counts(PULL_PHASES),
      bytesBySource: counts(PULL_SOURCES),
      transferMsBySource: counts(PULL_SOURCES),
      writingMs: {
        type: 'integer',
        description:
          'in which a piece was being written to the disk, beside the transfer; part of no phase of its own',
      },
      topPeers: {
        type: 'array',
        description: 'who sent most, of the members that were connected at the end; five at most',
        items: object({ address: text, role: { enum: ['origin', 'agent'] }, bytes: integer }),
      },
      slowest: text,
    }),
  },
  serves: {
    type: 'array',
    description: 'answers with bytes of a blob, cache hits too; the newest first, 256 at most',
    items: object({
      digest: text,
      repository: text,
      startedAt: text,
      from: { enum: ['cache', 'fetch'] },
      bytes: integer,
      wallMs: integer,
      phasesMs: counts(SERVE_PHASES),
      slowest: text,
    }),
  },
  lazyReads: {
    type: 'array',
    description: 'blobs of which small ranges were read lazily; what was read last first, 256 at most',
    items: object({
      digest: text,
      repository: text,
      startedAt: text,
      lastAt: text,
      reads: integer,
      fromMemory: integer,
      bytes: integer,
      wallMs: integer,
      longestMs: integer,
    }),
  },
  manifests: {
    type: 'array',
    description: 'manifests that were answered; the newest first, 256 at most',
    items: object({
      repository: text,
      reference: text,
      digest: text,
      startedAt: text,
      wallMs: integer,
      stale: { type: 'boolean', description: 'no origin confirmed it' },
    }),
  },
});

const limit = object({
  bytesPerSecond: { type: ['integer', 'null'], description: 'null: no limit' },
  because: {
    enum: ['set', 'rollout', 'schedule', 'configuration'],
    description: 'what it follows from; the first of these that says something counts',
  },
  until: { type: ['string', 'null'], format: 'date-time' },
});
const limits = object({
  upload: limit,
  download: limit,
  rollout: {
    ...(object({ until: { type: 'string', format: 'date-time' } }) as object),
    type: ['object', 'null'],
  },
  connections: object({ limit: integer }),
});
const rate = {
  type: ['string', 'null'],
  description: "such as 100MiB/s or 800Mbit/s, or 'unlimited'; null: as configured; left out: as it is",
} as const;
const wantedLimits = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    upload: rate,
    download: rate,
    for: {
      type: 'string',
      description: 'how long these count, such as 2h; left out: until they are set again',
    },
    rollout: {
      type: ['string', 'null'],
      description: 'how long a rollout goes on from now, such as 30m; null: it is over',
    },
  },
};
const cache = object({
  countedBytes: { type: 'integer', description: 'what counts against cache.size' },
  limitBytes: { type: ['integer', 'null'] },
  blobs: {
    type: 'array',
    items: object({
      digest: text,
      size: integer,
      lastUsed: { type: 'string', format: 'date-time' },
      pinned: { type: 'boolean' },
      inUse: { type: 'boolean', description: 'a client reads it, or it is being fetched' },
      inContainerd: { type: 'boolean', description: "read from containerd's content store in place" },
    }),
  },
  pinnedElsewhere: { type: 'array', items: text, description: 'pinned and not here; on the first page' },
  next: { type: ['string', 'null'], description: '?after= of the next page' },
});

function change(summary: string, properties: Readonly<Record<string, unknown>>): unknown {
  const parameters = [{ name: 'digest', in: 'path', required: true, schema: text }];
  const content = { 'application/json': { schema: object(properties) } };
  return { summary, parameters, responses: { 200: { description: 'Done', content } } };
}

const anyText = { 'text/plain': { schema: text } };
const anyObject = { 'application/json': { schema: { type: 'object' } } };

export const openApiDocument = {
  openapi: '3.1.0',
  info: { title: 'Shoal agent', version: '1' },
  paths: {
    '/api/v1/status': get('What the agent does now', { 'application/json': { schema: status } }),
    '/api/v1/pulls': get('Where the seconds and bytes of the last pulls went', {
      'application/json': { schema: pulls },
    }),
    '/api/v1/limits': {
      ...(get('The rates of now, and why', { 'application/json': { schema: limits } }) as object),
      put: {
        summary:
          'Sets rates, or tells of a rollout; from this machine only, kept over restarts, in force with the answer',
        requestBody: { required: true, content: { 'application/json': { schema: wantedLimits } } },
        responses: {
          200: { description: 'The rates of now', content: { 'application/json': { schema: limits } } },
          400: { description: 'What is asked for cannot be used; the reason is in detail' },
          403: { description: 'Asked from another machine' },
        },
      },
    },
    '/api/v1/cache': get('What the cache holds; ?n= blobs (1000) whose digests come after ?after=', {
      'application/json': { schema: cache },
    }),
    '/api/v1/cache/pins/{digest}': {
      put: change('Keeps a blob, whatever is evicted; only from this machine', {
        ...{ digest: text, pinned: { const: true }, here: { type: 'boolean' } },
      }),
      delete: change('Lets it be evicted again; only from this machine', {
        ...{ digest: text, pinned: { const: false }, wasPinned: { type: 'boolean' } },
      }),
    },
    '/api/v1/cache/blobs/{digest}': {
      delete: change('Removes a blob now; 409 when it is pinned or in use; only from this machine', {
        ...{ digest: text, removed: { type: 'boolean' } },
      }),
    },
    '/api/v1/openapi.json': get('This document', anyObject),
    '/metrics': get('Prometheus metrics', anyText),
    '/healthz': get('Whether the process lives', anyObject),
    '/readyz': get('Whether the mirror serves', anyObject),
  },
};
