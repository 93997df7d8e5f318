import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { needs } from '../support/debian.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

/** Node cannot bind a unix datagram socket; python can, and prints each message as a line. */
const LISTENER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound', flush=True)
while True:
    print(s.recv(4096).decode().strip(), flush=True)
`;

t.test('readiness, watchdog and stopping are told to systemd', async (t) => {
  await needs(t, ['systemd', 'python3']);
  const folder = t.testdir();
  // A socket's path is at most 107 bytes, so it is named relative to a folder that is the working directory.
  const listener = spawn('python3', ['-c', LISTENER, 'notify'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => listener.kill('SIGKILL'));
  const messages = createInterface({ input: listener.stdout })[Symbol.asyncIterator]();
  const message = async (wanted: string): Promise<void> => {
    for (;;) {
      const { value, done } = await messages.next();
      if (done) throw new Error(`${wanted} was never told`);
      if (value === wanted) return;
    }
  };
  await message('bound');
  const flags = ['--listen', '127.0.0.1:0', '--bittorrent-listen', 'off', '--log-level', 'warn'];
  const origin = spawn(path.join(root, 'bin/shoal'), ['origin', ...flags], {
    cwd: folder,
    env: {
      ...process.env,
      NOTIFY_SOCKET: path.join('/proc', String(listener.pid), 'cwd', 'notify'),
      WATCHDOG_USEC: '200000',
      STATE_DIRECTORY: path.join(folder, 'state'),
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const exited = once(origin, 'exit');
  t.teardown(() => origin.kill('SIGKILL'));
  await message('READY=1');
  await message('WATCHDOG=1');
  t.ok(readdirSync(path.join(folder, 'state')).length > 0, 'data is in the StateDirectory');
  origin.kill('SIGTERM');
  await message('STOPPING=1');
  t.strictSame(await exited, [0, null]);
});

t.test('the units are valid and confined', async (t) => {
  await needs(t, ['systemd']);
  const socket = path.join(root, 'systemd/shoal-agent.socket');
  const verified = await run('systemd-analyze', ['verify', socket]).catch(
    (error: { stderr: string }) => error,
  );
  t.notMatch(verified.stderr, /socket/, 'no complaint about the socket');
  for (const program of ['origin', 'tracker', 'agent']) {
    const unit = path.join(root, 'systemd', `shoal-${program}.service`);
    // Every complaint but the one about a folder that only an installation has.
    const { stderr } = await run('systemd-analyze', ['verify', unit]).catch(
      (error: { stderr: string }) => error,
    );
    const complaints = stderr
      .split('\n')
      .filter((line) => line !== '' && !line.includes('/opt/shoal/bin/shoal is not executable'));
    t.strictSame(complaints, []);
    const { stdout } = await run('systemd-analyze', ['security', '--offline=true', '--no-pager', unit]);
    const exposure = Number(/Overall exposure level for .*: ([\d.]+)/.exec(stdout)?.[1]);
    t.ok(exposure <= 2, `exposure of ${program} is ${exposure}, at most 2 of 10`);
    t.match(readFileSync(unit, 'utf8'), `/etc/shoal/${program}.yaml`);
  }
});
