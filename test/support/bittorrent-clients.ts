/** Ordinary BitTorrent clients as child processes, each told to work on the loopback only. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { freePort } from './ports.ts';

/** Debian's own Python, which python3-libtorrent belongs to; another may come first on the PATH. */
const PYTHON = '/usr/bin/python3';
const webTorrentClient = fileURLToPath(new URL('./webtorrent-client.ts', import.meta.url));
const libtorrentClient = fileURLToPath(new URL('./libtorrent-client.py', import.meta.url));

interface Address {
  readonly host: string;
  readonly port: number;
}

/**
 * Downloads the torrent into the folder; resolves when the client says that it is complete. The
 * torrent's tracker names the seed; a client that asks no tracker is told of it.
 */
export type ClientDownload = (t: Test, torrent: string, folder: string, seed?: Address) => Promise<void>;

/** Seeds what lies in the folder; resolves, with its address, when the client takes connections. */
export type ClientSeed = (t: Test, torrent: string, folder: string) => Promise<Address>;

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

const ARIA2_FLAGS = ['--no-conf', '--quiet', '--disable-ipv6', '--enable-dht=false', '--bt-enable-lpd=false'];

export const aria2: ClientDownload = async (_t, torrent, folder) => {
  const port = `--listen-port=${await freePort()}`;
  const args = [...ARIA2_FLAGS, port, '--seed-time=0', '-d', folder, '-T', torrent];
  await promisify(execFile)('aria2c', args, { timeout: 120_000 });
};

export const aria2Seed: ClientSeed = async (t, torrent, folder) => {
  const port = await freePort();
  const mode = ['--check-integrity=true', '--seed-ratio=0', `--listen-port=${port}`];
  const child = spawn('aria2c', [...ARIA2_FLAGS, ...mode, '-d', folder, '-T', torrent], { stdio: 'ignore' });
  t.teardown(() => stop(child));
  return listening(child, { host: '127.0.0.1', port });
};

async function listening(child: ChildProcess, address: Address): Promise<Address> {
  while (!(await answers(address))) {
    if (child.exitCode !== null) throw new Error(`the client ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return address;
}

function answers(address: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address.port, address.host);
    const tell = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => tell(true)).once('error', () => tell(false));
  });
}

/** It takes no peers at 127.0.0.0/8, and would try each by uTP for half a minute before TCP. */
async function startTransmission(
  t: Test,
  folder: string,
  port: number,
  flags: readonly string[],
): Promise<ChildProcess> {
  const config = path.join(folder, 'config');
  await mkdir(config, { recursive: true });
  const settings = { 'utp-enabled': false, 'dht-enabled': false, 'lpd-enabled': false };
  await writeFile(path.join(config, 'settings.json'), JSON.stringify(settings));
  const common = ['--config-dir', config, '--download-dir', folder, '--port', String(port), '--no-portmap'];
  // Without stdbuf its lines would wait for a full buffer.
  const command = ['-o0', 'transmission-cli', ...common, '-et', '-D', '-U', ...flags];
  const child = spawn('stdbuf', command, { stdio: ['ignore', 'pipe', 'ignore'] });
  t.teardown(() => stop(child));
  return child;
}

export const transmission: ClientDownload = async (t, torrent, folder) => {
  const finished = path.join(folder, 'finished');
  const script = path.join(folder, 'done.sh');
  await writeFile(script, `#!/bin/sh\ntouch '${finished}'\n`, { mode: 0o755 });
  const child = await startTransmission(t, folder, await freePort(), ['--finish', script, torrent]);
  child.stdout?.resume();
  while (!(await exists(finished))) {
    if (child.exitCode !== null) throw new Error(`transmission ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await stop(child);
};

/** At `host`, which is not the loopback. It dies now and then of a connection that comes before it has verified, so nobody probes. */
export const transmissionSeed =
  (host: string): ClientSeed =>
  async (t, torrent, folder) => {
    const port = await freePort();
    const child = await startTransmission(t, folder, port, ['--verify', torrent]);
    await line(child, /^Seeding, /);
    child.stdout?.resume();
    return { host, port };
  };

export const webTorrent: ClientDownload = async (t, torrent, folder, seed) => {
  const peer = `${seed?.host}:${seed?.port}`;
  const child = spawn(process.execPath, [webTorrentClient, 'download', torrent, folder, peer], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => stop(child));
  await line(child, /^complete$/);
  await stop(child);
};

export const webTorrentSeed: ClientSeed = async (t, torrent, folder) => {
  const child = spawn(process.execPath, [webTorrentClient, 'seed', torrent, folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => stop(child));
  const told = await line(child, /^listening \d+$/);
  return { host: '127.0.0.1', port: Number(told.split(' ')[1]) };
};

export const libtorrent: ClientDownload = async (t, torrent, folder) => {
  const child = spawn(PYTHON, [libtorrentClient, 'download', torrent, folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => stop(child));
  await line(child, /^complete$/);
  await stop(child);
};

export const libtorrentSeed: ClientSeed = async (t, torrent, folder) => {
  const child = spawn(PYTHON, [libtorrentClient, 'seed', torrent, folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => stop(child));
  const told = await line(child, /^listening \d+$/);
  return { host: '127.0.0.1', port: Number(told.split(' ')[1]) };
};

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
