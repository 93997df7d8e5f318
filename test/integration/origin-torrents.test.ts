/** The metainfo of blobs, and the management API beside `/v2`. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { parseMetainfo } from '#torrent';
import { pushBlob, testOrigin } from '../support/origin.ts';

const TORRENT = 'application/x-bittorrent';

t.test('the metainfo of a blob says where its swarm is', async (t) => {
  const origin = await testOrigin(t, { udpListen: { host: '127.0.0.1', port: 0 } });
  const bytes = randomBytes(600_000);
  const digest = await pushBlob(origin, 'library/app', bytes);
  const answer = await origin.call('GET', `/v2/library/app/_shoal/torrents/${digest}`);
  t.same([answer.status, answer.headers['content-type']], [200, TORRENT]);
  const metainfo = parseMetainfo(answer.body);
  const { udpAddress, bittorrentAddress, peerAddress } = origin.origin;
  const { port, peerId } = peerAddress ?? {};
  t.match(metainfo, { digest, length: bytes.length, pieceLength: 256 * 1024 });
  t.same(metainfo.sources, {
    announce: [`${origin.url}/announce`, `udp://127.0.0.1:${udpAddress?.port}/announce`],
    webSeeds: [`${origin.url}/v2/library/app/blobs/${digest}`],
    peers: [{ host: '127.0.0.1', port: bittorrentAddress?.port, libp2p: { port, peerId } }],
  });
  const seed = await origin.call('GET', new URL(metainfo.sources.webSeeds[0] ?? '').pathname);
  t.ok(seed.body.equals(bytes));

  const head = await origin.call('HEAD', `/v2/library/app/_shoal/torrents/${digest}`);
  t.same([head.status, head.headers['content-length']], [200, String(answer.body.length)]);
  const known = await origin.call('GET', `/api/v1/torrents/${metainfo.infoHash}`);
  t.same(known.json(), {
    digest,
    size: bytes.length,
    peers: [`127.0.0.1:${bittorrentAddress?.port}`, `/ip4/127.0.0.1/tcp/${port}/p2p/${peerId}`],
  });
});

t.test('the base is the public URL, or the Host that the client used', async (t) => {
  const origin = await testOrigin(t, { advertise: 'seed.test' });
  const digest = await pushBlob(origin, 'a', randomBytes(1000));
  const announceFor = async (host: string): Promise<string | undefined> => {
    const answer = await origin.call('GET', `/v2/a/_shoal/torrents/${digest}`, { headers: { host } });
    return parseMetainfo(answer.body).sources.announce[0];
  };
  t.equal(await announceFor('registry.test:8443'), 'http://registry.test:8443/announce');
  t.equal(await announceFor('[::1]:5000'), 'http://[::1]:5000/announce');
  for (const host of ['evil/../x', 'a b', 'user@host', 'host:99999', '-x', 'x'.repeat(300)]) {
    t.equal(await announceFor(host), `http://seed.test:${origin.origin.address.port}/announce`, host);
  }
  const fixed = await testOrigin(t, { publicUrl: 'https://registry.example.test/' });
  const other = await pushBlob(fixed, 'a', randomBytes(1000));
  const { sources } = parseMetainfo((await fixed.call('GET', `/v2/a/_shoal/torrents/${other}`)).body);
  t.same(sources.announce, ['https://registry.example.test/announce']);
  t.same(sources.webSeeds, [`https://registry.example.test/v2/a/blobs/${other}`]);
});

t.test('a torrent is for whoever may read the blob', async (t) => {
  const origin = await testOrigin(t);
  const digest = await pushBlob(origin, 'a', randomBytes(1000));
  for (const [where, status, code] of [
    [`/v2/b/_shoal/torrents/${digest}`, 404, 'BLOB_UNKNOWN'],
    [`/v2/a/_shoal/torrents/sha256:${'0'.repeat(64)}`, 404, 'BLOB_UNKNOWN'],
    ['/v2/a/_shoal/torrents/sha256:00', 400, 'DIGEST_INVALID'],
  ] as const) {
    const answer = await origin.call('GET', where);
    t.same([answer.status, answer.errorCode()], [status, code], where);
  }
  t.equal((await origin.call('GET', `/v2/x.test/a/_shoal/torrents/${digest}`)).status, 200);
  t.equal((await origin.call('GET', `/v2/a/_shoal/torrents/${digest}?ns=x.test`)).status, 200);
  t.match((await origin.call('GET', '/v2/a/_oci/ext/discover')).json(), {
    extensions: [
      { name: '_shoal', endpoints: ['/v2/a/_shoal/torrents/<digest>', '/v2/a/_shoal/leaves/<digest>'] },
    ],
  });
});

t.test('a deleted blob has no torrent and no swarm', async (t) => {
  const origin = await testOrigin(t);
  const digest = await pushBlob(origin, 'a', randomBytes(1000));
  const { infoHash } = parseMetainfo((await origin.call('GET', `/v2/a/_shoal/torrents/${digest}`)).body);
  t.equal((await origin.call('GET', `/api/v1/torrents/${infoHash}`)).status, 200);
  await origin.call('DELETE', `/v2/a/blobs/${digest}`);
  const gone = await origin.call('GET', `/api/v1/torrents/${infoHash}`);
  t.same([gone.status, gone.headers['content-type']], [404, 'application/problem+json; charset=utf-8']);
  const malformed = await origin.call('GET', '/api/v1/torrents/zz');
  t.equal(malformed.status, 400);
});

t.test('metainfo is the same after a restart, and is made for what lacks it', async (t) => {
  const before = await testOrigin(t);
  const digest = await pushBlob(before, 'a', randomBytes(400_000));
  const first = parseMetainfo((await before.call('GET', `/v2/a/_shoal/torrents/${digest}`)).body);
  const after = await before.restart();
  const second = parseMetainfo((await after.call('GET', `/v2/a/_shoal/torrents/${digest}`)).body);
  t.equal(second.infoHash, first.infoHash);
});

t.test('status, OpenAPI, health', async (t) => {
  const origin = await testOrigin(t);
  await pushBlob(origin, 'a', Buffer.from('hello'));
  t.match((await origin.call('GET', '/api/v1/status')).json(), {
    program: 'origin',
    listen: new URL(origin.url).host,
    bittorrentListen: /^127\.0\.0\.1:\d+$/,
    peerListen: /^\/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\/12D3KooW\w{44}$/,
    blobs: { count: 1, bytes: 5 },
    blobBytes: { in: 5, out: 0 },
    swarm: { openBlobs: 0, peers: [] },
  });
  const document = (await origin.call('GET', '/api/v1/openapi.json')).json() as { paths: object };
  t.match(Object.keys(document.paths), [
    '/api/v1/openapi.json',
    '/api/v1/status',
    '/api/v1/torrents/{infoHash}',
  ]);
  for (const where of ['/healthz', '/readyz', '/metrics', '/v2/', '/v2']) {
    t.equal((await origin.call('GET', where)).status, 200, where);
  }
});
