/** The OpenAPI document of `/api/v1`. It names what exists; `/v2` is the OCI distribution API's own. */

import { accountPaths } from './accounts/openapi.ts';
import { json, problem } from './openapi-parts.ts';
import { swarmPaths } from './openapi-swarms.ts';
import { pagePaths } from './pages/index.ts';
import { rolloutPaths } from './rollouts/openapi.ts';

const text = { type: 'string' } as const;
const count = { type: 'integer', minimum: 0 } as const;
const hostPort = { type: 'string', description: 'HOST:PORT' } as const;
const multiaddr = {
  type: 'string',
  description: 'the libp2p listener: /ip4/10.0.0.7/tcp/4002/p2p/12D3…',
} as const;
/**
 * Who may: anybody where access control is not configured, else a user with this right. OpenAPI 3.1 has
 * names of rights in the list of a scheme that has no scopes.
 */
const needs = (right: 'join' | 'manage') => [{}, { basic: [right] }];
const [join, manage] = [{ security: needs('join') }, { security: needs('manage') }];
const infoHashes = { type: 'array', items: { $ref: '#/components/schemas/InfoHash' } } as const;
const agent = {
  name: 'peerId',
  in: 'path',
  required: true,
  description: "the agent's 20-byte BitTorrent peer id in hex",
  schema: { type: 'string', pattern: '^[0-9a-f]{40}$' },
} as const;

const refusedInventory = {
  '400': problem('Malformed'),
  '403': problem('Another address holds the lease of this peer id'),
  '409': problem('A change before this one did not arrive, or one after it did: PUT the whole inventory'),
  '411': problem('The body has no Content-Length'),
  '413': problem('The inventory is too large'),
  '503': problem('Too many inventories at once; try again'),
  '507': problem('The tracker keeps as many agents or blobs as it may'),
} as const;

