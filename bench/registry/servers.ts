/**
 * The servers that are compared, each a child process on a loopback port of its own: Shoal's origin and
 * Debian's docker-registry as their users run them, and nginx with sendfile as the bound of a pull.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/ports.ts';
import { untilReady } from '../measure/ready.ts';

const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));
const END_DEADLINE_MS = 40_000;

export interface Server {
  readonly port: number;
  readonly pid: number;
  /** SIGTERM, and SIGKILL when that takes too long. */
  stop(): Promise<void>;
}

/** An origin with its defaults but for ports and folder. `node` are flags for the runtime, such as --cpu-prof. */
export async function startOrigin(folder: string, node: readonly string[] = []): Promise<Server> {
  const port = await freePort();
  const flags = ['origin', '--listen', `127.0.0.1:${port}`, '--data', path.join(folder, 'shoal')];
  const listeners = ['--bittorrent-listen', '127.0.0.1:0', '--peer-listen', '127.0.0.1:0'];
  return start(bin, [...flags, ...listeners], port, '/readyz', { NODE_OPTIONS: node.join(' ') });
}

/**
 * docker-registry with the configuration that Debian ships (filesystem driver, blob descriptors in memory,
 * access log), without log-ins. It calls fsync on each file that it writes, and on no folder.
 */
export async function startDockerRegistry(folder: string): Promise<Server> {
  const port = await freePort();
  const config = path.join(folder, 'docker-registry.yml');
  await writeFile(
    config,
    `version: 0.1
log: { fields: { service: registry } }
storage:
  cache: { blobdescriptor: inmemory }
  filesystem: { rootdirectory: ${path.join(folder, 'docker-registry')} }
  delete: { enabled: true }
http:
  addr: 127.0.0.1:${port}
  headers: { X-Content-Type-Options: [nosniff] }
health: { storagedriver: { enabled: true, interval: 10s, threshold: 3 } }
`,
  );
  return start('docker-registry', ['serve', config], port, '/v2/');
}

/** nginx that sends the files of `root` by sendfile(2), with as many workers as there are cores. */
export async function startNginx(folder: string, root: string): Promise<Server> {
  const port = await freePort();
  const own = path.join(folder, 'nginx');
  await mkdir(own, { recursive: true });
  const config = path.join(own, 'nginx.conf');
  await writeFile(
    config,
    `daemon off; worker_processes auto; pid ${own}/pid; error_log ${own}/log; events {}
     http { access_log off; sendfile on; keepalive_requests 1000000; client_body_temp_path ${own}/t1; proxy_temp_path ${own}/t2;
     fastcgi_temp_path ${own}/t3; uwsgi_temp_path ${own}/t4; scgi_temp_path ${own}/t5;
     server { listen 127.0.0.1:${port}; root ${root}; location = /ready { return 200; } } }
     ${process.getuid?.() === 0 ? 'user root;' : ''}`,
  );
  return start('nginx', ['-c', config, '-e', path.join(own, 'log')], port, '/ready');
}

async function start(
  command: string,
  args: readonly string[],
  port: number,
  readyPath: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Server> {
  const child = spawn(command, args, {
    stdio: ['ignore', 'ignore', 'ignore'],
    env: { ...process.env, ...env },
  });
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  try {
    await Promise.race([untilReady(child, `http://127.0.0.1:${port}${readyPath}`), failed]);
  } catch (error) {
    child.kill('SIGKILL');
    throw new Error(`${command} did not start`, { cause: error });
  }
  return { port, pid: child.pid ?? 0, stop: () => end(child) };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill('SIGKILL'), END_DEADLINE_MS);
  child.kill('SIGTERM');
  await once(child, 'exit');
  clearTimeout(timer);
}
