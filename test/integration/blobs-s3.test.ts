/** The store on S3, against Ceph's object gateway: the contract of all stores, and what only S3 has. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import {
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import t, { type Test } from 'tap';
import { type Digest, digestOf as digestOfBytes, parseDigest, sha256DigestOf } from '#oci';
import { content, contentDigest, digestOf } from '../support/content.ts';
import { MANIFEST, pushBlob, putManifest, testOrigin } from '../support/origin.ts';
import { startS3Server } from '../support/s3-server.ts';
import { openTestS3Store, type TestS3Store } from '../support/s3-store.ts';
import { blobStoreContract } from '../unit/blobs/contract.ts';

const server = await startS3Server(t);
const OWNER = 'shoal-origin.json';
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
  return Contents.map(({ Key = '' }) => Key).filter((key) => !key.endsWith(OWNER));
}

/** Passes connections on to the server until it is cut, as a network does. */
async function cuttableWay(t: Test) {
  const { port, hostname } = new URL(server.endpoint);
  const sockets = new Set<net.Socket>();
  let open = true;
  const gate = net.createServer((client) => {
    const upstream = net.connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    if (open) client.pipe(upstream).pipe(client);
    else client.destroy();
  });
  await once(gate.listen(0, '127.0.0.1'), 'listening');
  const cut = (): void => {
    open = false;
    for (const socket of sockets) socket.destroy();
  };
  t.teardown(() => {
    cut();
    gate.close();
  });
  return {
    endpoint: `http://127.0.0.1:${(gate.address() as net.AddressInfo).port}`,
    cut,
    mend(): void {
      open = true;
    },
  };
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

t.test('a blob that was deleted while it was read is none after a restart either', async (t) => {
  const store = await openTestS3Store(t, server);
  const digest = await put(store, 5);
  const reader = await store.blobs.open(digest);
  await store.blobs.delete(digest);
  await store.blobs.delete(digest);
  const first = Buffer.alloc(10);
  await reader?.read(SIZE - 10, first);
  t.same(await keys(store), [keyOf(digest)], 'its reader keeps the object');
  await store.reopen();
  const [opened, known] = await Promise.all([store.blobs.open(digest), store.blobs.stat(digest)]);
  t.same([opened, known], [undefined, undefined], 'from the first request on');
  t.same(store.blobs.totals(), { blobs: 0, bytes: 0 });
  for await (const found of store.blobs.list()) t.fail(`${found.digest} is listed`);
  for (let left = await keys(store); left.length > 0; left = await keys(store)) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await put(store, 5);
  await store.reopen();
  t.match(await store.blobs.stat(digest), { size: SIZE }, 'pushed again it is there');
});

t.test('blobs of both algorithms are listed', async (t) => {
  const store = await openTestS3Store(t, server);
  const bytes = randomBytes(1000);
  const digests = [sha256DigestOf(bytes), digestOfBytes('sha512', bytes)];
  for (const digest of digests) {
    const writer = await store.blobs.createWriter();
    await writer.append(Readable.from([bytes]));
    await writer.commit(digest);
  }
  const listed = [];
  for await (const { digest } of store.blobs.list()) listed.push(digest);
  t.same(listed.sort(), digests.sort());
});

t.test('a bucket and prefix are one origin’s; another is told what to do', async (t) => {
  const first = await openTestS3Store(t, server);
  const digest = await put(first, 6, 1000);
  const target = { Bucket: first.bucket, Key: keyOf(digest) };
  await server.client.send(new CreateMultipartUploadCommand(target));
  const refused = await openTestS3Store(t, server, { bucket: first.bucket }).catch((error: unknown) => error);
  t.match(refused, {
    code: 'foreign',
    message: new RegExp(
      `another origin.*since 20.*${first.bucket} below some/where/.*storage.s3.prefix.*${OWNER}`,
    ),
  });
  const { Uploads = [] } = await server.client.send(
    new ListMultipartUploadsCommand({ Bucket: first.bucket }),
  );
  t.equal(Uploads.length, 1, 'nothing of the first was touched');
  await first.reopen();
  t.match(await first.blobs.stat(digest), { size: 1000 }, 'it is still the first’s');

  const whole = await openTestS3Store(t, server, { bucket: first.bucket, prefix: '' });
  t.equal(await whole.blobs.open(digest), undefined, 'a prefix within another’s is a place of its own');
  const heir = { Bucket: first.bucket, Key: `some/where/${OWNER}` };
  await server.client.send(new PutObjectCommand({ ...heir, Body: 'nonsense' }));
  await t.rejects(openTestS3Store(t, server, { bucket: first.bucket }), { message: /an unknown machine/ });
  await server.client.send(new DeleteObjectCommand(heir));
  const second = await openTestS3Store(t, server, { bucket: first.bucket });
  t.match(await second.blobs.stat(digest), { size: 1000 }, 'taken over, with the blobs that are there');
});

t.test('an origin whose S3 is down says so, and goes on when it is back', async (t) => {
  const way = await cuttableWay(t);
  const origin = await testOrigin(t, {
    storage: {
      ...{ bucket: await server.newBucket(), prefix: 'p', region: 'default', endpoint: way.endpoint },
      ...{ addressing: 'path', partBytes: 5 * 1024 ** 2, cacheBytes: 32 * 1024 ** 2 },
    },
  });
  // One piece: the front of a larger blob is read when its torrent is made, and would be served from memory.
  const bytes = randomBytes(200_000);
  const digest = await pushBlob(origin, 'app', bytes);
  const descriptor = { mediaType: 'application/x', digest, size: bytes.length };
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config: descriptor, layers: [] });
  t.equal((await putManifest(origin, 'app', 'v1', manifest)).status, 201);
  const get = (headers = {}) => origin.call('GET', `/v2/app/blobs/${digest}`, { headers });
  way.cut();
  for (const headers of [{}, { range: 'bytes=5-90' }]) {
    const answer = await get(headers);
    t.match([answer.status, answer.errorCode()], [503, 'UNAVAILABLE']);
    t.match(answer.body.toString(), /object storage cannot be used now/);
    t.notMatch(answer.body.toString(), /127\.0\.0\.1|ECONN/, 'no address is told');
    const { etag, 'content-range': range, 'retry-after': retry } = answer.headers;
    t.same([etag, range, retry], [undefined, undefined, '5']);
    t.equal(answer.headers['content-length'], String(answer.body.length));
  }
  const other = randomBytes(1000);
  const pushed = await origin.call('POST', `/v2/app/blobs/uploads/?digest=${sha256DigestOf(other)}`, {
    body: other,
  });
  t.match([pushed.status, pushed.errorCode()], [503, 'UNAVAILABLE']);
  t.equal((await origin.call('GET', '/v2/app/manifests/v1')).status, 200, 'what is local is served');
  way.mend();
  const again = await get();
  t.ok(again.status === 200 && again.body.equals(bytes));
  await pushBlob(origin, 'app', other);
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
