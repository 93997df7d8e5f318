/** Debian packages that a test needs. As root what is missing is installed; else the test fails and names it. */
import { execFile } from 'node:child_process';
import { mkdir, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Test } from 'tap';

const run = promisify(execFile);
const LOCK = path.join(os.tmpdir(), 'shoal-apt.lock');
/** Longer than an installation takes: a lock that old was left by a test that was killed. */
const STALE_MS = 15 * 60_000;

/** Makes sure that these packages are installed. Fails the test with the names of those that cannot be. */
export async function needs(t: Test, packages: readonly string[]): Promise<void> {
  if ((await missingOf(packages)).length === 0) return;
  if (process.getuid?.() === 0) await withLock(() => install(packages));
  const missing = await missingOf(packages);
  if (missing.length > 0) {
    const message = `this test needs Debian packages that are not installed: ${missing.join(' ')}`;
    t.fail(message);
    throw new Error(message);
  }
}

async function missingOf(packages: readonly string[]): Promise<string[]> {
  const checks = packages.map((name) =>
    run('dpkg-query', ['--status', name]).then(
      ({ stdout }) => stdout.includes('Status: install ok installed'),
      () => false,
    ),
  );
  const installed = await Promise.all(checks);
  return packages.filter((_, index) => installed[index] === false);
}

async function install(packages: readonly string[]): Promise<void> {
  const missing = await missingOf(packages);
  if (missing.length === 0) return;
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, maxBuffer: 64 << 20 };
  await run('apt-get', ['update', '-qq'], options).catch(() => undefined);
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], options).catch(
    () => undefined,
  );
}

/** Test files run at the same time, in processes of their own; a folder is made by one of them only. */
async function withLock(task: () => Promise<void>): Promise<void> {
  for (;;) {
    const mine = await mkdir(LOCK).then(
      () => true,
      () => false,
    );
    if (mine) break;
    const since = await stat(LOCK).then(
      (info) => info.mtimeMs,
      () => Date.now(),
    );
    if (Date.now() - since > STALE_MS) await rm(LOCK, { recursive: true, force: true });
    else await delay(250);
  }
  try {
    await task();
  } finally {
    await rm(LOCK, { recursive: true, force: true });
  }
}
