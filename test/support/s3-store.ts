/** A blob store on a bucket of a test's own. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Level } from 'level';
import type { Test } from 'tap';
import { type BlobStore, openS3BlobStore, type S3Options } from '#blobs';
import { createHashing } from '#hashing';
import { createLogger, type Logger } from '#telemetry';
import type { S3Server } from './s3-server.ts';

export interface TestS3Store {
  readonly bucket: string;
  readonly root: string;
  blobs: BlobStore;
  /** Closes everything and opens it again, as a restart does. */
  reopen(): Promise<void>;
}

export async function openTestS3Store(
  t: Test,
  server: S3Server,
  given: Partial<S3Options> & { readonly log?: Logger } = {},
): Promise<TestS3Store> {
  const root = await mkdtemp(path.join(os.tmpdir(), 'shoal-s3-store-'));
  const hashing = createHashing({ threads: 1 });
  const { log = createLogger({ program: 'test', level: 'silent' }), ...options } = given;
  const bucket = options.bucket ?? (await server.newBucket());
  const s3: S3Options = {
    ...{ bucket, prefix: 'some/where', region: 'default', endpoint: server.endpoint },
    ...{ addressing: 'path', partBytes: 5 * 1024 ** 2, cacheBytes: 32 * 1024 ** 2, ...options },
  };
  const open = async (): Promise<{ blobs: BlobStore; close(): Promise<void> }> => {
    const level = new Level<string, Uint8Array>(path.join(root, 'db'), { valueEncoding: 'view' });
    t.teardown(() => level.close());
    const blobs = await openS3BlobStore({ uploads: path.join(root, 'uploads'), s3, level, hashing, log });
    await blobs.counted;
    return {
      blobs,
      async close() {
        await blobs.close();
        await level.close();
      },
    };
  };
  t.teardown(async () => {
    await hashing.close();
    await rm(root, { recursive: true, force: true });
  });
  let opened = await open();
  t.teardown(() => opened.close());
  const store: TestS3Store = {
    ...{ bucket, root, blobs: opened.blobs },
    async reopen() {
      await opened.close();
      opened = await open();
      store.blobs = opened.blobs;
    },
  };
  return store;
}
