/** The paths of the pages' data in the OpenAPI document. */
import { json, problem } from '../openapi-parts.ts';

const text = { type: 'string' } as const;
const count = { type: 'integer', minimum: 0 } as const;
const textOrNull = { type: ['string', 'null'] } as const;
const manage = { security: [{}, { basic: ['manage'] }] };
const object = (properties: object) => ({ type: 'object', properties }) as const;
const list = (properties: object) => ({ type: 'array', items: object(properties) }) as const;
const inPath = (name: string, description: string) =>
  ({ name, in: 'path', required: true, description, schema: text }) as const;
const paging = [
  { name: 'limit', in: 'query', description: 'entries in one answer, at most 100', schema: count },
  { name: 'next_page', in: 'query', description: '`next_page` of the page before', schema: text },
];
const repository = inPath('repository', 'with its slashes');

const live = (summary: string, parameters: readonly object[] = [], missing?: string) => ({
  get: {
    ...manage,
    summary,
    parameters: [
      ...parameters,
      {
        name: 'Last-Event-ID',
        in: 'header',
        description: 'the last event that the client has',
        schema: text,
      },
    ],
    responses: {
      '200': {
        description:
          'Server-sent events: `all` has every key, `changes` those that changed (null: gone), `gone` is the end. At most one a second',
        content: { 'text/event-stream': { schema: text } },
      },
      ...(missing !== undefined && { '404': problem(missing) }),
      '503': problem('Too many listen already'),
    },
  },
});

export const pagePaths = {
  '/api/v1/live/overview': live('What the origin holds, its nodes, and its rollouts, as they change'),
  '/api/v1/live/nodes': live('The nodes and their states, as they change'),
  '/api/v1/live/rollouts/{id}': live(
    'A rollout with each of its nodes, as it goes on',
    [inPath('id', "the rollout's")],
    'There is no such rollout',
  ),
  '/api/v1/live/swarms/{blob}': live(
    'Who has a blob, as it changes',
    [inPath('blob', 'a digest or an infohash')],
    'Nothing here has this digest',
  ),
  '/api/v1/repository': {
    get: {
      ...manage,
      summary: 'Repositories by name, in pages',
      parameters: paging,
      responses: {
        '200': json(
          'A page',
          object({
            repositories: list({ namespace: text, name: { ...text, description: 'with its namespace' } }),
            next_page: textOrNull,
          }),
        ),
        '400': problem('Malformed'),
      },
    },
  },
  '/api/v1/repository/{repository}/tag/': {
    get: {
      ...manage,
      summary: 'The tags of a repository, in pages',
      parameters: [repository, ...paging],
      responses: {
        '200': json(
          'A page',
          object({
            tags: list({
              ...{ name: text, manifest_digest: text, is_manifest_list: { type: 'boolean' } },
              size: {
                type: ['integer', 'null'],
                description: 'bytes of config and layers; null for an index',
              },
              last_modified: { type: 'string', format: 'date-time' },
            }),
            has_additional: { type: 'boolean' },
            next_page: textOrNull,
          }),
        ),
        '400': problem('Malformed'),
        '404': problem('There is no such repository'),
      },
    },
  },
  '/api/v1/repository/{repository}/manifest/{reference}': {
    get: {
      ...manage,
      summary: 'An image with its layers and who has them, or an index with its images',
      parameters: [repository, inPath('reference', 'a tag or a digest')],
      responses: {
        '200': json(
          'The image',
          object({
            ...{ digest: text, media_type: text, is_manifest_list: { type: 'boolean' } },
            size: { type: ['integer', 'null'] },
            pushed_at: { type: 'string', format: 'date-time' },
            annotations: { type: 'object', additionalProperties: text },
            layers: list({
              ...{ index: count, is_config: { type: 'boolean' }, blob_digest: text, media_type: text },
              compressed_size: count,
              swarm: { type: ['object', 'null'], properties: { copies: count, downloading: count } },
            }),
            manifests: list({ digest: text, media_type: text, platform: textOrNull }),
          }),
        ),
        '400': problem('Malformed'),
        '404': problem('There is no such image'),
      },
    },
  },
} as const;
