/** A blob store of a test's own, with what a program would give it. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Level } from 'level';
import type { Test } from 'tap';
import { type DownloadStore, openBlobStore } from '#blobs';
import { createHashing, type Hashing } from '#hashing';
import { createLogger } from '#telemetry';

export interface TestStore {
  readonly root: string;
  readonly hashing: Hashing;
  blobs: DownloadStore;
  level: Level<string, Uint8Array>;
  /** Closes everything and opens it again from the same folder, as a restart does. */
  reopen(): Promise<void>;
}

export async function openTestStore(t: Test, given?: string): Promise<TestStore> {
  const root = given ?? (await mkdtemp(path.join(os.tmpdir(), 'shoal-store-')));
  const hashing = createHashing({ threads: 1 });
  const log = createLogger({ program: 'test', level: 'silent' });
  const open = async (): Promise<Pick<TestStore, 'blobs' | 'level'> & { close(): Promise<void> }> => {
    const level = new Level<string, Uint8Array>(path.join(root, 'db'), { valueEncoding: 'view' });
    const blobs = await openBlobStore({ root: path.join(root, 'blobs'), level, hashing, log });
    await blobs.counted;
    return {
      blobs,
      level,
      async close() {
        await blobs.close();
        await level.close();
      },
    };
  };
  let opened = await open();
  const store: TestStore = {
    root,
    hashing,
    blobs: opened.blobs,
    level: opened.level,
    async reopen() {
      await opened.close();
      opened = await open();
      store.blobs = opened.blobs;
      store.level = opened.level;
    },
  };
  t.teardown(async () => {
    await opened.close();
    await hashing.close();
    await rm(root, { recursive: true, force: true });
  });
  return store;
}
