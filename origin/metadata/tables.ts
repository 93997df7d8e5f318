/**
 * The tables of the origin's metadata and how their keys are made. Keys join their parts with NUL,
 * which no name, tag or digest can hold, so a repository's keys are one range and `a` never runs
 * into `a/b`:
 *
 *     repositories  name                        →
 *     links         name NUL digest             →             blob is part of the repository
 *     holders       digest NUL name             →             the same, the other way round
 *     orphans       digest                      →             bytes that perhaps no repository holds
 *     unhashed      digest                      →             bytes whose torrent is perhaps not made yet
 *     manifests     name NUL digest             → record
 *     bytes         name NUL digest             → the manifest as it was pushed
 *     needs         name NUL digest             → digests     what the manifest refers to
 *     references    name NUL target NUL digest  →             the same, the other way round
 *     tags          name NUL lower NUL tag      → digest time lower: the tag in lower case, for the order
 *     pointers      name NUL digest NUL tag     →             the same, the other way round
 *     referrers     name NUL subject NUL digest → record
 *     leases        kind NUL name NUL digest    → since       kind: blob or manifest
 *     queue         kind NUL since NUL name NUL digest →      the same by time; kind may also be doomed
 *     uploads       id                          → record
 *     quarantine    name NUL digest             → the bytes of a damaged manifest
 *     facts         name                        → what is known of the tables themselves
 */
import type { Level } from 'level';

export const NUL = '\u0000';
const AFTER_NUL = '\u0001';
const PRESENT = Buffer.alloc(0);

export type Tables = ReturnType<typeof openTables>;
export type Table = ReturnType<typeof openTable>;
export type Operation = ReturnType<typeof put> | ReturnType<typeof del>;

/** Uses the sublevel `origin` of a database that the caller opened and closes. */
export function openTables(db: Level<string, Uint8Array>) {
  const table = (name: string): Table => openTable(db, name);
  return {
    repositories: table('repositories'),
    links: table('links'),
    holders: table('holders'),
    orphans: table('orphans'),
    unhashed: table('unhashed'),
    manifests: table('manifests'),
    bytes: table('bytes'),
    needs: table('needs'),
    references: table('references'),
    tags: table('tags'),
    pointers: table('pointers'),
    referrers: table('referrers'),
    leases: table('leases'),
    queue: table('queue'),
    uploads: table('uploads'),
    quarantine: table('quarantine'),
    facts: table('facts'),
    /** One batch: all of it or nothing. With `sync` it survives a power cut when this resolves. */
    write: (operations: readonly Operation[], { sync } = { sync: true }): Promise<void> =>
      operations.length === 0 ? Promise.resolve() : db.batch<string, Buffer>([...operations], { sync }),
  };
}

function openTable(db: Level<string, Uint8Array>, name: string) {
  return db.sublevel<string, Buffer>(['origin', name], { valueEncoding: 'buffer' });
}

export function put(sublevel: Table, key: string, value: Buffer = PRESENT) {
  return { type: 'put', sublevel, key, value } as const;
}

export function del(sublevel: Table, key: string) {
  return { type: 'del', sublevel, key } as const;
}

export function join(...parts: readonly string[]): string {
  return parts.join(NUL);
}

/** What follows the last NUL of a key. */
export function lastPart(key: string): string {
  return key.slice(key.lastIndexOf(NUL) + 1);
}

/** Keys of `prefix NUL …` after `prefix NUL after`. */
export function under(prefix: string, after?: string): { readonly gt: string; readonly lt: string } {
  return { gt: join(prefix, after ?? ''), lt: `${prefix}${AFTER_NUL}` };
}

/** Whether any key of `prefix NUL …` passes; it is asked of few, in order. */
export async function some(
  table: Table,
  prefix: string,
  passes: (key: string) => boolean = () => true,
): Promise<boolean> {
  for await (const key of table.keys(under(prefix))) if (passes(key)) return true;
  return false;
}
