import { Level } from 'level';
import t, { type Test } from 'tap';
import { createLevelMetadataStore } from '../../../origin/metadata/level.ts';
import type { MetadataStore } from '../../../origin/metadata/port.ts';
import { metadataContract } from './metadata-contract.ts';

metadataContract(t, async (t: Test) => {
  const folder = t.testdir();
  let db: Level<string, Uint8Array>;
  const open = async (): Promise<MetadataStore> => {
    db = new Level<string, Uint8Array>(folder, { valueEncoding: 'view' });
    await db.open();
    return createLevelMetadataStore(db);
  };
  t.teardown(() => db.close());
  return {
    store: await open(),
    async reopen() {
      await db.close();
      return open();
    },
  };
});
