import { Level } from 'level';
import t, { type Test } from 'tap';
import { createLevelMetadataStore } from '../../../origin/metadata/level.ts';
import type { MetadataStore } from '../../../origin/metadata/port.ts';
import { collectionContract } from './collection-contract.ts';
import { metadataContract } from './metadata-contract.ts';

async function openWithClock(t: Test) {
  const folder = t.testdir();
  const clock = { now: 1_700_000_000_000 };
  let db: Level<string, Uint8Array>;
  const open = async (): Promise<MetadataStore> => {
    db = new Level<string, Uint8Array>(folder, { valueEncoding: 'view' });
    await db.open();
    return createLevelMetadataStore(db, { leaseMs: 1_000, now: () => clock.now });
  };
  t.teardown(() => db.close());
  return {
    store: await open(),
    clock,
    async reopen() {
      await db.close();
      return open();
    },
  };
}

metadataContract(t, openWithClock);
collectionContract(t, openWithClock);
