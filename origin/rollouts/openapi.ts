/** The paths of rollouts in the OpenAPI document. */
import { json, problem } from '../openapi-parts.ts';

const text = { type: 'string' } as const;
const count = { type: 'integer', minimum: 0 } as const;
const orNull = (type: 'string' | 'integer') => ({ type: [type, 'null'] }) as const;
const manage = { security: [{}, { basic: ['manage'] }] };
const join = { security: [{}, { basic: ['join'] }] };
const body = (schema: object) => ({ required: true, content: { 'application/json': { schema } } });
const object = (properties: object) => ({ type: 'object', properties }) as const;
const list = (items: object) => ({ type: 'array', items }) as const;

const part = {
  ...{ nodes: count, done: count, failed: count, away: count, fetching: count, waiting: count },
  ...{ haveBytes: count, totalBytes: count },
};
const bySource = object({
  ...{ peer: count, originSwarm: count, originHttp: count, upstream: count, resumed: count },
  present: { ...count, description: 'was in the caches before' },
});
const node = object({
  ...{ id: text, name: text, zone: orNull('string'), wave: count },
  state: { enum: ['waiting', 'fetching', 'done', 'failed', 'away'] },
  ...{ haveBytes: count, totalBytes: count, bytes: bySource, reason: orNull('string') },
  seconds: { type: ['number', 'null'] },
});
const rollout = object({
  ...{ id: text, kind: { enum: ['prefetch', 'rollout'] }, image: text, repository: text, digest: text },
  ...{ platforms: list(text), selector: text, trigger: text },
  state: { enum: ['running', 'paused', 'stopped', 'done', 'failed', 'cancelled'] },
  ...{ reason: orNull('string'), wave: count, waveCount: count, maxUnavailable: orNull('integer') },
  ...{ bytesPerSecond: orNull('integer'), createdAt: text, deadlineAt: text, endedAt: orNull('string') },
  nodes: object(part),
  waves: list(object({ wave: count, ...part })),
  zones: list(object({ zone: text, ...part })),
  bytes: bySource,
  savedBytes: {
    ...count,
    description: 'came from other agents: direct pulls would have taken it from the origin',
  },
  ...{ bytesPerSecondNow: count, etaSeconds: orNull('integer'), slowest: list(node) },
  eachNode: { ...list(node), description: 'with nodes=true' },
});
const pageOfNodes = (sort: string) => [
  {
    name: 'n',
    in: 'query',
    description: 'entries in one answer, at most 1000; without it all',
    schema: count,
  },
  { name: 'offset', in: 'query', description: '`next` of the page before', schema: count },
  { name: 'sort', in: 'query', description: `${sort}; with a minus the largest first`, schema: text },
  { name: 'state', in: 'query', description: 'only these states, split by commas', schema: text },
  {
    name: 'q',
    in: 'query',
    description: 'only these: a part of the name or the zone, or the start of an id',
    schema: text,
  },
];
const nodesListed = (items: object) => object({ nodes: list(items), total: count, next: orNull('integer') });
const wanted = {
  image: { ...text, description: 'NAME[:TAG][@DIGEST]; what a tag means now is what every node gets' },
  nodes: {
    ...text,
    description: 'a selector: *, zone=eu1/*, name=web-*, id=12D3KooW…; comma is or, & is and',
  },
  platforms: { ...list(text), description: "linux/amd64, or all; by default each node's own" },
  deadlineSeconds: count,
};
const refusals = {
  '400': problem('Malformed; the detail says what'),
  '404': problem('There is no such image'),
  '409': problem('No node is selected, or too many rollouts run'),
};
const id = { name: 'id', in: 'path', required: true, schema: text } as const;
const member = {
  name: 'peerId',
  in: 'path',
  required: true,
  description: "the node's peer id, 12D3KooW…",
  schema: text,
} as const;
const unknown = { '404': problem('There is no such rollout') };
const command = (summary: string) => ({
  post: {
    ...manage,
    summary,
    parameters: [id],
    responses: {
      '200': json('The rollout', rollout),
      ...unknown,
      '409': problem('It cannot be in this state'),
    },
  },
});

