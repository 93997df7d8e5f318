/**
 * Databases from before garbage collection know neither references nor leases. They are made once, at
 * the first start, from the manifests: without them a blob that an old manifest needs would look
 * unneeded. Interrupted, it begins anew; what it writes is the same each time.
 */
import type { Level } from 'level';
import type { Digest } from '#oci';
import type { ManifestRecord } from './port.ts';
import { decode, parseTagValue } from './records.ts';
import { join, lastPart, NUL, type Operation, openTables, put } from './tables.ts';

/** The fact that says that references and leases are complete. */
const KEPT = 'references';
const BATCH = 1_000;
const LATER = { sync: false };

/** Does nothing for a database that is new or up to date. */
export async function upgradeMetadata(
  db: Level<string, Uint8Array>,
  /** What a manifest refers to, from its bytes. */
  requirementsOf: (bytes: Uint8Array, mediaType: string) => readonly Digest[],
): Promise<void> {
  const { facts, links, manifests, bytes, needs, references, tags, pointers, leases, queue, write } =
    openTables(db);
  if ((await facts.get(KEPT)) !== undefined) return;
  const now = String(Date.now());
  let operations: Operation[] = [];
  const add = async (...more: readonly Operation[]): Promise<void> => {
    operations.push(...more);
    if (operations.length < BATCH) return;
    await write(operations, LATER);
    operations = [];
  };
  const lease = (kind: 'blob' | 'manifest', key: string): readonly Operation[] => [
    put(leases, join(kind, key), Buffer.from(now)),
    put(queue, join(kind, now.padStart(15, '0'), key)),
  ];

  for await (const [key, value] of manifests.iterator()) {
    const content = await bytes.get(key);
    if (content === undefined) continue;
    const [name, digest] = key.split(NUL) as [string, string];
    const targets = readable(() => requirementsOf(content, decode<ManifestRecord>(value).mediaType));
    await add(
      put(needs, key, Buffer.from(targets.join(' '))),
      ...targets.map((target) => put(references, join(name, target, digest))),
      ...((await leases.get(join('manifest', key))) === undefined ? lease('manifest', key) : []),
    );
  }
  for await (const [key, value] of tags.iterator()) {
    const name = key.slice(0, key.indexOf(NUL));
    await add(put(pointers, join(name, parseTagValue(value).digest, lastPart(key))));
  }
  for await (const key of links.keys()) {
    if ((await leases.get(join('blob', key))) === undefined) await add(...lease('blob', key));
  }
  await write([...operations, put(facts, KEPT)]);
}

/** Each once. Every manifest was read when it was pushed: one that cannot be now is damaged, and a scrub finds it. */
function readable(read: () => readonly Digest[]): readonly Digest[] {
  try {
    return [...new Set(read())];
  } catch {
    return [];
  }
}
