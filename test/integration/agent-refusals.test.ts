/** What the mirror cannot do it says at once, in words that send a client to its next host: never with 429. */

import t from 'tap';
import { agentHere, originHere, pull, pushBlob, pushImage, someBytes, until } from '../support/in-process.ts';

const MIB = 1024 * 1024;

/** Nothing comes but what is asked of the origin, and that slowly. */
const slowly = { downloadRateBytesPerSecond: MIB };

function refusal(answer: {
  readonly status: number;
  readonly bytes: Buffer;
  readonly headers: Headers;
}): string {
  return `${answer.status} ${answer.headers.get('retry-after')} ${answer.bytes.toString()}`;
}

t.test('more requests than the mirror answers at once', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { ...slowly, maxRequests: 2 });
  const digest = await pushBlob(origin.url, 'team/app', someBytes(8 * MIB));
  const url = `${agent.url}/v2/team/app/blobs/${digest}`;
  const answers = await Promise.all([fetch(url), fetch(url)]);
  t.same(
    answers.map((answer) => answer.status),
    [200, 200],
  );
  t.match(refusal(await pull(url)), /^503 1 .*"UNAVAILABLE".*busy.*max\.requests/);
  t.equal((await pull(`${agent.url}/healthz`)).status, 200, 'who watches the agent is not refused');
  t.ok((await agent.metric('shoal_mirror_requests_total', { status: '503' })) >= 1);
  await Promise.all(answers.map((answer) => answer.body?.cancel()));
  await until(async () => (await pull(`${agent.url}/v2/`)).status === 200);
});

t.test('more blobs than are fetched at once', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { ...slowly, maxDownloads: 1 });
  const [first, second] = [someBytes(6 * MIB), someBytes(4 * MIB)];
  const image = await pushImage(origin.url, 'team/app', 'v1', [first, second]);
  const blob = (index: number): string => `${agent.url}/v2/team/app/blobs/${image.layers[index]}`;
  const running = await fetch(blob(0));
  t.match(refusal(await pull(blob(1))), /^503 1 .*"UNAVAILABLE".*busy.*max\.downloads/);
  const joined = await fetch(blob(0));
  t.equal(joined.status, 200, 'who asks for the same blob joins its download');
  await joined.body?.cancel();
  t.ok(Buffer.from(await running.arrayBuffer()).equals(first));
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  await until(async () => (await pull(blob(1))).status === 200);
});

t.test('an agent that stops finishes what streams and refuses the rest', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { downloadRateBytesPerSecond: 4 * MIB });
  const bytes = someBytes(6 * MIB);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  const url = `${agent.url}/v2/team/app/blobs/${digest}`;
  const running = await fetch(url);
  const closed = agent.close();
  await t.rejects(fetch(url, { headers: { connection: 'close' } }), 'nobody listens any more');
  t.ok(Buffer.from(await running.arrayBuffer()).equals(bytes));
  await closed;
});

t.test('no origin, nobody who has it: 503, and the next request as well', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const digest = await pushBlob(origin.url, 'team/app', someBytes(MIB));
  await origin.close();
  for (const reference of [`blobs/${digest}`, 'manifests/v1']) {
    for (const time of ['first', 'again']) {
      t.equal((await pull(`${agent.url}/v2/team/app/${reference}`)).status, 503, `${reference} ${time}`);
    }
  }
});

t.test('the first of two origins is dead', async (t) => {
  const dead = await originHere(t);
  await dead.close();
  const origin = await originHere(t);
  const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(3 * MIB)]);
  const agent = await agentHere(t, [dead.url, origin.url]);
  t.equal((await pull(`${agent.url}/v2/team/app/manifests/v1`)).status, 200);
  const answer = await pull(`${agent.url}/v2/team/app/blobs/${image.layers[0]}`);
  t.equal(`sha256:${answer.sha256}`, image.layers[0]);
});
