import type { Verb } from './call.ts';

/** GET /v2/: says that the API is here (distribution-spec, "Determining Support"). */
export const base: Verb<'base'> = async (_registry, { reply }) => reply.send({});
