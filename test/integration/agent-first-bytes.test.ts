/** The first bytes of a cold blob reach the client while its first piece still arrives, and only checked ones do. */
import { once } from 'node:events';
import { createServer, get, request as httpRequest, type ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import { parseMetainfo } from '#torrent';
import { agentHere, originHere, pull, pushBlob, someBytes } from '../support/in-process.ts';
import { listenHere } from '../support/listen.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const LEAF = 16 * KIB;

interface Gate {
  readonly url: string;
  /** Lets the rest of the first body through. */
  open(): void;
  /** Ends with the first body's connection cut instead. */
  cut(): void;
}

/** Passes everything on to an origin, but stops in the first body of a blob, after `bytes`, changed by `change`. */
async function gateBefore(
  t: Test,
  origin: string,
  bytes: number,
  change: (body: Buffer) => Buffer = (body) => body,
): Promise<Gate> {
  const opened = Promise.withResolvers<void>();
  let stopped: ServerResponse | undefined;
  const server = createServer((request, response) => {
    const { method, headers, url = '' } = request;
    const onwards = httpRequest(origin + url, { method, headers }, async (answer) => {
      const parts: Buffer[] = [];
      for await (const part of answer as AsyncIterable<Buffer>) parts.push(part);
      let body = Buffer.concat(parts);
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      if (method === 'GET' && url.includes('/blobs/') && stopped === undefined) {
        stopped = response;
        body = change(body) as typeof body;
        response.write(body.subarray(0, bytes));
        await opened.promise;
        body = body.subarray(bytes);
      }
      response.end(body);
    });
    onwards.on('error', () => response.destroy());
    request.pipe(onwards);
  });
  return {
    url: await listenHere(t, server),
    open: opened.resolve,
    cut() {
      stopped?.destroy();
      opened.resolve();
    },
  };
}

/** A client that says when it has so many bytes. */
async function read(url: string): Promise<{ upTo(bytes: number): Promise<Buffer>; all(): Promise<Buffer> }> {
  const request = get(url);
  const [answer] = (await once(request, 'response')) as [AsyncIterable<Buffer>];
  const chunks = answer[Symbol.asyncIterator]();
  let got = Buffer.alloc(0);
  const upTo = async (bytes: number): Promise<Buffer> => {
    while (got.length < bytes) {
      const { value, done } = await chunks.next();
      if (done) break;
      got = Buffer.concat([got, value]);
    }
    return got;
  };
  return { upTo, all: () => upTo(Number.POSITIVE_INFINITY) };
}

/** The bytes come over HTTP alone. */
const OUT_OF_THE_SWARM = { peerListen: 'off', bittorrentListen: 'off' } as const;

t.test('leaves are passed on as they come, to every client that follows', async (t) => {
  const origin = await originHere(t, OUT_OF_THE_SWARM);
  const bytes = someBytes(2 * MIB + 5);
  const digest = await pushBlob(origin.url, 'a', bytes);
  const gate = await gateBefore(t, origin.url, 3 * LEAF + 100);
  const agent = await agentHere(t, [gate.url]);
  const clients = await Promise.all([1, 2].map(() => read(`${agent.url}/v2/a/blobs/${digest}`)));
  for (const client of clients) {
    const got = await client.upTo(3 * LEAF);
    t.equal(got.length, 3 * LEAF, 'whole leaves, and nothing of the next');
    t.ok(got.equals(bytes.subarray(0, 3 * LEAF)));
  }
  gate.open();
  for (const client of clients) t.ok((await client.all()).equals(bytes));
  t.equal(await agent.metric('shoal_mirror_bytes_total', { source: 'origin' }), 2 * bytes.length);
  t.equal(await agent.metric('shoal_pieces_rejected_total'), 0);
});

t.test('a wrong leaf stops them; the client gets the right bytes later', async (t) => {
  const origin = await originHere(t, OUT_OF_THE_SWARM);
  const bytes = someBytes(2 * MIB);
  const digest = await pushBlob(origin.url, 'a', bytes);
  const gate = await gateBefore(t, origin.url, 200 * KIB, (body) => {
    const changed = Buffer.from(body);
    changed[LEAF + 1] = (changed[LEAF + 1] ?? 0) ^ 1;
    return changed;
  });
  const agent = await agentHere(t, [gate.url]);
  const client = await read(`${agent.url}/v2/a/blobs/${digest}`);
  t.equal((await client.upTo(LEAF)).length, LEAF);
  gate.open();
  t.ok((await client.all()).equals(bytes));
  t.ok((await agent.metric('shoal_pieces_rejected_total')) >= 1);
});

t.test('the connection is cut within the first piece: the client goes on where it was', async (t) => {
  const origin = await originHere(t, OUT_OF_THE_SWARM);
  const bytes = someBytes(MIB);
  const digest = await pushBlob(origin.url, 'a', bytes);
  const gate = await gateBefore(t, origin.url, 5 * LEAF);
  const agent = await agentHere(t, [gate.url]);
  const client = await read(`${agent.url}/v2/a/blobs/${digest}`);
  t.equal((await client.upTo(5 * LEAF)).length, 5 * LEAF);
  gate.cut();
  t.ok((await client.all()).equals(bytes));
});

t.test('the origin tells the leaf hashes of blobs of more than one piece', async (t) => {
  const origin = await originHere(t);
  for (const [size, leaves] of [
    [256 * KIB, undefined],
    [256 * KIB + 1, 16],
    [17 * MIB, 32],
  ] as const) {
    const digest = await pushBlob(origin.url, 'a', someBytes(size));
    const { bytes } = await pull(`${origin.url}/v2/a/_shoal/torrents/${digest}`);
    t.equal(parseMetainfo(bytes).firstLeaves?.length, leaves && leaves * 32, `${size} bytes`);
  }
});
