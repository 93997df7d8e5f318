/**
 * Which members to connect to and when to use the origin. The origin is last, near members come
 * first, measured pace breaks ties; but never near-only: a share of the connections is always far,
 * because a zone that knows only itself starves.
 *
 *     const order = rankMembers(addresses, { zone: 'eu1/rack7', limit: 40, random: Math.random });
 *     if (needsOrigin({ ... })) dial(origin);
 */
export {
  type Member,
  needsOrigin,
  type OriginNeed,
  type RankOptions,
  rankMembers,
  zoneDistance,
} from './ranking.ts';
