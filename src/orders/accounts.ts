/**
 * What agents tell their origins of the bytes that they gave to clients and fetched, by image and day.
 *
 *     POST /api/v1/agents/<node id>/accounts   {"rows": [...]} -> {"nextSeconds", "oldestDay"}
 *
 * A row is told as it stands, not as what was added to it. So a row that is told twice counts once, one that was
 * lost is made good by the next, and the greater of two values is the newer.
 */
import { z } from 'zod';
import { DIGEST } from './digest.ts';

/** Rows that are told at a time; with the longest names they fit the most that an origin reads. */
export const MAX_ACCOUNT_ROWS = 40;
/** Rows that an agent keeps for a day; what is beyond is counted without a name. */
export const MAX_IMAGES_A_DAY = 500;
/** Days that an agent keeps, and an origin takes rows of: today and those before it. */
export const OPEN_DAYS = 3;

const DAY_MS = 86_400_000;
const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

/** Bytes of blobs that clients were given, by where the agent had them from. `cache`: complete before the request. */
const served = z.strictObject({ cache: count, swarm: count, origin: count, upstream: count });
/** Bytes of blobs that came over the network, by who sent them. */
const fetched = z.strictObject({ peer: count, originSwarm: count, originHttp: count });

const row = z.strictObject({
  /** Of UTC. */
  day: z.iso.date(),
  /** As clients name it; null: more than could be told apart. */
  repository: z
    .string()
    .max(512)
    .regex(/^[\w.:[\]-]+(?:\/[\w.-]+)*$/)
    .nullable(),
  /** The manifest that named the blobs, and was asked for last; null: none did. */
  image: z.string().regex(DIGEST).nullable(),
  served,
  fetched,
  /** Blobs that were fetched whole, and the sum of the times that this took. */
  blobs: count,
  blobMs: count,
});
export type AccountRow = z.infer<typeof row>;
export const accounts = z.strictObject({ rows: z.array(row).max(MAX_ACCOUNT_ROWS) });

export const accountsAnswer = z.object({
  /** When the next changes are wanted. */
  nextSeconds: z.number().min(0.05).max(3_600),
  /** Rows of days before it are not taken any more. */
  oldestDay: z.iso.date(),
});

/** The day of UTC in which a moment is, as in `2026-11-26`. `back`: so many days before it. */
export function dayOf(atMs: number, back = 0): string {
  return new Date(atMs - back * DAY_MS).toISOString().slice(0, 10);
}

export const SERVED = ['cache', 'swarm', 'origin', 'upstream'] as const;
export const FETCHED = ['peer', 'originSwarm', 'originHttp'] as const;

export function emptyAccount(): Account {
  return {
    served: { cache: 0, swarm: 0, origin: 0, upstream: 0 },
    fetched: { peer: 0, originSwarm: 0, originHttp: 0 },
    blobs: 0,
    blobMs: 0,
  };
}

/** A stored row, as it was told or kept. */
export const storedAccount = z.object({ served, fetched, blobs: count, blobMs: count });
export type Account = z.infer<typeof storedAccount>;
