/**
 * Rounds of kill -9: an origin is started, what earlier rounds were told is compared with what it
 * serves, four clients push to it in every way that there is, and at a random moment it is killed.
 * What a client was told is kept here as promises; a promise that is not kept ends the rounds.
 */
import { createHash, randomInt } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { sha256DigestOf } from '#oci';
import { call, MANIFEST } from './origin.ts';
import { type OriginProcess, spawnOrigin } from './origin-process.ts';

export interface KillFigures {
  readonly rounds: number;
  /** Blobs and manifests that were acknowledged, deletions, and chunks of unfinished uploads. */
  readonly acknowledged: { blobs: number; manifests: number; deletions: number; chunks: number };
  /** Answers that were compared with the promises. */
  readonly checked: number;
  /** Requests that a kill cut off. */
  readonly cut: number;
  /** Milliseconds from process start to listening, sorted. */
  readonly startsMs: readonly number[];
  /** Of these, the origin's own part, sorted. */
  readonly ownStartsMs: readonly number[];
  /** Files of blobs that no repository has in the end. */
  readonly leaked: number;
}

interface Promised {
  /** Number of the content → whether the blob is there; undefined: asked for, and never answered. */
  readonly blobs: Map<number, boolean | undefined>;
  /** Tag → the manifests that may be behind it: the last acknowledged, and those asked for since. */
  readonly tags: Map<string, Buffer[]>;
  /** Location of an unfinished upload → the content's number and the bytes that were acknowledged. */
  readonly uploads: Map<string, { readonly content: number; bytes: number }>;
}

const REPOSITORY = 'kill/me';
const CLIENTS = 4;
/** Of the older promises, how many are looked at again in each round. */
const SAMPLE = 20;

