import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { symlinkSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';

const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** An environment without SHOAL_ settings of the machine, and without the bundled Node on the PATH. */
function environment(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('SHOAL_'));
  return { ...Object.fromEntries(kept), PATH: '/usr/bin:/bin', ...extra };
}

function shoal(
  args: readonly string[],
  options: { file?: string; cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Result> {
  const { promise, resolve } = Promise.withResolvers<Result>();
  const settings = { cwd: options.cwd, env: environment(options.env), timeout: 60_000 };
  const child = execFile(options.file ?? bin, [...args], settings, (_error, out, err) => {
    resolve({ code: child.exitCode, out, err });
  });
  return promise;
}

t.test('it runs from any folder and through a symbolic link', async (t) => {
  const folder = t.testdir();
  const link = path.join(folder, 'a link to shoal');
  symlinkSync(bin, link);
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
  for (const file of [bin, link]) {
    t.strictSame(await shoal(['--version'], { file, cwd: folder }), {
      code: 0,
      out: `shoal ${version}\n`,
      err: '',
    });
  }
});

t.test('help: of all, of each command', async (t) => {
  const { code, out } = await shoal(['--help']);
  t.equal(code, 0);
  const names = [...out.matchAll(/^ {2}(\w+) {2,}/gm)].map((match) => match[1] ?? '');
  t.strictSame(names, [
    'up',
    'origin',
    'tracker',
    'agent',
    'pull',
    'prefetch',
    'torrent',
    'status',
    'swarm',
    'explain',
    'report',
    'limits',
    'config',
  ]);
  for (const name of names) {
    const help = await shoal([name, '--help']);
    t.equal(help.code, 0, name);
    t.match(help.out, new RegExp(`^Usage: shoal ${name} `));
    t.equal(help.err, '');
  }
  t.match((await shoal(['help', 'pull'])).out, /^Usage: shoal pull/);
});

t.test('mistakes on the command line: exit code 2, one line, and where to look', async (t) => {
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /^Usage: /],
    [['pul'], /^shoal: there is no command 'pul'; did you mean 'pull'\?\nTry 'shoal --help'\.\n$/],
    [['pull'], /^shoal pull: REF is missing\n/],
    [['swarm', 'sha256:1'], /'sha256:1' is neither a digest such as sha256:… nor an infohash/],
    [['pull', 'a:b', 'c'], /'c' is one argument too many/],
    [['pull', 'UPPER:case'], /'UPPER:case' is no image reference/],
    [['pull', '--agnt', 'x', 'a'], /unknown flag '--agnt'; did you mean --agent\?/],
    [['pull', 'a', '--agent'], /--agent/],
    [['pull', 'a', '--agent', 'nonsense'], /agent: 'nonsense' \(flag --agent\) is wrong: expected a URL/],
    [['torrent', `sha256:${'0'.repeat(64)}`], /needs its repository: --name/],
    [['node'], /^shoal: there is no command 'node'; these begin so: node setup, node doctor\n/],
    [['node', 'setup'], /^shoal node setup: containerd\|crio\|podman is missing\n/],
    [['node', 'setup', 'podman', '--all', '--registry', 'a.test'], /give either --all or --registry/],
    [['config', 'show'], /use 'shoal config print'/],
    [['agent'], /origin: the agent needs an origin: --origin/],
    [['origin', '--listen', '0.0.0.0:0'], /listen: other machines can reach this listener.*--admission open/],
    [
      [
        'agent',
        '--origin',
        'http://127.0.0.1:1',
        '--peer-listen',
        '0.0.0.0:0',
        '--data',
        '/tmp/shoal-no-member',
      ],
      /--join-token-file FILE/,
    ],
    [['cluster', 'revoke', 'somebody'], /'somebody' is no peer id/],
    [['cluster', 'join-token', '--uses', '0'], /whole number/],
    [['origin', '--tls-cert', 'c.pem'], /tls\.key: TLS needs both/],
  ];
  for (const [args, message] of cases) {
    const { code, out, err } = await shoal(args);
    t.equal(code, 2, args.join(' '));
    t.equal(out, '');
    t.match(err, message);
    t.notMatch(err, /^\s+at /m, 'no stack');
  }
});

t.test('an unknown key of a file is named with its line', async (t) => {
  const file = path.join(
    t.testdir({ 'agent.yaml': 'origin: http://127.0.0.1:5000\ncache:\n  sze: 1GiB\n' }),
    'agent.yaml',
  );
  const expected = {
    code: 2,
    out: '',
    err: `shoal agent: ${file}:3: unknown key 'cache.sze'; did you mean 'cache.size'?\n`,
  };
  t.strictSame(await shoal(['agent', '--config', file]), expected);
  t.strictSame(await shoal(['agent'], { env: { SHOAL_CONFIG: file } }), expected);
});

