/** A running agent is told other rates: by `shoal limits`, and by SIGHUP after its configuration was changed. */
import { rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { digestOf } from '../support/content.ts';
import { pushBlob, someBytes, until } from '../support/in-process.ts';
import { temporaryFolder } from '../support/origin.ts';
import { type Program, runShoal, startProgram } from '../support/shoal.ts';

// A download that a slow rate still held would take longer than this by far.
t.setTimeout(120_000);

const SIZE = 24 * 1024 * 1024;
const SLOW = '64KiB/s';
const SLOW_BYTES = 64 * 1024;

type LogLine = Readonly<Record<string, unknown>>;

/** Lines of the program's log with this message. */
function linesOf({ log }: Program, message: string): readonly LogLine[] {
  const lines = log()
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as LogLine);
  return lines.filter((line) => line['msg'] === message);
}

interface Download {
  readonly digest: string;
  /** Of what came. Rejects when the answer is cut. */
  readonly ended: Promise<{ digest: string; size: number }>;
}

/** Begins a download through the agent that its slow rate holds back. */
async function beginDownload(origin: Program, agent: Program): Promise<Download> {
  const digest = await pushBlob(origin.url, 'registry.test/team/app', someBytes(SIZE));
  const answer = await fetch(`${agent.url}/v2/registry.test/team/app/blobs/${digest}`);
  if (answer.status !== 200 || answer.body === null) throw new Error(`status ${answer.status}`);
  const ended = digestOf(answer.body);
  ended.catch(() => undefined);
  await until(async () => (await agent.metric('shoal_mirror_bytes_total')) > 0);
  return { digest, ended };
}

const fetched = (agent: Program): Promise<number> => agent.metric('shoal_blob_fetch_seconds_count');
const limitsOf = (agent: Program, ...flags: string[]) => runShoal(['limits', '--url', agent.url, ...flags]);

async function downloadRate(agent: Program): Promise<unknown> {
  const { stdout } = await limitsOf(agent, '--json');
  return (JSON.parse(stdout) as { download: unknown }).download;
}

t.test(
  'shoal limits: shows, sets, frees a download that is held back, and keeps its word over a restart',
  async (t) => {
    const origin = await startProgram(t, 'origin');
    const agent = await startProgram(t, 'agent', ['--origin', origin.url, '--download-rate', SLOW]);
    t.match(await limitsOf(agent), {
      code: 0,
      stderr: '',
      stdout:
        /^upload +unlimited +configuration\ndownload +65\.5 kB\/s +configuration\nconnections +500 +configuration\nrollout +none\n/m,
    });
    const download = await beginDownload(origin, agent);
    t.equal(await fetched(agent), 0, 'it is under way');
    const set = await limitsOf(agent, '--download', 'unlimited', '--upload', '3MB/s', '--for', '2h');
    t.match(set, {
      code: 0,
      stdout: /^upload +3\.0 MB\/s +set +\d{4}-\S+Z\ndownload +unlimited +set +\d{4}-/m,
    });
    t.same(await download.ended, { digest: download.digest, size: SIZE });

    await agent.signal('SIGTERM');
    await agent.restart();
    t.match(await downloadRate(agent), { bytesPerSecond: null, because: 'set', until: /^\d{4}-/ });
    t.match(await limitsOf(agent, '--download', 'configured', '--rollout', '30m'), {
      code: 0,
      stdout: /^download +65\.5 kB\/s +configuration\nconnections .*\nrollout +running +\d{4}-/m,
    });
    t.match(await limitsOf(agent, '--rollout', 'over'), { code: 0, stdout: /^rollout +none$/m });

    t.match(await limitsOf(agent, '--download', 'fast'), { code: 2, stderr: /download.*a rate such as/ });
    t.match(await limitsOf(agent, '--for', '1h'), { code: 1, stderr: /neither is set/ });
    t.match(await runShoal(['limits', '--url', origin.url]), { code: 1, stderr: /is this an agent\?/ });
  },
);

interface Configured {
  readonly origin: Program;
  readonly agent: Program;
  /** Writes the agent's configuration and sends SIGHUP; resolves with the line that the agent logs then. */
  reload(text: string, message: string): Promise<LogLine>;
}

