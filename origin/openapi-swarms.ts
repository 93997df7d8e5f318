/** The paths of `/api/v1/swarms` in the OpenAPI document. */

const count = { type: 'integer', minimum: 0 } as const;
const text = { type: 'string' } as const;
const orNull = (type: 'string' | 'integer') => ({ type: [type, 'null'] }) as const;
const manage = { security: [{}, { basic: ['manage'] }] };
const problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
});
const page = (most: number) =>
  ({
    name: 'n',
    in: 'query',
    description: `entries in one answer, at most ${most}`,
    schema: { ...count, default: 100 },
  }) as const;

const summary = {
  digest: orNull('string'),
  size: { ...orNull('integer'), description: 'bytes' },
  infoHash: { $ref: '#/components/schemas/InfoHash' },
  copies: { ...count, description: "members that have all of it, the origin's own seeds not counted" },
  downloading: count,
} as const;

const member = {
  type: 'object',
  properties: {
    peerId: text,
    address: { ...orNull('string'), description: 'HOST:PORT of plain BitTorrent' },
    peer: { ...orNull('string'), description: 'the libp2p listener, as a multiaddr' },
    zone: orNull('string'),
    progress: { type: 'number', minimum: 0, maximum: 1 },
    left: { ...count, description: 'bytes that it still wants' },
    bytesPerSecond: { ...orNull('integer'), description: 'between its last two announces' },
    slow: { type: 'boolean', description: 'less than half of the median of those who download' },
    lastSeenSeconds: count,
  },
} as const;

export const swarmPaths = {
  '/api/v1/swarms': {
    get: {
      ...manage,
      summary: 'Blobs that somebody announced lately, in the order of their infohash, in pages',
      parameters: [
        page(1_000),
        { name: 'last', in: 'query', description: '`next` of the page before', schema: text },
      ],
      responses: {
        '200': {
          description: 'A page',
          content: {
            'application/json': {
              schema: {
                type: 'object',
                properties: {
                  swarms: { type: 'array', items: { type: 'object', properties: summary } },
                  next: orNull('string'),
                },
              },
            },
          },
        },
        '400': problem('n or last is malformed'),
      },
    },
  },
  '/api/v1/swarms/{blob}': {
    get: {
      ...manage,
      summary: 'Who has a blob, who downloads it and how fast, and how many copies each zone has',
      parameters: [
        { name: 'blob', in: 'path', required: true, description: 'a digest or an infohash', schema: text },
        page(10_000),
        { name: 'offset', in: 'query', description: '`next` of the page before', schema: count },
      ],
      responses: {
        '200': {
          description: 'The swarm, with a page of its members, those who download first',
          content: {
            'application/json': {
              schema: {
                type: 'object',
                properties: {
                  ...summary,
                  zones: {
                    type: 'array',
                    items: {
                      type: 'object',
                      properties: { zone: orNull('string'), copies: count, downloading: count },
                    },
                  },
                  medianBytesPerSecond: orNull('integer'),
                  members: { type: 'array', items: member },
                  next: orNull('integer'),
                },
              },
            },
          },
        },
        '400': problem('n or offset is malformed'),
        '404': problem('Nothing here has this digest'),
      },
    },
  },
} as const;
