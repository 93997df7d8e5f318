/** An image of one layer of random bytes, made by umoci, that real clients can pull. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { needs } from './debian.ts';

const run = promisify(execFile);

/** Answers with its reference for skopeo. Needs root, as umoci does. */
export async function smallImage(t: Test, folder: string, bytes: number): Promise<string> {
  await needs(t, ['umoci', 'skopeo']);
  const layout = path.join(folder, 'image');
  const root = path.join(folder, 'root');
  await mkdir(root, { recursive: true });
  await writeFile(path.join(root, 'data'), randomBytes(bytes));
  await run('umoci', ['init', '--layout', layout]);
  await run('umoci', ['new', '--image', `${layout}:v1`]);
  await run('umoci', ['insert', '--image', `${layout}:v1`, root, '/data']);
  return `oci:${layout}:v1`;
}
