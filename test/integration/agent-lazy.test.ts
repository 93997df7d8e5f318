/**
 * Small ranges of blobs that the agent does not have. What came from the origin is read from the
 * origin's own metrics.
 */

import { createServer, request as httpRequest } from 'node:http';
import t, { type Test } from 'tap';
import { agentHere, originHere, pull, pushBlob, someBytes, until } from '../support/in-process.ts';
import { listenHere } from '../support/listen.ts';
import { runShoal } from '../support/shoal.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const LEAF = 16 * KIB;
const sent = 'shoal_origin_blob_bytes_total';

t.test('a small range costs little more than its bytes, and starts no download', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const bytes = someBytes(20 * MIB + 77);
  const url = `${agent.url}/v2/a/blobs/${await pushBlob(origin.url, 'a', bytes)}`;
  let asked = 0;
  // Far apart, so that nothing is read ahead.
  for (let start = 100; start + 64 * KIB < bytes.length; start += 2 * MIB + 4321) {
    const range = await pull(url, { range: `bytes=${start}-${start + 64 * KIB - 1}` });
    t.equal(range.status, 206);
    t.equal(range.headers.get('content-range'), `bytes ${start}-${start + 64 * KIB - 1}/${bytes.length}`);
    t.ok(range.bytes.equals(bytes.subarray(start, start + 64 * KIB)));
    asked += 64 * KIB;
  }
  const out = await agent.metric('shoal_fetch_bytes_total');
  // The origin counts what its kernel took, a moment after we have it.
  await until(async () => (await origin.metric(sent, { direction: 'out' })) === out);
  t.ok(out <= 1.5 * asked, `${out} bytes for ${asked}`);
  await until(async () => (await agent.metric('shoal_mirror_bytes_total', { source: 'origin' })) === asked);
  t.equal(await agent.metric('shoal_lazy_reads_total', { from: 'origin' }), asked / (64 * KIB));
  const status = await pull(`${agent.url}/api/v1/status`);
  t.match(JSON.parse(status.bytes.toString()), { downloads: [] });
});

t.test('the agent says what was read lazily', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const digest = await pushBlob(origin.url, 'team/app', someBytes(3_000_000));
  const url = `${agent.url}/v2/team/app/blobs/${digest}`;
  for (const range of ['bytes=100000-165535', 'bytes=100000-165535', 'bytes=2000000-2000099']) {
    t.equal((await pull(url, { range })).status, 206);
  }
  const told = async (): Promise<{ lazyReads: { reads: number }[] }> =>
    (await fetch(`${agent.url}/api/v1/pulls/${digest}`)).json() as Promise<{
      lazyReads: { reads: number }[];
    }>;
  await until(async () => (await told()).lazyReads[0]?.reads === 3);
  t.match((await told()).lazyReads, [
    { digest, repository: 'team/app', reads: 3, fromMemory: 1, bytes: 2 * 65_536 + 100 },
  ]);
  const { stdout, code } = await runShoal(['explain', digest, '--agent', agent.url]);
  t.equal(code, 0);
  t.match(stdout, /what clients read lazily.*\n(?:.*\n)+\S+ +3 +1 +131\.2 kB/);
});

t.test('the edges of ranges', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const bytes = someBytes(MIB + 5);
  const digest = await pushBlob(origin.url, 'a', bytes);
  const url = `${agent.url}/v2/a/blobs/${digest}`;
  const size = bytes.length;
  for (const [range, start, end] of [
    ['bytes=-51', size - 51, size],
    ['bytes=0-0', 0, 1],
    [`bytes=${size - 1}-${size + 500}`, size - 1, size],
    [`bytes=${LEAF - 1}-${LEAF}`, LEAF - 1, LEAF + 1],
    ['bytes=1000-700000', 1000, 700_001],
  ] as const) {
    const answer = await pull(url, { range });
    t.equal(answer.status, 206, range);
    t.equal(answer.headers.get('content-range'), `bytes ${start}-${end - 1}/${size}`);
    t.equal(answer.headers.get('docker-content-digest'), digest);
    t.ok(answer.bytes.equals(bytes.subarray(start, end)), range);
  }
  const beyond = await pull(url, { range: `bytes=${size}-${size + 5}` });
  t.same([beyond.status, beyond.headers.get('content-range')], [416, `bytes */${size}`]);
  const unchanged = await pull(url, { range: 'bytes=0-9', 'if-range': `"${digest}"` });
  t.same([unchanged.status, unchanged.bytes.length], [206, 10]);
  t.equal(await agent.metric('shoal_cache_blobs'), 0, 'nothing was downloaded');
  t.equal((await pull(url, { range: 'bytes=0-9', 'if-none-match': `"${digest}"` })).status, 304);
  t.equal((await pull(url, { range: 'bytes=0-1,5-6' })).status, 400);
});

t.test('reads in a row find what comes next in memory, and readers share what they fetch', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const bytes = someBytes(40 * MIB);
  const url = `${agent.url}/v2/a/blobs/${await pushBlob(origin.url, 'a', bytes)}`;
  const range = `bytes=${30 * MIB}-${30 * MIB + LEAF - 1}`;
  const same = await Promise.all(Array.from({ length: 10 }, () => pull(url, { range })));
  for (const answer of same) t.ok(answer.bytes.equals(bytes.subarray(30 * MIB, 30 * MIB + LEAF)));
  t.equal(await agent.metric('shoal_fetch_bytes_total'), LEAF);
  for (let at = 0; at < 60; at += 1) {
    const start = 8 * MIB + at * 50_000;
    const answer = await pull(url, { range: `bytes=${start}-${start + 49_999}` });
    if (!answer.bytes.equals(bytes.subarray(start, start + 50_000))) t.fail(`wrong bytes at ${start}`);
  }
  t.ok((await agent.metric('shoal_lazy_reads_total', { from: 'memory' })) >= 20);
});

