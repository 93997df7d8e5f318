/** `shoal cache ls|pin|unpin|rm` against a running agent, as an operator types them. */
import t, { type Test } from 'tap';
import { pushImage, someBytes, until } from '../support/in-process.ts';
import { type Program, runShoal, startProgram } from '../support/shoal.ts';

t.setTimeout(120_000);

const MIB = 1024 * 1024;

interface Row {
  readonly digest: string;
  readonly size?: number;
  readonly pinned: boolean;
  readonly inUse?: boolean;
  readonly here?: boolean;
}

interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function cluster(t: Test, flags: readonly string[]): Promise<{ origin: Program; agent: Program }> {
  const origin = await startProgram(t, 'origin');
  const agent = await startProgram(t, 'agent', ['--origin', origin.url, ...flags]);
  return { origin, agent };
}

function commandsOf(agent: Program): {
  readonly cache: (...args: string[]) => Promise<Said>;
  readonly pull: (reference: string) => Promise<Said>;
  readonly rows: () => Promise<readonly Row[]>;
} {
  const at = ['--agent', agent.url];
  const cache = (...args: string[]): Promise<Said> => runShoal(['cache', ...args, ...at]);
  return {
    cache,
    pull: (reference) => runShoal(['pull', reference, ...at]),
    async rows() {
      const { stdout } = await cache('ls', '--json');
      const lines = stdout.split('\n').filter((line) => line !== '');
      return lines.map((line) => JSON.parse(line) as Row);
    },
  };
}

t.test(
  'an image is pinned before it comes, outlives others and a restart, and goes when it is let go',
  async (t) => {
    const { origin, agent } = await cluster(t, ['--cache-size', '8MiB', '--cache-free', 'off']);
    const { cache, pull, rows } = commandsOf(agent);
    const push = (name: string) =>
      pushImage(origin.url, `registry.test/team/${name}`, 'v1', [someBytes(MIB), someBytes(MIB)]);
    const kept = await push('kept');
    const reference = 'registry.test/team/kept:v1';
    const blobs = [kept.config, ...kept.layers];
    const count = (text: string, part: string): number => text.split(part).length - 1;

    t.match(await cache('ls'), { code: 0, stdout: '0 B of 8.4 MB used\n', stderr: '' });
    const pinned = await cache('pin', reference);
    t.match(pinned, { code: 0, stderr: '' });
    for (const digest of kept.layers)
      t.match(pinned.stdout, `${digest} is pinned, and is not in the cache yet\n`);
    // Who asks for a manifest wants its config next, so that the agent may have this one by now.
    const shown = (await cache('ls')).stdout;
    for (const layer of kept.layers) t.match(shown, new RegExp(`^${layer} +- +- +pinned, not here$`, 'm'));
    const told = (await rows()).filter(({ digest }) => digest !== kept.config);
    t.same(
      told.map(({ digest, pinned, here }) => ({ digest, pinned, here })),
      kept.layers.map((digest) => ({ digest, pinned: true, here: false })),
    );

    t.match(await pull(reference), { code: 0, stdout: /all digests right/ });
    await until(async () => (await rows()).every(({ here }) => here !== false));
    const again = await cache('pin', reference, '--json');
    t.same(
      again.stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
      blobs.map((digest) => ({ digest, pinned: true, here: true })),
    );

    await agent.signal('SIGTERM');
    await agent.restart();
    for (let index = 0; index < 6; index += 1) {
      await push(`other-${index}`);
      t.match(await pull(`registry.test/team/other-${index}:v1`), { code: 0 });
    }
    t.ok((await agent.metric('shoal_cache_evictions_total')) > 0, 'others had to go');
    const held = (await rows()).filter((row) => row.pinned);
    t.same(
      held.map(({ digest }) => digest).sort(),
      blobs.toSorted(),
      'all of the pinned image is still there',
    );
    t.ok((await agent.metric('shoal_cache_disk_bytes')) <= 8 * MIB);

    const refused = await cache('rm', reference);
    t.match(refused, { code: 1, stdout: '' });
    t.equal(count(refused.stderr, 'is pinned; unpin it first'), blobs.length, 'each of its blobs is told');
    const layer = kept.layers[0] ?? '';
    t.match(await cache('unpin', layer), { code: 0, stdout: `${layer} is not pinned any more\n` });
    t.match(await cache('unpin', layer), { code: 0, stdout: `${layer} was not pinned\n` });
    t.match(await cache('rm', layer), { code: 0, stdout: `${layer} is removed\n` });
    t.match(await cache('rm', layer), { code: 0, stdout: `${layer} was not in the cache\n` });
    t.notOk((await rows()).some(({ digest }) => digest === layer));
    t.match(await cache('unpin', reference), { code: 0 });
    t.match(await cache('rm', reference), { code: 0 });
    t.notOk((await rows()).some(({ digest }) => blobs.some((blob) => blob === digest)));
    t.match(await pull(reference), { code: 0 }, 'what was removed is fetched again');
  },
);

t.test('what cannot be done is refused with the reason', async (t) => {
  const { origin, agent } = await cluster(t, []);
  const { cache } = commandsOf(agent);
  t.match(await cache('pin'), { code: 2, stderr: /REF\|DIGEST/ });
  t.match(await cache('pin', 'sha256:12'), { code: 2, stderr: /neither sha256 with 64/ });
  t.match(await cache('pin', 'registry.test/none:v1'), { code: 1, stdout: '', stderr: /manifest unknown/ });
  const digest = `sha256:${'0'.repeat(64)}`;
  t.match(await runShoal(['cache', 'pin', digest, '--agent', origin.url]), {
    code: 1,
    stderr: /answered 404: is this an agent\?/,
  });
  t.match(await runShoal(['cache', 'ls', '--agent', origin.url]), { code: 1, stderr: /is this an agent\?/ });
  await agent.signal('SIGTERM');
  t.match(await cache('ls'), { code: 1, stderr: new RegExp(`${new URL(agent.url).port}`) });
});