export const rolloutPaths = {
  '/api/v1/prefetch': {
    post: {
      ...manage,
      summary: 'Has nodes fetch an image into their caches, all at once',
      requestBody: body(object(wanted)),
      responses: { '201': json('It has begun', rollout), ...refusals },
    },
  },
  '/api/v1/rollouts': {
    get: {
      ...manage,
      summary: 'Rollouts and prefetches, the newest first, with their counts of nodes',
      parameters: [
        {
          name: 'ended',
          in: 'query',
          description: 'only those that have (not) ended',
          schema: { type: 'boolean' },
        },
      ],
      responses: { '200': json('The rollouts', object({ rollouts: list(rollout) })) },
    },
    post: {
      ...manage,
      summary: 'Brings an image to nodes in waves',
      requestBody: body(
        object({
          ...wanted,
          waves: { ...text, description: '10%,50%,100%, or numbers of nodes' },
          maxUnavailable: {
            ...text,
            description: 'a number of nodes or a share; with more failed or away it stops',
          },
          bytesPerSecond: { ...count, description: 'what all nodes receive together at most' },
        }),
      ),
      responses: { '201': json('It has begun', rollout), ...refusals },
    },
  },
  '/api/v1/rollouts/{id}': {
    get: {
      ...manage,
      summary: 'How far a rollout is',
      parameters: [
        id,
        { name: 'nodes', in: 'query', description: 'with each node', schema: { type: 'boolean' } },
      ],
      responses: { '200': json('The rollout', rollout), ...unknown },
    },
  },
  '/api/v1/rollouts/{id}/nodes': {
    get: {
      ...manage,
      summary: 'The nodes of a rollout in pages, in the order of the waves or sorted',
      parameters: [
        id,
        ...pageOfNodes('trouble (failed, away, slowest first), name, zone, wave, state, progress or seconds'),
      ],
      responses: { '200': json('A page', nodesListed(node)), '400': problem('Malformed'), ...unknown },
    },
  },
  '/api/v1/rollouts/{id}/pause': command('Holds it: nodes keep the pieces that they have'),
  '/api/v1/rollouts/{id}/resume': command('Goes on after a pause or a stop; nodes that failed try again'),
  '/api/v1/rollouts/{id}/cancel': command('Ends it for good'),
  '/api/v1/nodes': {
    get: {
      ...manage,
      summary: 'The nodes that ask this origin for orders, and those that did so lately',
      parameters: pageOfNodes('name, zone, state, lastSeen or blobs'),
      responses: {
        '200': json(
          'The nodes, or a page of them',
          nodesListed(
            object({
              ...{
                id: text,
                name: text,
                zone: orNull('string'),
                state: { enum: ['here', 'away'] },
                lastSeen: text,
              },
              blobs: {
                ...orNull('integer'),
                description: 'that it seeds; null when it told the tracker of none',
              },
            }),
          ),
        ),
        '400': problem('Malformed'),
      },
    },
  },
  '/api/v1/agents/{peerId}/orders': {
    post: {
      ...join,
      summary: 'An agent asks what to fetch; answered when that is other than what it knows, or within 45 s',
      parameters: [member],
      requestBody: body(object({ name: text, zone: text, known: text })),
      responses: {
        '200': json(
          'The orders',
          object({
            ...{ version: text, reportSeconds: { type: 'number' } },
            orders: list(
              object({
                ...{ id: text, attempt: count, repository: text, digest: text, platforms: list(text) },
                bytesPerSecond: orNull('integer'),
              }),
            ),
          }),
        ),
        '400': problem('Malformed'),
        '503': problem('This origin is stopping'),
        '507': problem('This origin keeps as many nodes as it may'),
      },
    },
  },
  '/api/v1/agents/{peerId}/reports': {
    post: {
      ...join,
      summary: 'An agent tells how far its orders are',
      parameters: [member],
      requestBody: body(
        object({
          reports: list(
            object({
              ...{ id: text, attempt: count, state: { enum: ['fetching', 'done', 'failed'] } },
              ...{ totalBytes: count, bytes: bySource, reason: orNull('string') },
            }),
          ),
        }),
      ),
      responses: {
        '200': json('When to report again', object({ reportSeconds: { type: 'number' } })),
        '400': problem('Malformed'),
      },
    },
  },
} as const;
