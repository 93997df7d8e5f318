/** A peer that sends wrong bytes: nobody gets one of them, the blob arrives, the peer is not asked again. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { agentHere, originHere, pull, pushBlob, someBytes, until } from '../support/in-process.ts';
import { metainfoOf } from '../support/metainfo.ts';
import { message, rawSeed } from '../support/raw-peer.ts';

const MIB = 1024 * 1024;
const SIZE = 6 * MIB;
const PIECE_MESSAGE = 7;

t.test('a peer sends bad pieces', async (t) => {
  // So slow that the liar, which the tracker names too, is asked as well.
  const origin = await originHere(t, { uploadRateBytesPerSecond: 2 * MIB });
  const agent = await agentHere(t, [origin.url], {
    fallback: { minRateBytesPerSecond: 0, stallMs: 10_000, firstPieceMs: 10_000 },
  });
  const bytes = someBytes(SIZE);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  const metainfo = metainfoOf(bytes);
  // The tracker knows a blob when its torrent is made.
  await until(async () => (await pull(`${origin.url}/v2/team/app/_shoal/torrents/${digest}`)).status === 200);
  const liar = await rawSeed(t, metainfo, ({ piece, offset, length }) =>
    message(PIECE_MESSAGE, [piece, offset], Buffer.alloc(length, 0x5a)),
  );
  const announce = new URLSearchParams({
    peer_id: '-XX0000-liarliarliar',
    port: String(liar.port),
    uploaded: '0',
    downloaded: '0',
    left: '0',
    event: 'started',
    compact: '1',
  });
  const hash = metainfo.infoHash.replace(/../g, '%$&');
  const announced = await fetch(`${origin.url}/announce?info_hash=${hash}&${announce}`);
  t.notMatch(await announced.text(), /failure/);

  const answer = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
  t.ok(answer.bytes.equals(bytes), 'the client notices nothing');
  t.ok(liar.requests > 0, `the liar was asked ${liar.requests} times`);
  t.ok((await agent.metric('shoal_pieces_rejected_total')) > 0, 'and counted');
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  const files = await readdir(agent.data, { recursive: true });
  const file = files.find((entry) => path.basename(entry) === digest.slice('sha256:'.length)) ?? '';
  t.ok((await readFile(path.join(agent.data, file))).equals(bytes), 'what is stored is right');

  t.equal(liar.connections, 1, 'banned: it was not dialled again');
});
