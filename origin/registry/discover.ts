/** What this registry adds to the specification, for the whole of it and for a repository (distribution-spec, extensions/_oci). */
import type { Verb } from './call.ts';

const endpointsOf = (name: string): string[] =>
  ['torrents', 'leaves'].map((what) => `/v2/${name}/_shoal/${what}/<digest>`);

const listOf = (endpoints: readonly string[]) => ({
  extensions: [
    {
      name: '_shoal',
      description: 'BitTorrent metainfo and leaf hashes of each blob',
      url: '/api/v1/openapi.json',
      endpoints,
    },
  ],
});

/** GET /v2/_oci/ext/discover: as it is for every repository. */
export const discoverAll: Verb<'extensions'> = async (_registry, { reply }) =>
  reply.send(listOf(endpointsOf('<name>')));

/** GET /v2/<name>/_oci/ext/discover. */
export const discover: Verb<'discover'> = async (_registry, { reply, path }) =>
  reply.send(listOf(endpointsOf(path.name)));
