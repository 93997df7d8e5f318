/** Limits that are set while the agent runs. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { agentHere, makeFolder, originHere } from '../support/in-process.ts';

const MIB = 1024 ** 2;

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

async function ask(url: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const put = { method: 'PUT', body: typeof body === 'string' ? body : JSON.stringify(body), headers };
  const response = await fetch(`${url}/api/v1/limits`, body === undefined ? {} : put);
  return { status: response.status, body: (await response.json()) as unknown };
}

t.test('set, shown, counted, kept over a restart, taken back', async (t) => {
  const origin = await originHere(t);
  const config = { uploadRateBytesPerSecond: 10 * MIB, rolloutDownloadRate: 7 * MIB, maxConnections: 77 };
  const first = await agentHere(t, [origin.url], config);
  const usual = { bytesPerSecond: 10 * MIB, because: 'configuration', until: null };
  t.strictSame(await ask(first.url), {
    status: 200,
    body: {
      upload: usual,
      download: { bytesPerSecond: null, because: 'configuration', until: null },
      rollout: null,
      connections: { limit: 77 },
    },
  });
  t.equal(await first.metric('shoal_rate_limit_bytes_per_second', { direction: 'out' }), 10 * MIB);
  t.equal(
    await first.metric('shoal_rate_limit_bytes_per_second', { direction: 'in' }),
    Number.POSITIVE_INFINITY,
  );

  const set = await ask(first.url, { upload: '3MiB/s', for: '2h', rollout: '30m' });
  t.equal(set.status, 200);
  t.match(set.body, {
    upload: { bytesPerSecond: 3 * MIB, because: 'set', until: /^\d{4}-/ },
    download: { bytesPerSecond: 7 * MIB, because: 'rollout', until: /^\d{4}-/ },
    rollout: { until: /^\d{4}-/ },
  });
  t.equal(await first.metric('shoal_rate_limit_bytes_per_second', { direction: 'out' }), 3 * MIB);

  const second = await first.restart();
  t.strictSame(await ask(second.url), set, 'as it was told');
  t.match((await ask(second.url, { upload: null, rollout: null })).body, {
    upload: usual,
    download: { bytesPerSecond: null, because: 'configuration' },
    rollout: null,
  });
  t.match((await ask(second.url, { download: 'unlimited' })).body, {
    download: { bytesPerSecond: null, because: 'set', until: null },
  });
});

t.test('what cannot be used is refused with the reason, and nothing changes', async (t) => {
  const agent = await agentHere(t, ['http://127.0.0.1:1']);
  const before = await ask(agent.url);
  const cases: readonly (readonly [unknown, RegExp])[] = [
    ['', /not JSON/],
    ['[]', /expected object/],
    [{}, /nothing is set/],
    [{ upload: '3' }, /^upload: expected a rate/],
    [{ upload: 3 }, /^upload: /],
    [{ upload: '0MiB/s' }, /^upload: expected a rate/],
    [{ upload: '1MiB/s', for: 'long' }, /^for: expected a duration/],
    [{ upload: '1MiB/s', for: '4000d' }, /^for: a year at most/],
    [{ for: '1h' }, /neither is set/],
    [{ upload: null, for: '1h' }, /neither is set/],
    [{ uplaod: '1MiB/s' }, /uplaod/],
  ];
  for (const [body, reason] of cases) {
    const { status, body: problem } = await ask(agent.url, body);
    t.equal(status, 400, JSON.stringify(body));
    t.match(problem, { status: 400, detail: reason });
  }
  t.equal((await ask(agent.url, `"${'x'.repeat(5_000)}"`)).status, 413);
  t.equal((await ask(agent.url, { upload: '1MiB/s' }, { 'x-forwarded-for': '10.0.0.9' })).status, 403);
  t.strictSame(await ask(agent.url), before);
});

t.test('a file of limits that cannot be read is passed over', async (t) => {
  const data = await makeFolder(t);
  await writeFile(path.join(data, 'limits.json'), '{"upload":{"rate":-5}}');
  const agent = await agentHere(t, ['http://127.0.0.1:1'], { data });
  t.match((await ask(agent.url)).body, { upload: { bytesPerSecond: null, because: 'configuration' } });
});
