/** The store on S3, against Ceph's object gateway: the contract of all stores, and what only S3 has. */
import { PassThrough, Readable } from 'node:stream';
import {
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import t from 'tap';
import { type Digest, parseDigest } from '#oci';
import { content, contentDigest, digestOf } from '../support/content.ts';
import { startS3Server } from '../support/s3-server.ts';
import { openTestS3Store, type TestS3Store } from '../support/s3-store.ts';
import { blobStoreContract } from '../unit/blobs/contract.ts';

const server = await startS3Server(t);
const SIZE = 6 * 1024 ** 2;

async function put(store: TestS3Store, seed: number, size = SIZE): Promise<Digest> {
  const writer = await store.blobs.createWriter();
  await writer.append(Readable.from(content(seed, size)));
  const digest = parseDigest(contentDigest(seed, size));
  await writer.commit(digest);
  return digest;
}

const keyOf = (digest: Digest): string => {
  const hex = digest.slice('sha256:'.length);
  return `some/where/sha256/${hex.slice(0, 2)}/${hex}`;
};

async function keys({ bucket: Bucket }: TestS3Store): Promise<string[]> {
  const { Contents = [] } = await server.client.send(new ListObjectsV2Command({ Bucket }));
  return Contents.map(({ Key = '' }) => Key);
}

blobStoreContract(t, 's3', (t) => openTestS3Store(t, server));

t.test('the parts of an upload that was cut off are removed at the next start', async (t) => {
  const store = await openTestS3Store(t, server);
  const target = { Bucket: store.bucket, Key: 'some/where/sha256/aa/left' };
  const { UploadId } = await server.client.send(new CreateMultipartUploadCommand(target));
  await server.client.send(new UploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: 'x' }));
  const foreign = { Bucket: store.bucket, Key: 'elsewhere/upload' };
  await server.client.send(new CreateMultipartUploadCommand(foreign));
  await store.reopen();
  let left: string[] = [];
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const { Uploads = [] } = await server.client.send(
      new ListMultipartUploadsCommand({ Bucket: store.bucket }),
    );
    left = Uploads.map(({ Key = '' }) => Key);
    if (left.length === 1) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.same(left, [foreign.Key], 'and nobody else’s');
});

t.test('an object that changed in the bucket is set aside before a byte is served', async (t) => {
  const store = await openTestS3Store(t, server);
  const digest = await put(store, 1);
  const reader = await store.blobs.open(digest);
  const target = { Bucket: store.bucket, Key: keyOf(digest) };
  await server.client.send(new PutObjectCommand({ ...target, Body: Buffer.alloc(SIZE) }));
  await t.rejects(reader?.read(0, Buffer.alloc(10)) ?? Promise.resolve(), { code: 'not-found' });
  await reader?.close();
  t.equal(await store.blobs.open(digest), undefined);
  t.match(await keys(store), [/^some\/where\/quarantine\//]);
  await put(store, 1);
  t.match(await store.blobs.stat(digest), { size: SIZE }, 'it can be stored again');
  t.equal(await store.blobs.verify(digest), 'good');
  await server.client.send(new PutObjectCommand({ ...target, Body: Buffer.alloc(SIZE) }));
  t.equal(await store.blobs.verify(digest), 'damaged');
  t.equal(await store.blobs.verify(digest), 'missing');
  await put(store, 1);
  await server.client.send(new DeleteObjectCommand(target));
  await store.reopen();
  t.equal(await store.blobs.stat(digest), undefined, 'an object that is gone is not vouched for');
  t.same(store.blobs.totals(), { blobs: 0, bytes: 0 });
});

t.test('a blob that was copied into the bucket is found, and is listed over several pages', async (t) => {
  const store = await openTestS3Store(t, server);
  const body = Buffer.concat([...content(2, 1000)]);
  const digest = parseDigest(contentDigest(2, 1000));
  await server.client.send(new PutObjectCommand({ Bucket: store.bucket, Key: keyOf(digest), Body: body }));
  t.match(await store.blobs.stat(digest), { size: 1000 });
  t.same(store.blobs.totals(), { blobs: 1, bytes: 1000 });
  const names = Array.from({ length: 1100 }, (_, index) => index.toString(16).padStart(64, '0'));
  for (let at = 0; at < names.length; at += 50) {
    await Promise.all(
      names.slice(at, at + 50).map((hex) => {
        const Key = keyOf(parseDigest(`sha256:${hex}`));
        return server.client.send(new PutObjectCommand({ Bucket: store.bucket, Key, Body: 'x' }));
      }),
    );
  }
  let listed = 0;
  for await (const _ of store.blobs.list()) listed += 1;
  t.equal(listed, 1101);
});

t.test('a bucket that cannot be used is told at the start, and no secret is logged', async (t) => {
  const missing = openTestS3Store(t, server, { bucket: 'no-such-bucket' });
  await t.rejects(missing, { code: 'unavailable', message: /does not exist.*storage\.s3\.bucket/ });
  const nowhere = openTestS3Store(t, server, { endpoint: 'http://127.0.0.1:9' });
  await t.rejects(nowhere, { code: 'unavailable', message: /ECONNREFUSED/ });
  const bucket = await server.newBucket();
  process.env['AWS_SECRET_ACCESS_KEY'] = 'wrong-secret';
  const refused = await openTestS3Store(t, server, { bucket }).catch((error: unknown) => error);
  process.env['AWS_SECRET_ACCESS_KEY'] = server.secretAccessKey;
  t.match(refused, { code: 'unavailable', message: /SignatureDoesNotMatch.*credentials/ });
  t.notMatch(JSON.stringify(refused, Object.getOwnPropertyNames(refused)), /wrong-secret|SHOALTEST/);
});

t.test('closing the store in the middle of a commit keeps the upload', async (t) => {
  const store = await openTestS3Store(t, server);
  const writer = await store.blobs.createWriter();
  const size = 40 * 1024 ** 2;
  await writer.append(Readable.from(content(3, size)).pipe(new PassThrough()));
  const digest = parseDigest(contentDigest(3, size));
  const committing = writer.commit(digest).then(
    () => 'done',
    (error: { code?: string }) => error.code,
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  await store.reopen();
  if ((await committing) !== 'done') {
    const again = await store.blobs.resumeWriter(writer.id);
    t.equal(again?.size, size);
    await again?.commit(digest);
  }
  const reader = await store.blobs.open(digest);
  t.equal(reader && (await digestOf(reader.stream())).digest, digest);
  await reader?.close();
});