const TAKEN = 'configuration read again';
const REFUSED = 'the configuration cannot be used; the running one is kept';

async function configured(t: Test, text: string): Promise<Configured> {
  const file = path.join(await temporaryFolder(t), 'agent.yaml');
  await writeFile(file, text);
  const origin = await startProgram(t, 'origin');
  const agent = await startProgram(t, 'agent', ['--origin', origin.url, '--config', file]);
  return {
    origin,
    agent,
    async reload(next, message) {
      // As editors and configuration tools do, so that no half of a file is read.
      await writeFile(`${file}.new`, next);
      await rename(`${file}.new`, file);
      const before = linesOf(agent, message).length;
      process.kill(agent.pid, 'SIGHUP');
      await until(() => linesOf(agent, message).length > before);
      return linesOf(agent, message).at(-1) ?? {};
    },
  };
}

t.test('SIGHUP: a broken file changes nothing, a good one counts for the download under way', async (t) => {
  const { origin, agent, reload } = await configured(t, `download: {rate: ${SLOW}}\n`);
  const download = await beginDownload(origin, agent);
  const slow = { bytesPerSecond: SLOW_BYTES, because: 'configuration', until: null };

  const broken: readonly (readonly [string, RegExp])[] = [
    ['download: {rate: fast}\n', /^download\.rate: 'fast' \(.*agent\.yaml:1\) is wrong: expected a rate/],
    ['download: {rat: 1GB/s}\n', /agent\.yaml:1: unknown key 'download\.rat'/],
    ['download: {rate: 1GB/s\n', /agent\.yaml/],
    ['download: {rate: 1GB/s}\nauth: {username: someone}\n', /password-file/],
  ];
  for (const [text, reason] of broken) {
    const line = await reload(text, REFUSED);
    t.match(line['reason'], reason);
    t.equal(line['level'], 50, 'as an error');
    t.same(await downloadRate(agent), slow, text);
  }
  t.equal(await fetched(agent), 0, 'the download is still under way');
  t.same(linesOf(agent, TAKEN), []);

  t.match(await reload('download: {rate: 1GB/s}\nlog: {level: debug}\n', TAKEN), {
    changed: ['download.rate', 'log.level'],
    needRestart: [],
  });
  t.match(await downloadRate(agent), { bytesPerSecond: 1e9, because: 'configuration' });
  t.same(await download.ended, { digest: download.digest, size: SIZE }, 'it was not cut, and ended');
});

t.test(
  'SIGHUP: what an operator set stays, and what needs a restart is named until it is done',
  async (t) => {
    const { agent, reload } = await configured(t, 'download: {rate: 10MB/s}\n');
    await limitsOf(agent, '--download', '5MB/s');
    const sized = 'download: {rate: 20MB/s}\ncache: {size: 50MiB}\n';
    t.match(await reload(sized, TAKEN), {
      changed: ['cache.size', 'download.rate'],
      needRestart: ['cache.size'],
    });
    t.match(await downloadRate(agent), { bytesPerSecond: 5e6, because: 'set' });
    t.match(
      (await limitsOf(agent, '--download', 'configured')).stdout,
      /^download +20\.0 MB\/s +configuration/m,
    );

    t.match(await reload(sized, TAKEN), { changed: [], needRestart: ['cache.size'] });
    t.match(await reload('download: {rate: 20MB/s}\n', TAKEN), { changed: ['cache.size'], needRestart: [] });
    t.equal(await agent.metric('shoal_cache_limit_bytes'), Number.POSITIVE_INFINITY);
  },
);

t.test('SIGHUP during the start is kept until the agent is up', async (t) => {
  const origin = await startProgram(t, 'origin');
  // A name that cannot be resolved is told early in the start.
  const origins = ['--origin', origin.url, '--origin', 'dns+http://nowhere.invalid:5000'];
  const agent = await startProgram(t, 'agent', origins);
  await agent.signal('SIGTERM');
  const before = agent.log().length;
  const started = agent.restart();
  await until(() => agent.log().length > before);
  process.kill(agent.pid, 'SIGHUP');
  await started;
  await until(() => linesOf(agent, TAKEN).length > 0);
  t.match(linesOf(agent, TAKEN), [{ changed: [], needRestart: [] }]);
});
