/** Sessions of pushes whose end went wrong, on a real store. */
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { Readable } from 'node:stream';
import t from 'tap';
import { parseRepositoryName, sha256DigestOf } from '#oci';
import { createLogger } from '#telemetry';
import { createLevelMetadataStore } from '../../../origin/metadata/level.ts';
import { createUploadSessions } from '../../../origin/registry/upload-sessions.ts';
import { openTestStore } from '../../support/store.ts';

const name = parseRepositoryName('a');

t.test('an upload whose blob was stored but not linked is begun anew, not stuck', async (t) => {
  const { blobs, level } = await openTestStore(t);
  const metadata = createLevelMetadataStore(level, { leaseMs: 1000, now: Date.now });
  const log = createLogger({ program: 'test', level: 'silent' });
  const sessions = createUploadSessions({ blobs, metadata, log });
  const request = new IncomingMessage(new Socket());
  const bytes = Buffer.from('pushed');
  const id = await sessions.begin(name);
  const failed = sessions.use(name, id, request, async (writer) => {
    await writer.append(Readable.from([bytes]));
    await writer.commit(sha256DigestOf(bytes));
    throw new Error('the link was not written');
  });
  await t.rejects(failed, { message: 'the link was not written' });
  const again = sessions.use(name, id, request, async (writer) => writer.size);
  await t.rejects(again, { code: 'BLOB_UPLOAD_UNKNOWN' }, 'the client begins another, which finds the bytes');
  t.equal(await metadata.upload(id), undefined);

  const other = await sessions.begin(name);
  const broken = sessions.use(name, other, request, async (writer) => {
    await writer.append(Readable.from([bytes]));
    throw new Error('the connection was lost');
  });
  await t.rejects(broken, { message: 'the connection was lost' });
  t.equal(await sessions.size(name, other), bytes.length, 'others go on where they were');
  await sessions.close();
  await metadata.close();
});