export const openApiDocument = {
  openapi: '3.1.0',
  info: {
    title: 'Shoal origin',
    version: '1',
    description:
      'Management of an origin. Beside it: /v2 (OCI distribution API, with the extensions ' +
      '/v2/<name>/_shoal/torrents/<digest>: metainfo, or with Accept: application/vnd.shoal.draft the piece hashes ' +
      'of a blob that still comes from an upstream, as a stream; and /v2/<name>/_shoal/leaves/<digest>: SHA-256 of ' +
      'each 16 KiB), /announce and /scrape (BitTorrent tracker), ' +
      '/metrics (Prometheus), /healthz and /readyz, and the pages for people below /ui. With access control each operation may also answer 401 ' +
      'without a log-in, 403 without the right that its security names, and 429 after too many failed log-ins. Under ' +
      '--admission token inventories need the headers of a member (see /api/v1/cluster/renew), in place of the right join.',
  },
  paths: {
    '/api/v1/openapi.json': {
      get: {
        security: [],
        summary: 'This document',
        responses: { '200': json('The document', { type: 'object' }) },
      },
    },
    '/api/v1/status': {
      get: {
        ...manage,
        summary: 'What the origin holds and does now',
        responses: { '200': json('The state', { $ref: '#/components/schemas/Status' }) },
      },
    },
    '/api/v1/torrents/{infoHash}': {
      get: {
        ...join,
        summary: 'The blob of an infohash, and who seeds it for certain',
        parameters: [
          {
            name: 'infoHash',
            in: 'path',
            required: true,
            schema: { $ref: '#/components/schemas/InfoHash' },
          },
        ],
        responses: {
          '200': json('The blob', { $ref: '#/components/schemas/Torrent' }),
          '400': problem('Not an infohash'),
          '404': problem('No blob of this origin has it'),
        },
      },
    },
    '/api/v1/torrents/{infoHash}/announce': {
      get: {
        ...join,
        summary: 'Whether a passkey lets its bearer announce a blob, for a tracker that runs alone',
        parameters: [
          {
            name: 'infoHash',
            in: 'path',
            required: true,
            schema: { $ref: '#/components/schemas/InfoHash' },
          },
          {
            name: 'passkey',
            in: 'query',
            description:
              'of an announce URL that this origin wrote into a .torrent; without access control none is needed',
            schema: text,
          },
        ],
        responses: {
          '200': json(
            'Whether the blob is here, and whether the passkey is good for it; neither follows from the other',
            {
              type: 'object',
              required: ['held', 'mayAnnounce'],
              properties: { held: { type: 'boolean' }, mayAnnounce: { type: 'boolean' } },
            },
          ),
          '400': problem('Not an infohash'),
        },
      },
    },
    '/api/v1/gc': {
      get: {
        ...manage,
        summary: 'What garbage collection removed lately and why, the newest first',
        responses: { '200': json('The state', { $ref: '#/components/schemas/Collection' }) },
      },
      post: {
        ...manage,
        summary: 'Collects garbage now, over all repositories, and reports',
        parameters: [
          {
            name: 'dryRun',
            in: 'query',
            description: 'only say what would go',
            schema: { type: 'boolean', default: false },
          },
        ],
        responses: {
          '200': json('What went', { $ref: '#/components/schemas/CollectionReport' }),
          '400': problem('dryRun is neither true nor false'),
        },
      },
    },
    '/api/v1/scrub': {
      get: {
        ...manage,
        summary: 'How far the running or last scrub is, and what it found',
        responses: { '200': json('The state', { $ref: '#/components/schemas/Scrub' }) },
      },
      post: {
        ...manage,
        summary: 'Begins a scrub of every blob, manifest, reference and tag, unless one is running',
        responses: { '202': json('The state', { $ref: '#/components/schemas/Scrub' }) },
      },
    },
    '/api/v1/agents': {
      get: {
        ...manage,
        summary: 'The agents that have a lease',
        responses: { '200': json('The agents', { $ref: '#/components/schemas/Agents' }) },
      },
    },
    ...swarmPaths,
    ...rolloutPaths,
    ...accountPaths,
    ...pagePaths,
    '/api/v1/agents/{peerId}': {
      put: {
        ...join,
        summary: "Sets an agent's inventory: the blobs that it can seed",
        parameters: [agent],
        requestBody: {
          content: { 'application/json': { schema: { $ref: '#/components/schemas/Inventory' } } },
        },
        responses: {
          '200': json('Known until the lease ends', { $ref: '#/components/schemas/Lease' }),
          ...refusedInventory,
        },
      },
      patch: {
        ...join,
        summary: 'Renews the lease, and adds and removes blobs',
        parameters: [agent],
        requestBody: {
          content: {
            'application/json': {
              schema: {
                type: 'object',
                properties: { sequence: count, add: infoHashes, remove: infoHashes },
              },
            },
          },
        },
        responses: {
          '200': json('Known until the lease ends', { $ref: '#/components/schemas/Lease' }),
          ...refusedInventory,
          '404': problem('The agent is not known: PUT the whole inventory'),
        },
      },
      delete: {
        ...join,
        summary: 'Says goodbye',
        parameters: [agent],
        responses: { '204': { description: 'Forgotten' }, '403': problem('Another address holds the lease') },
      },
    },
    '/api/v1/agents/{peerId}/copies': {
      post: {
        ...join,
        summary: 'How many other agents hold these blobs, in the zone of this one and in all',
        parameters: [agent],
        requestBody: {
          required: true,
          content: {
            'application/json': {
              schema: { type: 'object', required: ['blobs'], properties: { blobs: infoHashes } },
            },
          },
        },
        responses: {
          '200': {
            description: 'In the order of the question, which names 1000 blobs at most',
            content: {
              'application/json': {
                schema: {
                  type: 'object',
                  required: ['zone', 'all'],
                  properties: { zone: { type: 'array', items: count }, all: { type: 'array', items: count } },
                },
              },
            },
          },
          '400': problem('Not such a question'),
          '404': problem('The agent has no lease here'),
          '413': problem('More than 64 KiB'),
        },
      },
    },
  },
  components: {
    securitySchemes: {
      basic: {
        type: 'http',
        scheme: 'basic',
        description: 'A user of access.htpasswd. Tokens of /v2/auth are for /v2 only.',
      },
    },
    schemas: {
      InfoHash: { type: 'string', pattern: '^[0-9a-f]{40}$' },
      Problem: {
        type: 'object',
        description: 'RFC 9457',
        properties: { type: text, title: text, status: count, detail: text },
      },
      Torrent: {
        type: 'object',
        required: ['digest', 'size', 'peers'],
        properties: {
          digest: text,
          size: count,
          peers: { type: 'array', items: { ...text, description: 'HOST:PORT, or a multiaddr for libp2p' } },
        },
      },
      Removed: {
        type: 'object',
        required: ['kind', 'reason', 'digest'],
        properties: {
          kind: { enum: ['blob', 'link', 'manifest', 'tag'] },
          reason: {
            enum: [
              ...['unreferenced', 'unheld', 'untagged', 'policy'],
              ...['keep-last', 'max-age', 'keep-last and max-age'],
            ],
          },
          digest: text,
          repository: text,
          tag: text,
          bytes: count,
          at: { type: 'string', format: 'date-time' },
        },
      },
      CollectionReport: {
        type: 'object',
        properties: {
          startedAt: { type: 'string', format: 'date-time' },
          seconds: { type: 'number' },
          dryRun: { type: 'boolean' },
          removed: { type: 'object', properties: { blob: count, link: count, manifest: count, tag: count } },
          freedBytes: count,
          items: { type: 'array', maxItems: 1000, items: { $ref: '#/components/schemas/Removed' } },
          failures: count,
        },
      },
      Collection: {
        type: 'object',
        properties: {
          running: { type: 'boolean' },
          last: { oneOf: [{ $ref: '#/components/schemas/CollectionReport' }, { type: 'null' }] },
          recent: { type: 'array', maxItems: 1000, items: { $ref: '#/components/schemas/Removed' } },
        },
      },
      Scrub: {
        type: 'object',
        properties: {
          running: { type: 'boolean' },
          startedAt: { type: ['string', 'null'], format: 'date-time' },
          finishedAt: { type: ['string', 'null'], format: 'date-time' },
          checked: {
            type: 'object',
            properties: { blobs: count, bytes: count, manifests: count, references: count, tags: count },
          },
          blobs: count,
          found: count,
          repaired: count,
          problems: {
            type: 'array',
            maxItems: 1000,
            items: {
              type: 'object',
              required: ['kind', 'digest', 'repaired', 'note'],
              properties: {
                kind: {
                  enum: [
                    ...['blob damaged', 'blob missing', 'manifest damaged'],
                    ...['tag without manifest', 'reference without content'],
                  ],
                },
                digest: text,
                repository: text,
                tag: text,
                target: text,
                repaired: { type: 'boolean' },
                note: text,
              },
            },
          },
          error: { type: ['string', 'null'] },
        },
      },
      Inventory: {
        type: 'object',
        required: ['blobs'],
        properties: {
          port: count,
          peer: multiaddr,
          host: text,
          zone: text,
          sequence: { ...count, description: 'counts what an agent tells; changes go on from it' },
          blobs: infoHashes,
        },
      },
      Lease: {
        type: 'object',
        properties: { leaseSeconds: { type: 'number' }, heartbeatSeconds: { type: 'number' } },
      },
      Agents: {
        type: 'object',
        properties: {
          agents: {
            type: 'array',
            items: {
              type: 'object',
              properties: {
                peerId: text,
                address: { type: ['string', 'null'] },
                peer: { type: ['string', 'null'], description: 'the libp2p listener, as a multiaddr' },
                zone: { type: ['string', 'null'] },
                blobs: count,
                lastSeen: { type: 'string', format: 'date-time' },
              },
            },
          },
        },
      },
      Status: {
        type: 'object',
        properties: {
          program: { const: 'origin' },
          startedAt: { type: 'string', format: 'date-time' },
          uptimeSeconds: count,
          publicUrl: { type: ['string', 'null'] },
          listen: hostPort,
          bittorrentListen: { type: ['string', 'null'] },
          peerListen: { type: ['string', 'null'], description: 'the libp2p listener, as a multiaddr' },
          udpListen: { type: ['string', 'null'] },
          blobs: { type: 'object', properties: { count, bytes: count } },
          torrents: { type: 'object', properties: { hashing: count } },
          blobBytes: { type: 'object', properties: { in: count, out: count } },
          upstreams: {
            type: 'object',
            properties: {
              fetching: { ...count, description: 'blobs on their way' },
              registries: {
                type: 'array',
                items: {
                  type: 'object',
                  properties: {
                    name: text,
                    url: text,
                    credentials: { type: 'boolean' },
                    reachable: { type: ['boolean', 'null'], description: 'null: not asked yet' },
                    retryAfterSeconds: { ...count, description: 'until it is asked again' },
                  },
                },
              },
            },
          },
          tracker: {
            type: 'object',
            properties: { agents: count, members: count, blobs: count, held: count },
          },
          swarm: {
            type: 'object',
            properties: { openBlobs: count, peers: { type: 'array', items: { type: 'object' } } },
          },
        },
      },
    },
  },
} as const;
