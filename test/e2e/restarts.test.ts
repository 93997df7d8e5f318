/** The agent on a socket that outlives it, as under systemd; `node test/soak/restarts.ts` does this 200 times. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { pullThroughRestarts } from '../support/restarts.ts';

t.test('restarts under pulling clients: no pull fails', async (t) => {
  const { pulls, failed, restarts } = await pullThroughRestarts(t, { restarts: 5, clients: 4 });
  t.strictSame(failed, []);
  t.equal(restarts, 5);
  t.ok(pulls >= 20, `${pulls} pulls`);
});

t.test('a socket at another address than the configuration says is refused', async (t) => {
  const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));
  const flags = ['--origin', 'http://127.0.0.1:1', '--peer-listen', 'off', '--bittorrent-listen', 'off'];
  const command = [
    bin,
    'agent',
    ...flags,
    '--listen',
    '127.0.0.1:1',
    '--data',
    `${t.testdir()}/data`,
    '--log-level',
    'silent',
  ];
  const holder = fileURLToPath(new URL('../support/socket-holder.py', import.meta.url));
  const parent = spawn('python3', [holder], { stdio: ['pipe', 'pipe', 'pipe'] });
  const said = text(parent.stderr);
  parent.stdout.resume();
  parent.stdin.end(`${JSON.stringify(command)}\n`);
  await once(parent, 'exit');
  t.match(
    await said,
    /shoal agent: the socket that systemd handed over listens at 127\.0\.0\.1:\d+, the configuration says listen: 127\.0\.0\.1:1: make them agree/,
  );
});
