/**
 * Whose a bucket and prefix are. An origin aborts uploads below its prefix and deletes blobs that nobody
 * of its own refers to, so two that share one would take each other's away. An object there names the
 * origin that came first; another one refuses to start. A prefix within another's is no harm: an origin
 * touches only the folders of its blobs.
 */
import { createHash, randomUUID } from 'node:crypto';
import os from 'node:os';
import type { Level } from 'level';
import { z } from 'zod';
import { BlobStoreError } from '../errors.ts';
import type { Bucket } from './bucket.ts';
import { readRange } from './ranges.ts';

const NAME = 'shoal-origin.json';
const MAX_BYTES = 4_096;
const marker = z.object({ origin: z.string(), host: z.string(), since: z.string() });
type Marker = z.infer<typeof marker>;

/**
 * Makes the place ours, or sees that it is. `base` is the prefix with its slash; `where` names both in words.
 * @throws BlobStoreError 'foreign' with what to do, 'unavailable'
 */
export async function claimPlace(
  bucket: Bucket,
  base: string,
  where: string,
  level: Level<string, Uint8Array>,
): Promise<void> {
  const origin = await ownId(level);
  const key = `${base}${NAME}`;
  const found = await read(bucket, key);
  if (found?.origin === origin) return;
  if (found === undefined) {
    const host = os.hostname();
    const mine: Marker = { origin, host, since: new Date().toISOString() };
    const bytes = Buffer.from(`${JSON.stringify(mine)}\n`);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    await bucket.put(key, { bytes, sha256 }, new AbortController().signal);
    // Another may have started at the same time: the last to write has it.
    if ((await read(bucket, key))?.origin === origin) return;
  }
  const whose = found ? ` (on ${found.host}, since ${found.since})` : '';
  throw new BlobStoreError(
    'foreign',
    `another origin${whose} keeps its blobs in ${where}. Give each its own storage.s3.bucket or storage.s3.prefix. ` +
      `Only when that one is gone for good, or its data folder is lost, delete the object ${key} and start again`,
  );
}

async function read(bucket: Bucket, key: string): Promise<Marker | undefined> {
  const state = await bucket.head(key);
  if (state === undefined) return undefined;
  const parts: Buffer[] = [];
  if (state.size > 0 && state.size <= MAX_BYTES) {
    const whole = { key, etag: state.etag, start: 0, end: state.size - 1 };
    for await (const part of readRange(bucket, whole, new AbortController().signal)) parts.push(part);
  }
  try {
    return marker.parse(JSON.parse(Buffer.concat(parts).toString()));
  } catch {
    return { origin: '', host: 'an unknown machine', since: 'an unknown time' };
  }
}

/** Made once, and kept with the rest of the origin's data. */
async function ownId(level: Level<string, Uint8Array>): Promise<string> {
  const own = level.sublevel<string, string>('s3-owner', { valueEncoding: 'utf8' });
  const known = await own.get('origin');
  if (known !== undefined) return known;
  const made = randomUUID();
  await level.batch<string, string>([{ type: 'put', sublevel: own, key: 'origin', value: made }], {
    sync: true,
  });
  return made;
}