/** @throws Error at the first promise that was not kept */
export async function killRounds(options: {
  readonly rounds: number;
  readonly data: string;
  readonly progress?: (round: number, startMs: number) => void;
}): Promise<KillFigures> {
  const promised: Promised = { blobs: new Map(), tags: new Map(), uploads: new Map() };
  const acknowledged = { blobs: 0, manifests: 0, deletions: 0, chunks: 0 };
  const startsMs: number[] = [];
  const ownStartsMs: number[] = [];
  const changed = new Set<number>();
  /** Contents that a manifest may need; deleting them by name would be the client's own doing. */
  const needed = new Set<number>();
  const knownTags = new Set<string>();
  let checked = 0;
  let cut = 0;
  let contents = 0;
  let origin: OriginProcess | undefined;
  try {
    for (let round = 0; round <= options.rounds; round += 1) {
      const running = await spawnOrigin(options.data, { collection: { intervalMs: 20 } });
      origin = running;
      startsMs.push(running.startMs);
      ownStartsMs.push(running.ownStartMs);
      options.progress?.(round, running.startMs);
      const isLast = round === options.rounds;
      await checkPromises(running.url, isLast);
      if (isLast) break;
      let over = false;
      const clients = Array.from({ length: CLIENTS }, async (_, client) => {
        while (!over) {
          try {
            await pushSomething(running.url, client);
          } catch (error) {
            if (!over) throw error;
            cut += 1;
          }
        }
      });
      await new Promise((resolve) => setTimeout(resolve, randomInt(5, 400)));
      over = true;
      await running.kill();
      await Promise.all(clients);
    }
    const leaked = await countLeaked(origin?.url ?? '');
    return {
      rounds: options.rounds,
      ...{ acknowledged, checked, cut, startsMs: sorted(startsMs), ownStartsMs: sorted(ownStartsMs), leaked },
    };
  } finally {
    await origin?.kill();
  }

  async function pushSomething(url: string, client: number): Promise<void> {
    const choice = randomInt(10);
    if (choice < 3) return pushWhole(url);
    if (choice < 6) return pushChunked(url, client);
    if (choice < 9) return pushManifest(url, client);
    return deleteBlob(url);
  }

  async function pushWhole(url: string): Promise<void> {
    const { number, bytes, digest } = nextContent();
    const answer = await call('POST', `${url}/v2/${REPOSITORY}/blobs/uploads/?digest=${digest}`, {
      body: bytes,
    });
    acknowledge(number, answer.status);
  }

  /** In chunks; one in three is left unfinished, for a later round to go on with. */
  async function pushChunked(url: string, client: number): Promise<void> {
    const { number, bytes, digest } = nextContent();
    const begun = await call('POST', `${url}/v2/${REPOSITORY}/blobs/uploads/`);
    expect(begun.status, 202, 'POST of an upload');
    const location = begun.headers['location'] ?? '';
    const half = Math.ceil(bytes.length / 2);
    const chunk = await call('PATCH', `${url}${location}`, { body: bytes.subarray(0, half) });
    expect(chunk.status, 202, 'PATCH of an upload');
    acknowledged.chunks += 1;
    promised.uploads.set(location, { content: number, bytes: half });
    if ((number + client) % 3 === 0) return;
    promised.uploads.delete(location);
    const put = await call('PUT', `${url}${location}?digest=${digest}`, { body: bytes.subarray(half) });
    acknowledge(number, put.status);
  }

  async function pushManifest(url: string, client: number): Promise<void> {
    const parts = [nextContent(), nextContent()];
    for (const { number, bytes, digest } of parts) {
      needed.add(number);
      const answer = await call('POST', `${url}/v2/${REPOSITORY}/blobs/uploads/?digest=${digest}`, {
        body: bytes,
      });
      acknowledge(number, answer.status);
    }
    const [config, layer] = parts.map(({ bytes, digest }) => ({
      ...{ mediaType: 'application/octet-stream', digest, size: bytes.length },
    }));
    const manifest = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers: [layer] }),
    );
    const tag = `client${client}-${randomInt(3)}`;
    const before = promised.tags.get(tag) ?? [];
    promised.tags.set(tag, [...before, manifest]);
    const put = await call('PUT', `${url}/v2/${REPOSITORY}/manifests/${tag}`, {
      headers: { 'content-type': MANIFEST },
      body: manifest,
    });
    expect(put.status, 201, 'PUT of a manifest');
    promised.tags.set(tag, [manifest]);
    knownTags.add(tag);
    acknowledged.manifests += 1;
  }

  async function deleteBlob(url: string): Promise<void> {
    const number = randomInt(Math.max(1, contents));
    if (promised.blobs.get(number) !== true || needed.has(number)) return;
    const { digest } = content(number);
    promised.blobs.set(number, undefined);
    changed.add(number);
    const answer = await call('DELETE', `${url}/v2/${REPOSITORY}/blobs/${digest}`);
    expect(answer.status, 202, 'DELETE of a blob');
    promised.blobs.set(number, false);
    acknowledged.deletions += 1;
  }

  function nextContent() {
    const number = contents;
    contents += 1;
    promised.blobs.set(number, undefined);
    changed.add(number);
    return content(number);
  }

  function acknowledge(number: number, status: number): void {
    expect(status, 201, 'push of a blob');
    promised.blobs.set(number, true);
    acknowledged.blobs += 1;
  }

  async function checkPromises(url: string, all: boolean): Promise<void> {
    const numbers = new Set(all ? promised.blobs.keys() : changed);
    for (let more = 0; more < SAMPLE && contents > 0; more += 1) numbers.add(randomInt(contents));
    changed.clear();
    await inParallel([...numbers], (number) => checkBlob(url, number));
    await inParallel([...promised.tags], ([tag, manifests]) => checkTag(url, tag, manifests));
    await inParallel([...promised.uploads], ([location, upload]) => goOn(url, location, upload));
  }

  async function checkBlob(url: string, number: number): Promise<void> {
    const isThere = promised.blobs.get(number);
    const { digest, bytes } = content(number);
    const answer = await call('GET', `${url}/v2/${REPOSITORY}/blobs/${digest}`);
    checked += 1;
    if (answer.status === 200 && !answer.body.equals(bytes)) throw new Error(`wrong bytes for ${digest}`);
    if (isThere !== undefined) expect(answer.status, isThere ? 200 : 404, `GET of blob ${number}`);
    else if (answer.status !== 200) expect(answer.status, 404, `GET of unanswered blob ${number}`);
    // What was never answered is as it is found from now on.
    promised.blobs.set(number, answer.status === 200);
  }

  async function checkTag(url: string, tag: string, manifests: readonly Buffer[]): Promise<void> {
    const answer = await call('GET', `${url}/v2/${REPOSITORY}/manifests/${tag}`);
    checked += 1;
    if (answer.status === 404 && !knownTags.has(tag)) return;
    expect(answer.status, 200, `GET of tag ${tag}`);
    const found = manifests.find((manifest) => manifest.equals(answer.body));
    if (found === undefined) throw new Error(`tag ${tag} points at a manifest that it should not`);
    knownTags.add(tag);
    promised.tags.set(tag, [found]);
    const { config, layers } = JSON.parse(found.toString()) as {
      config: { digest: string };
      layers: { digest: string }[];
    };
    for (const { digest } of [config, ...layers]) {
      const blob = await call('GET', `${url}/v2/${REPOSITORY}/blobs/${digest}`);
      expect(blob.status, 200, `GET of a blob of tag ${tag}`);
      if (sha256DigestOf(blob.body) !== digest) throw new Error(`wrong bytes for ${digest}`);
      checked += 1;
    }
  }

  /** An upload that was cut goes on from what was acknowledged at least, and becomes its blob. */
  async function goOn(url: string, location: string, upload: { content: number; bytes: number }) {
    const status = await call('GET', `${url}${location}`);
    expect(status.status, 204, `GET of upload ${location}`);
    const size = Number(/^0-(\d+)$/.exec(status.headers['range'] ?? '')?.[1] ?? -1) + 1;
    if (size < upload.bytes)
      throw new Error(`${location}: ${upload.bytes} bytes acknowledged, ${size} there`);
    checked += 1;
    const { bytes, digest, number } = content(upload.content);
    const put = await call('PUT', `${url}${location}?digest=${digest}`, { body: bytes.subarray(size) });
    acknowledge(number, put.status);
    promised.uploads.delete(location);
  }

  async function countLeaked(url: string): Promise<number> {
    expect((await call('POST', `${url}/api/v1/gc`)).status, 200, 'a pass of the collection');
    const root = path.join(options.data, 'blobs', 'sha256');
    let leaked = 0;
    for (const shard of await readdir(root)) {
      for (const hex of await readdir(path.join(root, shard))) {
        const answer = await call('HEAD', `${url}/v2/${REPOSITORY}/blobs/sha256:${hex}`);
        if (answer.status !== 200) leaked += 1;
      }
    }
    return leaked;
  }
}

function sorted(list: readonly number[]): number[] {
  return [...list].sort((one, other) => one - other);
}

/** The bytes of a number, the same in every process: some small, some of several writes. */
function content(number: number) {
  const seed = createHash('sha256').update(`content ${number}`).digest();
  const length = number % 5 === 0 ? 400_000 + seed.readUInt16BE(0) : 1_000 + seed.readUInt16BE(0);
  const bytes = Buffer.alloc(length, seed);
  return { number, bytes, digest: sha256DigestOf(bytes) };
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let item = queue.pop(); item !== undefined; item = queue.pop()) await work(item);
    }),
  );
}

function expect(status: number, wanted: number, what: string): void {
  if (status !== wanted) throw new Error(`${what} answered ${status}, not ${wanted}`);
}
