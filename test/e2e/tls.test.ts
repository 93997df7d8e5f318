import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { needs } from '../support/debian.ts';

const run = promisify(execFile);
const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));

/** Starts a program and answers with the address that its log says. */
async function start(t: Test, args: readonly string[]): Promise<string> {
  const child = spawn(bin, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGTERM');
    await exited;
  });
  let text = '';
  for await (const line of createInterface({ input: child.stderr })) {
    text += `${line}\n`;
    const address = /"address":"([^"]+)".*"msg":"ready"/.exec(line)?.[1];
    if (address) {
      child.stderr.resume();
      return address;
    }
  }
  throw new Error(`not ready:\n${text}`);
}

t.test('origin, agent and command line speak TLS with an authority of their own', async (t) => {
  await needs(t, ['openssl']);
  const folder = t.testdir();
  const [key, cert] = [path.join(folder, 'key.pem'), path.join(folder, 'cert.pem')];
  const names = 'subjectAltName=IP:127.0.0.1';
  const subject = ['-subj', '/CN=shoal test', '-addext', names, '-days', '2', '-nodes'];
  await run('openssl', [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    ...subject,
    '-keyout',
    key,
    '-out',
    cert,
  ]);
  const tls = ['--tls-cert', cert, '--tls-key', key];
  const flags = (name: string): string[] => [
    '--listen',
    '127.0.0.1:0',
    '--bittorrent-listen',
    '127.0.0.1:0',
    '--data',
    path.join(folder, name),
  ];

  const origin = `https://${await start(t, ['origin', ...flags('origin'), ...tls])}`;
  const agent = `https://${await start(t, ['agent', '--origin', origin, '--ca-file', cert, ...flags('agent'), ...tls])}`;

  const layer = path.join(folder, 'rootfs');
  await run('sh', ['-c', `mkdir '${layer}' && head -c 3000000 /dev/urandom > '${layer}/data'`]);
  await needs(t, ['umoci', 'skopeo']);
  const layout = path.join(folder, 'image');
  await run('umoci', ['init', '--layout', layout]);
  await run('umoci', ['new', '--image', `${layout}:v1`]);
  await run('umoci', ['insert', '--image', `${layout}:v1`, layer, '/data']);
  const host = new URL(origin).host;
  await run('skopeo', [
    'copy',
    '--dest-tls-verify=false',
    `oci:${layout}:v1`,
    `docker://${host}/sample/tls:v1`,
  ]);

  await t.rejects(
    run(bin, ['pull', 'sample/tls:v1', '--agent', agent]),
    /is signed by itself|unknown authority/,
  );
  const out = path.join(folder, 'pulled');
  const { stdout } = await run(bin, [
    'pull',
    'sample/tls:v1',
    '--agent',
    agent,
    '--ca-file',
    cert,
    '--oci-layout',
    out,
  ]);
  t.match(stdout, /all digests right/);
  t.ok(readdirSync(path.join(out, 'blobs/sha256')).length >= 3);
  const torrents = await run(bin, [
    'torrent',
    'sample/tls:v1',
    '--origin',
    origin,
    '--ca-file',
    cert,
    '--output',
    `${folder}/t/`,
  ]);
  t.match(torrents.stdout, /infohash [0-9a-f]{40}/);
  const { stdout: json } = await run(bin, [
    'status',
    '--url',
    origin,
    '--url',
    agent,
    '--ca-file',
    cert,
    '--json',
  ]);
  t.strictSame(
    json
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).status.program),
    ['origin', 'agent'],
  );
});