t.test('config print shows each value and its source; --json the same for machines', async (t) => {
  const file = path.join(t.testdir({ 'agent.yaml': 'zone: eu1/rack7\n' }), 'agent.yaml');
  const env = { SHOAL_CACHE_SIZE: '10GiB', SHOAL_ORIGN: 'http://x' };
  const { code, out, err } = await shoal(['config', 'print', 'agent', '--config', file], { env });
  t.equal(code, 0);
  t.match(out, `zone: eu1/rack7 # ${file}:1\n`);
  t.match(out, /cache:\n {2}size: 10GiB # environment SHOAL_CACHE_SIZE\n/);
  t.match(out, 'listen: 127.0.0.1:5001 # default\n');
  t.match(
    err,
    /warning: the environment variable SHOAL_ORIGN means nothing to shoal; did you mean SHOAL_ORIGIN\?/,
  );
  const json = await shoal(['config', 'print', 'agent', '--json', '--config', file]);
  const lines = json.out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.match(
    lines.find((line) => line.key === 'zone'),
    { program: 'agent', value: 'eu1/rack7', source: `${file}:1` },
  );
  const all = await shoal(['config', 'print']);
  t.strictSame(
    [...all.out.matchAll(/^# shoal (\w+)$/gm)].map((match) => match[1]),
    ['origin', 'tracker', 'agent'],
  );
});

t.test('failures: exit code 1, one line that says what to do', async (t) => {
  const refused = await shoal(['pull', 'a:b', '--agent', 'http://127.0.0.1:1']);
  t.strictSame(refused, {
    code: 1,
    out: '',
    err: 'shoal pull: nothing listens at 127.0.0.1:1: is the program running, and is the URL right?\n',
  });
  const status = await shoal(['status', '--url', 'http://127.0.0.1:1', '--json']);
  t.equal(status.code, 1);
  t.match(JSON.parse(status.out), { url: 'http://127.0.0.1:1', problem: /nothing listens/ });
  const debug = await shoal(['pull', 'a:b', '--agent', 'http://127.0.0.1:1'], {
    env: { SHOAL_LOG_LEVEL: 'debug' },
  });
  t.match(debug.err, /^\s+at /m, 'a stack only when asked for');
});

t.test('a port that is taken is named', async (t) => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const args = [
    'origin',
    '--listen',
    `127.0.0.1:${port}`,
    '--peer-listen',
    '127.0.0.1:0',
    '--bittorrent-listen',
    '127.0.0.1:0',
    '--data',
    t.testdir(),
  ];
  const { code, err } = await shoal([...args, '--log-level', 'silent']);
  t.equal(code, 1);
  t.equal(
    err,
    `shoal origin: 127.0.0.1:${port} is in use: stop the program that has it or choose another address\n`,
  );
});

/** A running origin, its log lines, and a wait for one of them. */
function startOrigin(t: Test, args: readonly string[]) {
  const flags = ['--listen', '127.0.0.1:0', '--bittorrent-listen', 'off', ...args];
  const child = spawn(bin, ['origin', ...flags], { env: environment(), stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  const lines = createInterface({ input: child.stderr })[Symbol.asyncIterator]();
  const line = async (message: string): Promise<Record<string, unknown>> => {
    for (;;) {
      const { value, done } = await lines.next();
      if (done) throw new Error(`the origin ended without saying '${message}'`);
      const parsed = JSON.parse(value) as Record<string, unknown>;
      if (parsed['msg'] === message) return parsed;
    }
  };
  return { child, exited, line };
}

t.test('SIGHUP applies the log level and names what needs a restart; SIGTERM ends with 0', async (t) => {
  const folder = t.testdir();
  const file = path.join(folder, 'origin.yaml');
  await writeFile(file, 'log:\n  level: info\n');
  const { child, exited, line } = startOrigin(t, ['--data', path.join(folder, 'data'), '--config', file]);
  const ready = await line('ready');
  t.match(ready['address'], /^127\.0\.0\.1:[1-9]\d*$/);
  await writeFile(file, 'log:\n  level: debug\nupload:\n  rate: 1MB/s\n');
  child.kill('SIGHUP');
  t.match(await line('configuration read again'), {
    changed: ['log.level', 'upload.rate'],
    needRestart: ['upload.rate'],
  });
  await writeFile(file, 'upload:\n  rat: 1MB/s\n');
  child.kill('SIGHUP');
  const refused = await line('the configuration cannot be used; the running one is kept');
  t.match(refused['reason'], /origin\.yaml:2: unknown key 'upload\.rat'/);
  t.ok((await fetch(`http://${ready['address']}/healthz`)).ok, 'still serves');
  child.kill('SIGTERM');
  t.strictSame(await exited, [0, null]);
});

t.test('a data folder in use is refused with the reason', async (t) => {
  const data = path.join(t.testdir(), 'data');
  const { line } = startOrigin(t, ['--data', data]);
  await line('ready');
  const args = [
    'origin',
    '--listen',
    '127.0.0.1:0',
    '--bittorrent-listen',
    'off',
    '--log-level',
    'silent',
    '--data',
    data,
  ];
  const { code, err } = await shoal(args);
  t.equal(code, 1);
  t.match(err, /^shoal origin: the data folder is in use by another shoal/);
});

t.test('a second signal exits at once', async (t) => {
  const { child, exited, line } = startOrigin(t, ['--data', path.join(t.testdir(), 'data')]);
  const { address } = await line('ready');
  // An upload whose body never ends keeps the drain waiting. 100 Continue says that it has begun.
  const begun = await fetch(`http://${address}/v2/a/blobs/uploads/`, { method: 'POST' });
  const url = new URL(begun.headers.get('location') ?? '', `http://${address}`);
  const upload = request(url, { method: 'PATCH', headers: { expect: '100-continue' } });
  upload.on('error', () => undefined);
  t.teardown(() => upload.destroy());
  upload.flushHeaders();
  await once(upload, 'continue');
  upload.write(Buffer.alloc(1000));
  child.kill('SIGTERM');
  await line('stopping: finishing what streams; a second signal exits at once');
  child.kill('SIGTERM');
  t.strictSame(await exited, [1, null]);
});
