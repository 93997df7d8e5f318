import type { Verb } from './call.ts';

/** GET /v2/<name>/_oci/ext/discover: the extensions of a repository (distribution-spec, extensions/_oci). */
export const discover: Verb<'discover'> = async (_registry, { reply, path }) =>
  reply.send({
    extensions: [
      {
        name: '_shoal',
        description: 'BitTorrent metainfo of each blob',
        url: '/api/v1/openapi.json',
        endpoints: [`/v2/${path.name}/_shoal/torrents/<digest>`],
      },
    ],
  });
