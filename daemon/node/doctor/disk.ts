/** Has the cache's folder room, and may the agent write there? */
import { lstat, readdir, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import { type Finding, ok, wrong } from './finding.ts';

/** Below these a pull of a common image fails, or every write does. */
const LEAST_FREE_BYTES = 1024 ** 3;
const LEAST_FREE_SHARE = 0.02;
const LEAST_FREE_INODES = 1_000;

export async function checkDisk(options: {
  readonly data: string;
  readonly cacheSizeBytes: number | undefined;
  /** The user that the agent runs as, if it is known. */
  readonly uid: number | undefined;
}): Promise<readonly Finding[]> {
  const { data, cacheSizeBytes, uid } = options;
  const info = await stat(data).catch((error: NodeJS.ErrnoException) => error);
  if (info instanceof Error) {
    const cure =
      info.code === 'ENOENT'
        ? 'the agent makes it at its start: systemctl start shoal-agent'
        : 'run this as root';
    return [wrong('data folder', `${data} cannot be looked at (${info.code})`, cure)];
  }
  const findings = [await rights(data, uid ?? info.uid)];
  const { bavail, blocks, bsize, files, ffree } = await statfs(data);
  const [free, size] = [bavail * bsize, blocks * bsize];
  const cure = `free some, set cache.size below what the disk has, or give 'data' a larger one: df -h ${data}`;
  if (free < Math.min(LEAST_FREE_BYTES, size) || free < size * LEAST_FREE_SHARE) {
    findings.push(wrong('disk', `${inMiB(free)} of ${inMiB(size)} are free at ${data}`, cure));
  } else if (cacheSizeBytes !== undefined && cacheSizeBytes > size) {
    findings.push(
      wrong('disk', `cache.size is ${inMiB(cacheSizeBytes)}, the disk of ${data} has ${inMiB(size)}`, cure),
    );
  } else {
    findings.push(ok('disk', `${inMiB(free)} of ${inMiB(size)} are free at ${data}`));
  }
  // Some file systems make inodes as they need them, and say 0.
  if (files > 0 && ffree < LEAST_FREE_INODES) {
    findings.push(
      wrong(
        'inodes',
        `${ffree} inodes are free at ${data}`,
        `remove small files on that disk, or give 'data' another: df -i ${data}`,
      ),
    );
  }
  return findings;
}

function inMiB(bytes: number): string {
  return `${Math.round(bytes / 1024 ** 2)} MiB`;
}

/** The folder and what lies directly in it must be the agent's: one run as root leaves files that it cannot write. */
async function rights(data: string, uid: number): Promise<Finding> {
  const names = await readdir(data).catch(() => []);
  for (const name of ['.', ...names]) {
    const info = await lstat(path.join(data, name)).catch(() => undefined);
    if (info === undefined || info.isSymbolicLink()) continue;
    if (info.uid === uid && (info.mode & 0o600) === 0o600) continue;
    if (uid === 0) continue;
    return wrong(
      'data folder',
      `${path.join(data, name)} belongs to user ${info.uid} with mode ${(info.mode & 0o777).toString(8)}, the agent runs as user ${uid}`,
      `chown -R ${uid}: ${data} && chmod -R u+rwX ${data}, then systemctl restart shoal-agent`,
    );
  }
  return ok('data folder', `${data} belongs to the agent's user`);
}
