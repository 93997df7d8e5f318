/** The paths of accounts in the OpenAPI document. */
import { json, problem } from '../openapi-parts.ts';

const text = { type: 'string' } as const;
const count = { type: 'integer', minimum: 0 } as const;
const day = { type: 'string', format: 'date' } as const;
const number = { type: 'number', minimum: 0 } as const;
const orNull = (schema: { readonly type: string }) => ({ ...schema, type: [schema.type, 'null'] });
const object = (properties: object) => ({ type: 'object', properties }) as const;
const list = (items: object) => ({ type: 'array', items }) as const;
const inQuery = (name: string, description: string, schema: object) => ({
  ...{ name, in: 'query', description, schema },
});

const counters = {
  served: {
    ...object({ cache: count, swarm: count, origin: count, upstream: count }),
    description: 'bytes of blobs that clients took, by where the agents had them from',
  },
  fetched: {
    ...object({ peer: count, originSwarm: count, originHttp: count }),
    description: 'bytes of blobs that agents received, by who sent them',
  },
  blobs: { ...count, description: 'blobs that were fetched whole' },
};
const line = {
  ...counters,
  blobSeconds: { ...number, description: 'sum of the times that this took' },
  savedBytes: { ...count, description: 'came from other agents and not from the origin' },
  egressRatio: {
    ...orNull(number),
    description: 'share of the fetched bytes that came from the origin; 1: as direct pulls',
  },
  savedSeconds: {
    ...orNull(number),
    description: 'in which the origin would have sent savedBytes at originBytesPerSecond; null without it',
  },
};
const sent = {
  ...object({ http: count, swarm: count }),
  type: ['object', 'null'],
  description: 'bytes of blobs that this origin sent, also to others than agents; null for one repository',
};
const nodes = { ...count, description: 'agents that told of it, on the day with most of them' };
const report = object({
  ...{ from: day, to: day, originBytesPerSecond: orNull(number) },
  total: object({ ...line, origin: sent }),
  days: list(object({ day, ...line, origin: sent })),
  images: list(
    object({
      repository: orNull(text),
      digest: {
        ...orNull(text),
        description: 'of the image manifest; null: of blobs whose manifest is not known',
      },
      tags: { ...list(text), description: 'that name it now' },
      ...{ ...line, nodes, days: list(object({ day, ...line, nodes: count })) },
    }),
  ),
  moreImages: { ...count, description: 'images in the sums that are not in the list' },
});
const row = object({
  day,
  repository: orNull(text),
  image: orNull(text),
  ...counters,
  blobMs: count,
});

export const accountPaths = {
  '/api/v1/report': {
    get: {
      security: [{}, { basic: ['manage'] }],
      summary: 'What agents gave to clients and fetched, by image and day (UTC), and what the origin sent',
      parameters: [
        inQuery('days', 'so many days, today included; 7', { type: 'integer', minimum: 1, maximum: 400 }),
        inQuery('repository', 'of one repository alone', text),
        inQuery('images', 'the most that are listed; 100', { type: 'integer', minimum: 1, maximum: 1000 }),
        inQuery('originBytesPerSecond', 'what the origin could send, for savedSeconds', count),
      ],
      responses: { '200': json('The report', report), '400': problem('Malformed; the detail says what') },
    },
  },
  '/api/v1/agents/{peerId}/accounts': {
    post: {
      security: [{}, { basic: ['join'] }],
      summary: "An agent's account as it stands, the rows that changed; telling it twice changes nothing",
      parameters: [
        { name: 'peerId', in: 'path', required: true, description: "the node's peer id", schema: text },
      ],
      requestBody: {
        required: true,
        content: { 'application/json': { schema: object({ rows: { ...list(row), maxItems: 40 } }) } },
      },
      responses: {
        '200': json('Taken', object({ nextSeconds: number, oldestDay: day })),
        '400': problem('Malformed; the detail says what'),
        '413': problem('Too large'),
        '503': problem('Too many at once'),
        '507': problem('As many nodes as this origin keeps accounts of'),
      },
    },
  },
};
