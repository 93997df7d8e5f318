/** Agents that find each other by mDNS alone, in a network of their own: no multicast leaves it. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';

const run = promisify(execFile);
const child = fileURLToPath(new URL('../support/lan-child.ts', import.meta.url));

t.test(
  'mDNS alone: the image of one agent is pulled by the others, the origin is gone',
  { skip: process.getuid?.() !== 0 && 'a network namespace needs root', timeout: 120_000 },
  async (t) => {
    const space = `shoal${process.pid}lan`;
    const ip = (...args: string[]) => run('ip', args);
    await ip('netns', 'add', space);
    t.teardown(() => ip('netns', 'del', space));
    await ip('-n', space, 'link', 'set', 'lo', 'up', 'multicast', 'on');
    await ip('-n', space, 'route', 'add', '224.0.0.0/4', 'dev', 'lo');
    const { stdout } = await run('ip', ['netns', 'exec', space, process.execPath, child], {
      timeout: 110_000,
    });
    t.same(JSON.parse(stdout), { pulled: 9, wrong: [] });
  },
);
