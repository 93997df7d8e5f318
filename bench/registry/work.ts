/** What is measured, each against one server: blobs by curl, small requests by the load generator. */
import { spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { connect } from './connection.ts';
import type { Load } from './load.ts';

const generator = fileURLToPath(new URL('./load.ts', import.meta.url));
const STEP_BYTES = 1024 * 1024;

/** Runs a command and answers with what it printed. Rejects when it fails. */
export async function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const code = await new Promise((resolve, reject) => child.once('close', resolve).once('error', reject));
  if (code !== 0) throw new Error(`${command} ended with ${code}`);
  return text;
}

/** Seconds until each of so many clients, started together, has all of `bytes`. */
export async function pull(url: string, clients: number, bytes: number): Promise<number> {
  const one = async (): Promise<number> => {
    const format = '%{time_total} %{size_download}';
    const text = await run('curl', ['-sf', '-o', '/dev/null', '-w', format, url]);
    const [seconds, got] = text.split(' ').map(Number);
    if (got !== bytes) throw new Error(`${url}: ${got} bytes came`);
    return seconds ?? Number.NaN;
  };
  return Math.max(...(await Promise.all(Array.from({ length: clients }, one))));
}

/** Seconds of POST, PATCH of the whole file and PUT, as docker and skopeo push a layer. */
export async function push(port: number, repository: string, file: string, digest: string): Promise<number> {
  const connection = await connect(port);
  const startedAt = performance.now();
  try {
    const begun = await connection.request('POST', `/v2/${repository}/blobs/uploads/`);
    const base = `http://127.0.0.1:${port}`;
    const headers = ['-H', 'Content-Type: application/octet-stream', '-H', 'Expect:'];
    const patch = ['-sf', '-X', 'PATCH', '-T', file, '-o', '/dev/null', '-w', '%header{location}'];
    const first = new URL(begun.header('location') ?? '', base);
    const location = new URL(await run('curl', [...patch, ...headers, first.href]), base);
    location.searchParams.set('digest', digest);
    const put = await connection.request('PUT', `${location.pathname}${location.search}`, {
      body: Buffer.alloc(0),
    });
    if (put.status !== 201) throw new Error(`the push was answered with ${put.status}`);
    return (performance.now() - startedAt) / 1000;
  } finally {
    connection.close();
  }
}

export async function generate(load: Load): Promise<{ seconds: number; done: number }> {
  const text = await run(process.execPath, [generator, JSON.stringify(load)]);
  return JSON.parse(text) as { seconds: number; done: number };
}

/** Writes `mebibytes` of random bytes and syncs them. */
export async function writeRandom(file: string, mebibytes: number): Promise<void> {
  const chunk = Buffer.alloc(STEP_BYTES);
  await writing(file, async (handle) => {
    for (let at = 0; at < mebibytes; at += 1) await handle.write(randomFillSync(chunk));
  });
}

/** Changes the first bytes, so that the file is another blob. */
export async function makeDifferent(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.write(randomFillSync(Buffer.alloc(64)), 0, 64, 0);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

async function writing(file: string, work: (handle: FileHandle) => Promise<void>): Promise<void> {
  const handle = await open(file, 'w');
  try {
    await work(handle);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}
