import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));

t.test('shoal up --once: the report is right and nothing is left behind', async (t) => {
  const temporary = t.testdir();
  const child = spawn(bin, ['up', '--once', '--json'], {
    env: { ...process.env, TMPDIR: temporary },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  t.equal(code, 0, err);
  const rows = out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.equal(rows.length, 9, 'three phases of three agents');
  for (const row of rows) {
    t.ok(row.bytes >= 100e6, `${row.phase} ${row.agent}: at least 100 MB`);
    t.ok(row.fromOrigin + row.fromPeers + row.fromCache >= row.bytes, 'every byte has a source');
  }
  const phase = (name: string) => rows.filter((row) => row.phase === name);
  for (const row of phase('one by one').slice(1)) {
    t.ok(row.fromOrigin < row.bytes / 2, `${row.agent} takes less than half from the origin`);
  }
  for (const row of phase('again')) t.equal(row.fromCache, row.bytes, 'a second pull comes from the cache');
  t.notMatch(err, '\x1b', 'no control characters without a terminal');
  t.strictSame(await readdir(temporary), []);
});

t.test('shoal up stays up until it is told to stop, and shows how to use it', async (t) => {
  const child = spawn(bin, ['up'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGTERM');
    await exited;
  });
  let out = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    out += chunk;
    if (out.includes('Ctrl-C stops everything')) break;
  }
  t.match(out, /all digests right/);
  const url = /^agent-1 +(http:\S+)/m.exec(out)?.[1] ?? '';
  t.match(out, `[host."${url}"]`, 'lines for containerd');
  t.match(out, `location = "${new URL(url).host}/docker.io"`, 'lines for CRI-O and podman');
  t.ok((await fetch(`${url}/readyz`)).ok);
  child.kill('SIGINT');
  t.strictSame(await exited, [0, null]);
  await t.rejects(fetch(`${url}/readyz`), 'the agents are gone too');
});