t.test('a blob of which much is read is fetched whole, and lazy reads go on meanwhile', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { lazy: { wholeAfterShare: 0.5 } });
  const bytes = someBytes(4 * MIB);
  const digest = await pushBlob(origin.url, 'a', bytes);
  const url = `${agent.url}/v2/a/blobs/${digest}`;
  const read = async (at: number): Promise<void> => {
    const answer = await pull(url, { range: `bytes=${at * LEAF}-${(at + 1) * LEAF - 1}` });
    t.ok(answer.bytes.equals(bytes.subarray(at * LEAF, (at + 1) * LEAF)), `leaf ${at}`);
  };
  for (let at = 255; at > 150; at -= 1) await read(at);
  t.equal(await agent.metric('shoal_cache_blobs'), 0);
  for (let at = 150; at >= 0; at -= 1) await read(at);
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  await read(7);
  await until(async () => (await agent.metric('shoal_mirror_bytes_total', { source: 'cache' })) > 0);
  t.ok((await pull(url)).bytes.equals(bytes));
});

t.test('nothing is read lazily when that is switched off', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { lazy: { maxRangeBytes: 0 } });
  const bytes = someBytes(MIB);
  const url = `${agent.url}/v2/a/blobs/${await pushBlob(origin.url, 'a', bytes)}`;
  t.ok((await pull(url, { range: 'bytes=5-9' })).bytes.equals(bytes.subarray(5, 10)));
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
});

/** Passes everything on to an origin; `change` may answer with other bytes for a body. */
async function between(
  t: Test,
  origin: string,
  change: (url: string, body: Buffer) => Buffer | undefined,
): Promise<string> {
  const server = createServer((request, response) => {
    const { method, headers, url = '' } = request;
    const onwards = httpRequest(origin + url, { method, headers }, async (answer) => {
      const parts: Buffer[] = [];
      for await (const part of answer as AsyncIterable<Buffer>) parts.push(part);
      const body = change(url, Buffer.concat(parts));
      if (body)
        response
          .writeHead(answer.statusCode ?? 500, { ...answer.headers, 'content-length': body.length })
          .end(body);
      else response.writeHead(404).end();
    });
    onwards.on('error', () => response.destroy());
    request.pipe(onwards);
  });
  return listenHere(t, server);
}

t.test('a wrong leaf is refused and counted; the pieces of the swarm answer', async (t) => {
  const origin = await originHere(t);
  const bytes = someBytes(2 * MIB);
  const digest = await pushBlob(origin.url, 'a', bytes);
  const liar = await between(t, origin.url, (url, body) => {
    if (url.includes('/blobs/') && body.length > 100) body[100] = (body[100] ?? 0) ^ 1;
    return body;
  });
  const agent = await agentHere(t, [liar]);
  const answer = await pull(`${agent.url}/v2/a/blobs/${digest}`, { range: 'bytes=50000-60000' });
  t.equal(answer.status, 206);
  t.ok(answer.bytes.equals(bytes.subarray(50_000, 60_001)));
  t.ok((await agent.metric('shoal_pieces_rejected_total')) >= 1);
  t.equal(await agent.metric('shoal_lazy_reads_total', { from: 'blob' }), 1);
});

t.test('lists that are hostile, of another blob or not there: the whole blob is the way', async (t) => {
  const origin = await originHere(t);
  const bytes = someBytes(MIB);
  const digest = await pushBlob(origin.url, 'a', bytes);
  const other = await pushBlob(origin.url, 'a', someBytes(MIB));
  const list = await pull(`${origin.url}/v2/a/_shoal/leaves/${other}`);
  for (const [what, body] of [
    ['not there', undefined],
    ['of another blob', list.bytes],
    ['too large', Buffer.alloc(6 * MIB)],
    ['no list', Buffer.from('d4:listi5ee')],
    ['empty', Buffer.alloc(0)],
  ] as const) {
    const liar = await between(t, origin.url, (url, real) => (url.includes('/leaves/') ? body : real));
    const agent = await agentHere(t, [liar]);
    const answer = await pull(`${agent.url}/v2/a/blobs/${digest}`, { range: 'bytes=50000-60000' });
    t.same([answer.status, answer.bytes.length], [206, 10_001], what);
    t.ok(answer.bytes.equals(bytes.subarray(50_000, 60_001)), what);
    t.equal(await agent.metric('shoal_lazy_reads_total'), 0);
  }
});

t.test('without the origin: what is in memory, and what another agent has', async (t) => {
  const origin = await originHere(t);
  const holder = await agentHere(t, [origin.url]);
  const reader = await agentHere(t, [origin.url]);
  const bytes = someBytes(3 * MIB);
  const digest = await pushBlob(origin.url, 'a', bytes);
  const url = `${reader.url}/v2/a/blobs/${digest}`;
  const range = async (start: number): Promise<void> => {
    const answer = await pull(url, { range: `bytes=${start}-${start + 999}` });
    t.same(
      [answer.status, answer.bytes.equals(bytes.subarray(start, start + 1000))],
      [206, true],
      `${start}`,
    );
  };
  await pull(`${holder.url}/v2/a/blobs/${digest}`);
  await range(0);
  await origin.close();
  await range(10_000);
  const answer = await pull(url, { range: 'bytes=2000000-2000999' });
  t.equal(answer.status, 503, 'nobody can say who has the rest');
});
