/** Reads through chunks: whatever the server does in between, the bytes are right or the error is clear. */
import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import { BlobStoreError } from '#blobs';
import type { Bucket } from '../../../src/blobs/s3/bucket.ts';
import { type CachedObject, createChunks } from '../../../src/blobs/s3/chunks.ts';

const CHUNK = 32;
/** Of room; what is asked for at the same time needs more. */
const MOST = 4;

/** How the server answers a request: all of it in parts, or less, or more, or not at all. */
interface Behaviour {
  readonly parts: readonly number[];
  readonly fault: 'none' | 'gone' | 'down' | 'cut' | 'error' | 'long';
  /** Bytes that pass before the fault. */
  readonly after: number;
}

const behaviour: fc.Arbitrary<Behaviour> = fc.record({
  parts: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 4 }),
  fault: fc.constantFrom('none', 'none', 'gone', 'down', 'cut', 'error', 'long'),
  after: fc.nat(40),
});

const contentOf = (object: number, size: number): Buffer =>
  Buffer.from(Array.from({ length: size }, (_, at) => (at * 31 + object * 7 + (at >> 5)) % 251));

/** Answers as `plan` says until it is well, and then as it should. */
function serverOf(contents: readonly Buffer[], plan: readonly Behaviour[]) {
  let asked = 0;
  const server = {
    running: 0,
    most: 0,
    well: false,
    async get(key: string, _etag: string, range: { start: number; end: number }): Promise<Readable> {
      const next = server.well ? undefined : plan[asked++];
      const { parts, fault, after } = next ?? { parts: [CHUNK], fault: 'none', after: 0 };
      await turn();
      if (fault === 'gone') throw new BlobStoreError('not-found', 'gone');
      if (fault === 'down') throw new BlobStoreError('unavailable', 'down');
      const whole = contents[Number(key)]?.subarray(range.start, range.end + 1) ?? Buffer.alloc(0);
      const body = fault === 'long' ? Buffer.concat([whole, Buffer.from('more')]) : whole;
      const end = fault === 'cut' || fault === 'error' ? Math.min(after, body.length) : body.length;
      server.running += 1;
      server.most = Math.max(server.most, server.running);
      async function* send(): AsyncGenerator<Buffer> {
        for (let at = 0, next = 0; at < end; next += 1) {
          const size = Math.min(parts[next % parts.length] ?? 1, end - at);
          yield body.subarray(at, at + size);
          at += size;
          await turn();
        }
        if (fault === 'error') throw new Error('ECONNRESET');
      }
      return Readable.from(send()).once('close', () => {
        server.running -= 1;
      });
    },
  };
  return server satisfies Pick<Bucket, 'get'> & { running: number; most: number; well: boolean };
}

const scenario = fc.record({
  sizes: fc.array(fc.integer({ min: 1, max: 9 * CHUNK }), { minLength: 1, maxLength: 3 }),
  plan: fc.array(behaviour, { maxLength: 30 }),
  /** Object, where, how long; those of one list at the same time. */
  reads: fc.array(fc.array(fc.tuple(fc.nat(2), fc.nat(), fc.nat()), { minLength: 1, maxLength: 8 }), {
    minLength: 1,
    maxLength: 4,
  }),
});

const objectsOf = (sizes: readonly number[]): { contents: Buffer[]; objects: CachedObject[] } => ({
  contents: sizes.map((size, index) => contentOf(index, size)),
  objects: sizes.map((size, index) => ({ key: String(index), etag: '"e"', size })),
});

t.test('any sizes, orders and failures: the right bytes or the reason, and no room is lost', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async ({ sizes, plan, reads }) => {
      const { contents, objects } = objectsOf(sizes);
      const server = serverOf(contents, plan);
      const chunks = createChunks(server, MOST * CHUNK, CHUNK);
      const read = async (index: number, position: number, length: number): Promise<void> => {
        const into = Buffer.alloc(length, 0xff);
        await chunks.read(objects[index] as CachedObject, position, into);
        if (!contents[index]?.subarray(position, position + length).equals(into)) {
          throw new Error(`wrong bytes of ${index} at ${position}, ${length} long`);
        }
      };
      for (const group of reads) {
        const results = await Promise.allSettled(
          group.map(async ([object, where, long]) => {
            const index = object % sizes.length;
            const position = where % (sizes[index] ?? 1);
            await read(index, position, long % ((sizes[index] ?? 1) - position + 1));
          }),
        );
        for (const result of results) {
          if (result.status === 'fulfilled') continue;
          const { code } = result.reason as BlobStoreError;
          if (code !== 'unavailable' && code !== 'not-found') throw result.reason;
        }
      }
      server.well = true;
      // What still loads may fail once more.
      for (const [index, size] of sizes.entries()) await read(index, 0, size).catch(() => undefined);
      for (const [index, size] of sizes.entries()) await read(index, 0, size);
      if (server.most > MOST) throw new Error(`${server.most} chunks were loading at once`);
    }),
    { numRuns: 300 },
  );
});

t.test('closing ends every read, and starts none', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, fc.nat(20), async ({ sizes, plan, reads }, turns) => {
      const { contents, objects } = objectsOf(sizes);
      const chunks = createChunks(serverOf(contents, plan), MOST * CHUNK, CHUNK);
      const running = reads.flat().map(([object, where]) => {
        const of = objects[object % sizes.length] as CachedObject;
        const position = where % of.size;
        return chunks.read(of, position, Buffer.alloc(of.size - position));
      });
      const settled = Promise.allSettled(running);
      for (let at = 0; at < turns; at += 1) await turn();
      chunks.close();
      for (const result of await settled) {
        if (result.status === 'rejected' && !(result.reason instanceof BlobStoreError)) throw result.reason;
      }
      await t.rejects(chunks.read({ ...(objects[0] as CachedObject), etag: '"new"' }, 0, Buffer.alloc(1)), {
        code: 'closed',
      });
    }),
    { numRuns: 50 },
  );
});

t.test('memory is what was allowed, however much is read', async (t) => {
  const size = 64 * 1024 ** 2;
  const part = Buffer.alloc(64 * 1024, 7);
  const server: Pick<Bucket, 'get'> = {
    async get(_key, _etag, { start, end }) {
      const left = { bytes: end + 1 - start };
      return new Readable({
        read() {
          const next = Math.min(part.length, left.bytes);
          left.bytes -= next;
          this.push(next === 0 ? null : part.subarray(0, next));
        },
      });
    },
  };
  const chunks = createChunks(server, 2 * 1024 ** 2, 256 * 1024);
  const into = Buffer.alloc(16_384);
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  for (let at = 0; at < size; at += into.length) {
    await chunks.read({ key: 'k', etag: '"e"', size }, at, into);
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  chunks.close();
  t.ok(most <= 4 * 1024 ** 2, `${most} bytes of buffers for 64 MiB read`);
});
