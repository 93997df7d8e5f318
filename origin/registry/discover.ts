import type { Verb } from './call.ts';

/** GET /v2/<name>/_oci/ext/discover: the extensions of a repository (distribution-spec, extensions/_oci). */
export const discover: Verb<'discover'> = async (_registry, { reply, path }) =>
  reply.send({
    extensions: [
      {
        name: '_shoal',
        description: 'BitTorrent metainfo and leaf hashes of each blob',
        url: '/api/v1/openapi.json',
        endpoints: ['torrents', 'leaves'].map((what) => `/v2/${path.name}/_shoal/${what}/<digest>`),
      },
    ],
  });
