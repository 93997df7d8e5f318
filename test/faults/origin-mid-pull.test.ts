/** kill -9 of the origin in the middle of a pull, with another agent that has the blob and with none. */
import { createHash } from 'node:crypto';
import t from 'tap';
import { agentHere, pull, until } from '../support/in-process.ts';
import { pushBlob } from '../support/registry-client.ts';
import { startProgram } from '../support/shoal.ts';

const MIB = 1024 * 1024;
const SIZE = 12 * MIB;

/** Reads until `bytes` have come; answers with a function that reads the rest and hashes all. */
async function readSome(url: string, bytes: number): Promise<() => Promise<string>> {
  const answer = await fetch(url);
  const reader = answer.body?.getReader();
  const hash = createHash('sha256');
  let received = 0;
  const next = async (): Promise<boolean> => {
    const { value } = (await reader?.read()) ?? {};
    if (!value) return false;
    hash.update(value);
    received += value.length;
    return true;
  };
  while (received < bytes && (await next()));
  return async () => {
    while (await next());
    return `sha256:${hash.digest('hex')}`;
  };
}

t.test('the swarm has every piece: the client notices nothing', async (t) => {
  const origin = await startProgram(t, 'origin');
  const first = await agentHere(t, [origin.url]);
  const second = await agentHere(t, [origin.url], { downloadRateBytesPerSecond: 5 * MIB });
  const digest = await pushBlob(origin.url, 'team/app', 31_001, SIZE);
  await pull(`${first.url}/v2/team/app/blobs/${digest}`);
  await until(async () => (await first.metric('shoal_cache_blobs')) === 1);

  const rest = await readSome(`${second.url}/v2/team/app/blobs/${digest}`, 2 * MIB);
  t.equal(await second.metric('shoal_cache_blobs'), 0, 'in the middle');
  await origin.signal('SIGKILL');
  t.equal(await rest(), digest);
});

t.test('nobody has the rest: cut, 503 for the next try, and resumed when the origin is back', async (t) => {
  const origin = await startProgram(t, 'origin');
  const agent = await agentHere(t, [origin.url], {
    downloadRateBytesPerSecond: 3 * MIB,
    fallback: {
      stallMs: 60_000,
      firstPieceMs: 60_000,
      minRateBytesPerSecond: 0,
      progressDeadlineMs: 3_000,
    },
  });
  const digest = await pushBlob(origin.url, 'team/app', 31_002, SIZE);
  const url = `${agent.url}/v2/team/app/blobs/${digest}`;
  const rest = await readSome(url, 3 * MIB);
  await origin.signal('SIGKILL');
  await t.rejects(rest(), 'the connection is cut');
  const next = await pull(url, { range: `bytes=${3 * MIB}-` });
  t.equal(next.status, 503, 'so that containerd asks the next host');

  await origin.restart();
  await until(async () => {
    const answer = await pull(url);
    return answer.status === 200 && `sha256:${answer.sha256}` === digest;
  });
  const fetched = await agent.metric('shoal_fetch_bytes_total');
  t.ok(fetched < SIZE + 2 * MIB, `${fetched} bytes of ${SIZE} were fetched in all: pieces were kept`);
});
