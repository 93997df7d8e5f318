/** Ordinary BitTorrent clients as child processes, each told to work on the loopback only. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { freePort } from './shoal.ts';

/** Debian's own Python, which python3-libtorrent belongs to; another may come first on the PATH. */
const PYTHON = '/usr/bin/python3';
const libtorrentClient = fileURLToPath(new URL('./libtorrent-client.py', import.meta.url));

/** Downloads the torrent into the folder; resolves when the client says that it is complete. */
export type ClientDownload = (t: Test, torrent: string, folder: string) => Promise<void>;

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}

/** Waits for a line of a child's output; fails when the child ends before. */
async function line(child: ChildProcess, pattern: RegExp): Promise<string> {
  if (!child.stdout) throw new Error('no output');
  for await (const text of createInterface({ input: child.stdout })) {
    if (pattern.test(text)) return text;
  }
  throw new Error(`the client ended without ${pattern}`);
}

export const aria2: ClientDownload = async (_t, torrent, folder) => {
  const flags = ['--enable-dht=false', '--enable-dht6=false', '--bt-enable-lpd=false', '--seed-time=0'];
  const port = `--listen-port=${await freePort()}`;
  const args = [...flags, port, '--quiet', '--no-conf', '--disable-ipv6', '-d', folder, '-T', torrent];
  await promisify(execFile)('aria2c', args, { timeout: 120_000 });
};

/** It takes no peers at 127.0.0.0/8, and would try each by uTP for half a minute before TCP. */
export const transmission: ClientDownload = async (t, torrent, folder) => {
  const config = path.join(folder, 'config');
  const finished = path.join(folder, 'finished');
  const script = path.join(folder, 'done.sh');
  await mkdir(config, { recursive: true });
  const settings = { 'utp-enabled': false, 'dht-enabled': false, 'lpd-enabled': false };
  await writeFile(path.join(config, 'settings.json'), JSON.stringify(settings));
  await writeFile(script, `#!/bin/sh\ntouch '${finished}'\n`, { mode: 0o755 });
  const paths = ['--config-dir', config, '--download-dir', folder, '--finish', script];
  const port = ['--port', String(await freePort()), '--no-portmap'];
  const child = spawn('transmission-cli', [...paths, ...port, '-et', '-D', '-U', torrent], {
    stdio: 'ignore',
  });
  t.teardown(() => stop(child));
  while (!(await exists(finished))) {
    if (child.exitCode !== null) throw new Error(`transmission ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await stop(child);
};

export const libtorrent: ClientDownload = async (t, torrent, folder) => {
  const child = spawn(PYTHON, [libtorrentClient, 'download', torrent, folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => stop(child));
  await line(child, /^complete$/);
  await stop(child);
};

/** A libtorrent session that seeds what lies in the folder. */
export async function libtorrentSeed(
  t: Test,
  torrent: string,
  folder: string,
): Promise<{ readonly host: string; readonly port: number }> {
  const child = spawn(PYTHON, [libtorrentClient, 'seed', torrent, folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => stop(child));
  const listening = await line(child, /^listening \d+$/);
  return { host: '127.0.0.1', port: Number(listening.split(' ')[1]) };
}

/** A tracker that answers every announce with the same peers (BEP 3, BEP 23). Returns its announce URL. */
export async function fixedTracker(
  t: Test,
  peers: readonly { readonly host: string; readonly port: number }[],
  host = '127.0.0.1',
): Promise<string> {
  const compact = Buffer.concat(
    peers.map(({ host, port }) => Buffer.from([...host.split('.').map(Number), port >> 8, port & 0xff])),
  );
  const answer = Buffer.concat([
    Buffer.from(`d8:intervali60e5:peers${compact.length}:`),
    compact,
    Buffer.from('e'),
  ]);
  const server = createServer((_request, response) => response.end(answer));
  server.listen(0, host);
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return `http://${host}:${typeof address === 'object' && address ? address.port : 0}/announce`;
}

async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch {
    return false;
  }
}
