/**
 * What grows with the number of repositories: `node bench/repositories.ts [--counts 1000,10000,100000]
 * [--json FILE]`. Each repository has three tags of manifests of its own. Printed: the start of the
 * origin as a process, the first page of the catalogue and one from its middle, a list of tags, a manifest by tag
 * and a pass of garbage collection; then the ratio of the largest to the smallest count.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openDatabase } from '#database';
import { parseRepositoryName, parseTag, sha256DigestOf } from '#oci';
import { createLevelMetadataStore } from '../origin/metadata/level.ts';
import { spawnOrigin } from '../test/support/origin-process.ts';

const TAGS = ['v1', 'v2', 'latest'];
const PAGE = 100;
const ASKED = 300;
const STARTS = 7;
const SETTLE_MS = 15_000;
/** Writes at a time. */
const FILLERS = 16;
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

const { values } = parseArgs({
  options: { counts: { type: 'string', default: '1000,10000,100000' }, json: { type: 'string' } },
});
const counts = values.counts.split(',').map(Number);
const nameOf = (at: number) => parseRepositoryName(`team${at % 97}/app-${String(at).padStart(6, '0')}`);

interface Row {
  readonly repositories: number;
  readonly startMs: number;
  readonly firstPageMs: number;
  readonly laterPageMs: number;
  readonly tagsMs: number;
  readonly manifestMs: number;
  readonly passMs: number;
}

async function fill(data: string, count: number): Promise<void> {
  // As a data folder that an origin made.
  await (await spawnOrigin(data)).kill();
  const db = await openDatabase(path.join(data, 'db'));
  // The filling need not survive a power cut: a thousand syncs a second would take minutes.
  const batch = db.batch.bind(db) as (operations: unknown, options: object) => Promise<void>;
  const unsynced = Object.assign(db, {
    batch: (operations: unknown, options: object) => batch(operations, { ...options, sync: false }),
  });
  const store = createLevelMetadataStore(unsynced, { leaseMs: 3_600_000, now: Date.now });
  let next = 0;
  await Promise.all(
    Array.from({ length: FILLERS }, async () => {
      for (let at = next++; at < count; at = next++) {
        for (const tag of TAGS) {
          const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, at, tag }));
          await store.putManifest(nameOf(at), {
            ...{ digest: sha256DigestOf(bytes), bytes, size: bytes.length, mediaType: MANIFEST },
            ...{ requires: { blobs: [], manifests: [] }, tags: [parseTag(tag)], pushedAt: Date.now() },
          });
        }
      }
    }),
  );
  await store.close();
  await db.close();
}

const median = (list: readonly number[]): number =>
  [...list].sort((one, other) => one - other)[Math.floor(list.length / 2)] ?? Number.NaN;

async function timed(times: number, ask: (at: number) => Promise<Response>): Promise<number> {
  const took: number[] = [];
  for (let at = 0; at < times; at += 1) {
    const before = performance.now();
    const answer = await ask(at);
    await answer.arrayBuffer();
    if (!answer.ok) throw new Error(`${answer.url} answered ${answer.status}`);
    took.push(performance.now() - before);
  }
  return median(took);
}

async function measure(count: number): Promise<Row> {
  const data = await mkdtemp(path.join(os.tmpdir(), 'shoal-repositories-'));
  try {
    await fill(data, count);
    // The database has to sort what the filling left; at each start it would begin anew.
    const settling = await spawnOrigin(data);
    await delay(SETTLE_MS);
    await settling.kill();
    const starts: number[] = [];
    for (let at = 0; at < STARTS; at += 1) {
      const started = await spawnOrigin(data);
      starts.push(started.startMs);
      await started.kill();
    }
    const origin = await spawnOrigin(data);
    try {
      const { url } = origin;
      const some = (at: number) => nameOf((at * 7919) % count);
      const ask = (where: string) => fetch(`${url}${where}`);
      await timed(ASKED, (at) => ask(`/v2/${some(at)}/tags/list`));
      return {
        repositories: count,
        startMs: median(starts),
        firstPageMs: await timed(ASKED, () => ask(`/v2/_catalog?n=${PAGE}`)),
        laterPageMs: await timed(ASKED, () => ask(`/v2/_catalog?n=${PAGE}&last=team5`)),
        tagsMs: await timed(ASKED, (at) => ask(`/v2/${some(at)}/tags/list`)),
        manifestMs: await timed(ASKED, (at) => ask(`/v2/${some(at)}/manifests/v1`)),
        passMs: await timed(20, () => fetch(`${url}/api/v1/gc`, { method: 'POST' })),
      };
    } finally {
      await origin.kill();
    }
  } finally {
    await rm(data, { recursive: true, force: true });
  }
}

const rows: Row[] = [];
for (const count of counts) rows.push(await measure(count));
const columns = ['repositories', 'start', 'first page', 'later page', 'tags', 'manifest', 'gc pass'];
const cells = (row: Row): number[] => Object.values(row);
const line = (texts: readonly string[]): string => texts.map((text) => text.padStart(12)).join('');
process.stdout.write(`${line(columns)}   (medians, ms)\n`);
for (const row of rows) {
  process.stdout.write(
    `${line(cells(row).map((value, at) => (at === 0 ? String(value) : value.toFixed(2))))}\n`,
  );
}
const [first, final] = [rows[0], rows.at(-1)];
if (first && final) {
  const ratios = cells(final).map((value, at) => value / (cells(first)[at] ?? 1));
  process.stdout.write(`${line(ratios.map((ratio) => `${ratio.toFixed(2)} x`))}   (last to first)\n`);
}
if (values.json !== undefined) await writeFile(values.json, JSON.stringify({ bench: 'repositories', rows }));
