/** A clock that jumps, names that are not resolved, connections that are open at one end: no request hangs. */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { dnsServer } from '../support/dns-server.ts';
import { agentHere, makeFolder, pushImage, someBytes, type TestAgent, until } from '../support/in-process.ts';
import { type Program, startProgram } from '../support/shoal.ts';

const MIB = 1024 * 1024;
const TEN_YEARS_MS = 10 * 365 * 86_400_000;
/** Far beyond every deadline: who reaches it hangs. */
const HANGS_MS = 120_000;
t.setTimeout(300_000);

async function ask(url: string): Promise<number> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(HANGS_MS) });
  await answer.arrayBuffer();
  return answer.status;
}

/** Begins to read a body; answers with a function that reads the rest and gives the digest of all. */
async function begin(url: string, bytes = 1): Promise<() => Promise<string>> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(HANGS_MS) });
  const hash = createHash('sha256');
  const reader = answer.body?.getReader();
  const next = async (): Promise<number> => {
    const { value } = (await reader?.read()) ?? {};
    if (value) hash.update(value);
    return value?.length ?? 0;
  };
  for (let received = 0; received < bytes; ) {
    const length = await next();
    if (length === 0) throw new Error('the body ended early');
    received += length;
  }
  return async () => {
    while ((await next()) > 0);
    return `sha256:${hash.digest('hex')}`;
  };
}

t.test(
  'the clocks of origin and agents jump by ten years, forth and back, in the middle of pulls',
  async (t) => {
    const clock = path.join(await makeFolder(t), 'clock');
    const env = {
      SHOAL_TEST_CLOCK: clock,
      NODE_OPTIONS: `--import=${new URL('../support/clock-shift.ts', import.meta.url).href}`,
    };
    const origin = await startProgram(t, 'origin', [], undefined, { env });
    const flags = ['--origin', origin.url, '--download-rate', '4MiB/s'];
    const agents = await Promise.all([1, 2].map(() => startProgram(t, 'agent', flags, undefined, { env })));
    const [first, second] = agents as [Program, Program];
    const everybody = [origin, first, second];
    const jump = async (ms: number): Promise<void> => {
      await writeFile(clock, String(ms));
      for (const program of everybody) process.kill(program.pid, 'SIGUSR2');
      await until(() => everybody.every((program) => program.log().includes(`clock moved by ${ms} ms`)));
    };
    for (const ms of [TEN_YEARS_MS, -TEN_YEARS_MS]) {
      const image = await pushImage(origin.url, 'team/app', `v${ms}`, [someBytes(5 * MIB)]);
      const [layer = ''] = image.layers;
      const manifest = `${first.url}/v2/team/app/manifests/v${ms}`;
      t.equal(await ask(manifest), 200);
      const rest = await begin(`${first.url}/v2/team/app/blobs/${layer}`, MIB);
      await jump(ms);
      t.equal(await rest(), layer, 'the pull under way');
      t.equal(await ask(manifest), 200, 'a tag after the jump');
      const other = await begin(`${second.url}/v2/team/app/blobs/${layer}`);
      t.equal(await other(), layer, 'a new pull');
      t.equal(await (await begin(`${first.url}/v2/team/app/blobs/${layer}`))(), layer, 'a cache hit');
      for (const program of everybody) t.equal(await ask(`${program.url}/readyz`), 200);
    }
    t.equal(await origin.metric('shoal_tracker_agents'), 2, 'the tracker knows both');
    t.ok(
      (await second.metric('shoal_fetch_bytes_total', { from: 'peer' })) > 0,
      'the agents found each other',
    );
  },
);

t.test(
  'the name server is silent, knows nothing, and comes back',
  { skip: process.getuid?.() !== 0 && 'port 53 and a mount need root' },
  async (t) => {
    const dns = await dnsServer(t, await makeFolder(t));
    const origin = await startProgram(t, 'origin');
    const named = `http://origin.shoal.test:${new URL(origin.url).port}`;
    const agent = await startProgram(t, 'agent', ['--origin', named], undefined, { prefix: dns.prefix });
    const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(2 * MIB)]);
    const [layer = ''] = image.layers;
    const manifest = `${agent.url}/v2/team/app/manifests/v1`;
    const blob = `${agent.url}/v2/team/app/blobs/${layer}`;
    for (const mode of ['silent', 'unknown'] as const) {
      dns.mode = mode;
      for (const url of [manifest, blob]) t.equal(await ask(url), 503, mode);
    }
    t.ok(dns.asked > 0, 'it was asked');
    dns.mode = 'answers';
    await until(async () => (await ask(manifest)) === 200);
    await until(async () => (await ask(blob)) === 200);
    // The layer, and the config, which comes with the manifest.
    await until(async () => (await agent.metric('shoal_cache_blobs')) === 2);
    dns.mode = 'silent';
    t.equal(await (await begin(blob))(), layer, 'what is cached needs no name');
  },
);

t.test('the origin accepts and says nothing more (stopped, its connections open)', async (t) => {
  const origin = await startProgram(t, 'origin', ['--upload-rate', '3MiB/s']);
  const patience = { progressDeadlineMs: 4_000, minRateBytesPerSecond: 0 };
  // Slow enough that the origin is stopped long before it has sent all.
  const agent: TestAgent = await agentHere(t, [origin.url], {
    fallback: patience,
    downloadRateBytesPerSecond: 6 * MIB,
  });
  const helped: TestAgent = await agentHere(t, [origin.url], { downloadRateBytesPerSecond: 3 * MIB });
  const known = await pushImage(origin.url, 'team/app', 'known', [someBytes(2 * MIB), someBytes(6 * MIB)]);
  const cold = await pushImage(origin.url, 'team/app', 'cold', [someBytes(32 * MIB)]);
  for (const layer of known.layers) t.equal(await ask(`${agent.url}/v2/team/app/blobs/${layer}`), 200);
  t.equal(await ask(`${agent.url}/v2/team/app/manifests/known`), 200);
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 3);

  const lonely = await begin(`${agent.url}/v2/team/app/blobs/${cold.layers[0]}`);
  const shared = await begin(`${helped.url}/v2/team/app/blobs/${known.layers[1]}`, MIB);
  process.kill(origin.pid, 'SIGSTOP');
  try {
    t.equal(await shared(), known.layers[1], 'another agent has it: nothing is noticed');
    await t.rejects(lonely(), { name: 'TypeError' }, 'nobody has it: cut, not kept waiting');
    t.equal(await ask(`${agent.url}/v2/team/app/blobs/${cold.layers[0]}`), 503);
    t.equal(await ask(`${agent.url}/v2/team/app/blobs/${known.layers[0]}`), 200, 'the cache goes on');
    t.equal(await ask(`${agent.url}/v2/team/app/manifests/known`), 200, 'a tag goes on, as it was');
    t.equal(await ask(`${agent.url}/v2/team/app/manifests/never-seen`), 503);
  } finally {
    process.kill(origin.pid, 'SIGCONT');
  }
  await until(async () => (await ask(`${agent.url}/v2/team/app/blobs/${cold.layers[0]}`)) === 200);
});
