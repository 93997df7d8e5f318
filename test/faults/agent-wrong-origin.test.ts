/** An origin that lies: no wrong byte is kept, and no client ever gets all of a wrong blob. */
import { createServer } from 'node:http';
import t, { type Test } from 'tap';
import { sha256DigestOf } from '#oci';
import { createMetainfo, encodeMetainfo } from '#torrent';
import { agentHere, pull, someBytes } from '../support/in-process.ts';
import { listenHere } from '../support/listen.ts';
import { metainfoOf } from '../support/metainfo.ts';

const MIB = 1024 * 1024;
const SIZE = 3 * MIB + 5;

/** Serves `served` as the blob whose metainfo is `torrent`, by range, and nothing else. */
async function lyingOrigin(t: Test, torrent: Buffer, served: Buffer): Promise<string> {
  const server = createServer((request, response) => {
    if (request.url === '/v2/') {
      response.writeHead(200, { 'shoal-access': 'open' }).end('{}');
      return;
    }
    if (request.url?.includes('/_shoal/torrents/')) {
      response.end(torrent);
      return;
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    if (!request.url?.includes('/blobs/') || !range) {
      response.writeHead(404).end();
      return;
    }
    const [start, end] = [Number(range[1]), Number(range[2])];
    response.writeHead(206, { 'content-range': `bytes ${start}-${end}/${served.length}` });
    response.end(served.subarray(start, end + 1));
  });
  return listenHere(t, server);
}

const fallback = { stallMs: 300, firstPieceMs: 100, progressDeadlineMs: 5_000 };

t.test('pieces that are right of a blob that is wrong', async (t) => {
  const bytes = someBytes(SIZE);
  const digest = sha256DigestOf(someBytes(10));
  const torrent = encodeMetainfo(createMetainfo({ digest, length: SIZE, pieces: metainfoOf(bytes).pieces }));
  const agent = await agentHere(t, [await lyingOrigin(t, torrent, bytes)], {
    peerListen: 'off',
    bittorrentListen: 'off',
    fallback,
  });
  const url = `${agent.url}/v2/team/app/blobs/${digest}`;
  const answer = await fetch(url);
  t.equal(answer.status, 200);
  let received = 0;
  await t.rejects(async () => {
    for await (const chunk of answer.body ?? []) received += chunk.length;
  }, 'the connection is cut');
  t.ok(received < SIZE, `${received} of ${SIZE} bytes`);
  t.equal(await agent.metric('shoal_cache_blobs'), 0);
  const resumed = await pull(url, { range: `bytes=${received}-` });
  t.equal(resumed.status, 503, 'it is not tried again at once');
});

t.test('pieces that are wrong', async (t) => {
  const bytes = someBytes(SIZE);
  const digest = sha256DigestOf(bytes);
  const torrent = encodeMetainfo(createMetainfo({ digest, length: SIZE, pieces: metainfoOf(bytes).pieces }));
  const damaged = Buffer.from(bytes);
  const at = MIB + 17;
  damaged.writeUInt8(damaged.readUInt8(at) ^ 1, at);
  const agent = await agentHere(t, [await lyingOrigin(t, torrent, damaged)], {
    peerListen: 'off',
    bittorrentListen: 'off',
    fallback,
  });
  const answer = await fetch(`${agent.url}/v2/team/app/blobs/${digest}`);
  const received: Uint8Array[] = [];
  await t.rejects(async () => {
    for await (const chunk of answer.body ?? []) received.push(chunk);
  }, 'the connection is cut');
  const got = Buffer.concat(received);
  t.ok(got.length <= MIB, 'nothing of the wrong piece was sent');
  t.ok(got.equals(bytes.subarray(0, got.length)));
  t.ok((await agent.metric('shoal_pieces_rejected_total')) > 0);
});
