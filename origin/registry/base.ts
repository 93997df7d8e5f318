import type { Verb } from './call.ts';

/**
 * GET /v2/: says that the API is here (distribution-spec, "Determining Support"). An origin without
 * access control says so: agents then ask it nothing more before they serve what they cached.
 */
export const base: Verb<'base'> = async (registry, { reply }) => {
  if (registry.access.open) reply.header('shoal-access', 'open');
  return reply.send({});
};
