/** What an operator pins stays, over evictions and restarts. */
import t from 'tap';
import { agentHere, originHere, pull, pushBlob, someBytes, until } from '../support/in-process.ts';

const MIB = 1024 * 1024;

t.test('pins', async (t) => {
  const origin = await originHere(t);
  const first = await agentHere(t, [origin.url], { cacheSizeBytes: 6 * MIB, cacheFreeBytes: 0 });
  const blobs: string[] = [];
  for (let index = 0; index < 6; index += 1) {
    blobs.push(await pushBlob(origin.url, 'team/app', someBytes(2 * MIB)));
  }
  const [pinned = '', ...others] = blobs;
  const ask = async (agent: { url: string }, method: string, what: string): Promise<[number, unknown]> => {
    const answer = await fetch(`${agent.url}/api/v1/cache${what}`, { method });
    return [answer.status, await answer.json()];
  };
  interface Report {
    readonly blobs: readonly { digest: string; pinned: boolean; inUse: boolean }[];
    readonly pinnedElsewhere: readonly string[];
    readonly next: string | null;
  }
  const report = async (agent: { url: string }, query = ''): Promise<Report> =>
    (await ask(agent, 'GET', query))[1] as Report;

  t.same(await ask(first, 'PUT', `/pins/${pinned}`), [200, { digest: pinned, pinned: true, here: false }]);
  t.match(await report(first), { blobs: [], pinnedElsewhere: [pinned], next: null });
  for (const digest of blobs) await pull(`${first.url}/v2/team/app/blobs/${digest}`);
  const agent = await first.restart();
  for (const digest of others) await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
  await until(async () => {
    const { blobs: held } = await report(agent);
    return held.length > 1 && held.every(({ inUse }) => !inUse);
  });
  const now = await report(agent);
  t.match(
    now.blobs.filter((blob) => blob.pinned),
    [{ digest: pinned }],
    'it outlived ten blobs and a restart',
  );
  const page = await report(agent, '?n=1');
  t.equal(page.next, page.blobs[0]?.digest);
  const rest = await report(agent, `?after=${page.next}`);
  t.ok(rest.blobs.length > 0 && rest.blobs.every(({ digest }) => digest > (page.next ?? '')));

  t.equal((await ask(agent, 'DELETE', `/blobs/${pinned}`))[0], 409);
  t.match(await ask(agent, 'DELETE', `/pins/${pinned}`), [200, { wasPinned: true }]);
  t.match(await ask(agent, 'DELETE', `/pins/${pinned}`), [200, { wasPinned: false }]);
  t.match(await ask(agent, 'DELETE', `/blobs/${pinned}`), [200, { removed: true }]);
  t.match(await ask(agent, 'DELETE', `/blobs/${pinned}`), [200, { removed: false }]);
  t.equal((await ask(agent, 'PUT', '/pins/sha256:1'))[0], 400);
  t.equal((await ask(agent, 'GET', '?n=0'))[0], 400);
  const proxied = await fetch(`${agent.url}/api/v1/cache/pins/${pinned}`, {
    method: 'PUT',
    headers: { 'x-forwarded-for': '203.0.113.7' },
  });
  t.equal(proxied.status, 403, 'only from this machine');
});
