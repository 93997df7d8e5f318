/** Many clients of one blob at the same time, who share what is read of it: each gets its own bytes. */
import { createHash, randomFillSync } from 'node:crypto';
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { pushBlob, testOrigin } from '../support/origin.ts';

const MIB = 1024 * 1024;
const bytes = randomFillSync(Buffer.alloc(24 * MIB + 12345));
const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

interface Client {
  readonly from?: number;
  /** Waits so long at each chunk. */
  readonly pauseMs?: number;
  /** Goes away after so many bytes. */
  readonly cutAfter?: number;
}

/** The digest of what came, and how much. */
function take(url: string, { from = 0, pauseMs = 0, cutAfter }: Client): Promise<[string, number]> {
  return new Promise((resolve, reject) => {
    const headers = from === 0 ? {} : { range: `bytes=${from}-` };
    const request = http.get(url, { headers, agent: false }, async (answer) => {
      const hash = createHash('sha256');
      let size = 0;
      try {
        for await (const chunk of answer as AsyncIterable<Buffer>) {
          hash.update(chunk);
          size += chunk.length;
          if (cutAfter !== undefined && size >= cutAfter) break;
          if (pauseMs > 0) await delay(pauseMs);
        }
        resolve([hash.digest('hex'), size]);
      } catch (error) {
        reject(error);
      }
    });
    request.once('error', reject);
  });
}

t.test('whoever is fast, slow, late, cut or begins elsewhere', async (t) => {
  const origin = await testOrigin(t);
  const url = `${origin.url}/v2/a/blobs/${await pushBlob(origin, 'a', bytes)}`;
  const whole = [sha256(bytes), bytes.length] as const;
  const from = 3 * MIB + 77;
  const rest = [sha256(bytes.subarray(from)), bytes.length - from] as const;
  const fast = Array.from({ length: 8 }, () => take(url, {}));
  const cut = Array.from({ length: 3 }, (_, at) => take(url, { cutAfter: (at + 1) * 2 * MIB }));
  const slow = take(url, { pauseMs: 1 });
  const ranged = [take(url, { from }), take(url, { from })];
  const late = delay(30).then(() => take(url, {}));
  for (const client of [...fast, slow, late]) t.same(await client, whole);
  for (const client of ranged) t.same(await client, rest);
  await Promise.all(cut);
  t.same(await take(url, {}), whole, 'and whoever comes afterwards');
  const sent = await origin.metric('shoal_origin_blob_bytes_total', { direction: 'out', via: 'http' });
  t.ok(sent >= 11 * bytes.length + 2 * (bytes.length - from), `${sent} bytes are counted, once a client`);
});
