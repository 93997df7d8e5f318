/** kill -9 in the middle of a pull: the retry goes on from the verified pieces. */
import { createHash } from 'node:crypto';
import t from 'tap';
import { pushBlob } from '../support/registry-client.ts';
import { startProgram } from '../support/shoal.ts';

const MIB = 1024 * 1024;
const SIZE = 24 * MIB;

t.test('an agent that was killed in the middle of a pull continues', async (t) => {
  const origin = await startProgram(t, 'origin');
  const agent = await startProgram(t, 'agent', ['--origin', origin.url, '--download-rate', '6MiB/s']);
  const digest = await pushBlob(origin.url, 'team/app', 20_260, SIZE);
  const url = `${agent.url}/v2/team/app/blobs/${digest}`;

  const cut = await fetch(url);
  const reader = cut.body?.getReader();
  let received = 0;
  while (received < SIZE / 3) {
    const { value } = (await reader?.read()) ?? {};
    if (!value) throw new Error('the body ended early');
    received += value.length;
  }
  t.equal(await agent.metric('shoal_cache_blobs'), 0, 'in the middle');
  await agent.signal('SIGKILL');
  await t.rejects(async () => {
    while (!(await reader?.read())?.done);
  }, 'the client sees a reset connection');
  await agent.restart();

  const answer = await fetch(url);
  const hash = createHash('sha256');
  for await (const chunk of answer.body ?? []) hash.update(chunk);
  t.equal(`sha256:${hash.digest('hex')}`, digest);
  const fetched = await agent.metric('shoal_fetch_bytes_total');
  t.ok(fetched < SIZE - received + MIB, `${fetched} of ${SIZE} bytes came after the restart`);
  t.ok(fetched > 0);
});
