/**
 * A real S3 server for tests: Ceph's object gateway over a cluster of one monitor and one storage
 * daemon that keeps everything in memory, all from Debian, on the loopback, gone with the test.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import type { Test } from 'tap';
import { needs } from './debian.ts';
import { freePort } from './ports.ts';

const exec = promisify(execFile);
const READY_ATTEMPTS = 600;
const MEMORY_BYTES = 3 * 1024 ** 3;

export interface S3Server {
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** For a look behind the store's back. */
  readonly client: S3Client;
  newBucket(): Promise<string>;
}

/** Starts the server, and puts its credentials into this process's environment, where the AWS SDK looks. */
export async function startS3Server(t: Test): Promise<S3Server> {
  await needs(t, ['ceph-mon', 'ceph-osd', 'radosgw']);
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-s3-'));
  const [monitor, gateway] = [await freePort(), await freePort()];
  const accessKeyId = 'SHOALTEST';
  const secretAccessKey = randomUUID();
  const endpoint = `http://127.0.0.1:${gateway}`;
  const children: ChildProcess[] = [];
  const run = (file: string, ...args: string[]): Promise<unknown> =>
    exec(file, ['-c', 'ceph.conf', ...args], { cwd: folder, timeout: 60_000 });
  const start = (file: string, ...args: string[]): void => {
    children.push(spawn(file, ['-c', 'ceph.conf', ...args, '-f'], { cwd: folder, stdio: 'ignore' }));
  };
  t.teardown(async () => {
    // The monitor last: the others wait for it when they end.
    for (const child of children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await rm(folder, { recursive: true, force: true });
  });

  const fsid = randomUUID();
  const address = `[v2:127.0.0.1:${monitor}/0]`;
  await writeFile(path.join(folder, 'ceph.conf'), configuration(folder, fsid, address, gateway));
  for (const name of ['mon', 'osd', 'rgw']) await mkdir(path.join(folder, name));
  await exec('monmaptool', ['--create', '--fsid', fsid, '--addv', 'a', address, 'monmap'], { cwd: folder });
  const key = async (name: string, ...caps: string[]): Promise<unknown> =>
    exec('ceph-authtool', ['keyring', '--gen-key', '-n', name, ...caps], { cwd: folder });
  await exec('ceph-authtool', ['--create-keyring', 'keyring'], { cwd: folder });
  await key('mon.', '--cap', 'mon', 'allow *');
  await key('client.admin', '--cap', 'mon', 'allow *', '--cap', 'osd', 'allow *', '--cap', 'mgr', 'allow *');
  await key('osd.0', '--cap', 'mon', 'allow profile osd', '--cap', 'osd', 'allow *');
  await key('client.rgw', '--cap', 'mon', 'allow rw', '--cap', 'osd', 'allow rwx');
  await run('ceph-mon', '--mkfs', '-i', 'a', '--monmap', 'monmap', '--keyring', 'keyring');
  start('ceph-mon', '-i', 'a');
  const osd = randomUUID();
  await run('ceph', 'osd', 'new', osd);
  await run('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', osd);
  await run('ceph', 'osd', 'crush', 'add', 'osd.0', '1.0', 'host=here', 'root=default');
  start('ceph-osd', '-i', '0');
  start('radosgw', '-n', 'client.rgw');
  await run(
    'radosgw-admin',
    ...['-n', 'client.rgw', 'user', 'create', '--uid=shoal', '--display-name=shoal'],
    ...[`--access-key=${accessKeyId}`, `--secret-key=${secretAccessKey}`],
  );
  await ready(endpoint);

  process.env['AWS_ACCESS_KEY_ID'] = accessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = secretAccessKey;
  const client = new S3Client({
    ...{ endpoint, region: 'default', forcePathStyle: true },
    credentials: { accessKeyId, secretAccessKey },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  t.teardown(() => client.destroy());
  return {
    ...{ endpoint, accessKeyId, secretAccessKey, client },
    async newBucket() {
      const Bucket = `b${randomUUID()}`;
      await client.send(new CreateBucketCommand({ Bucket }));
      return Bucket;
    },
  };
}

async function ready(endpoint: string): Promise<void> {
  for (let attempt = 0; attempt < READY_ATTEMPTS; attempt += 1) {
    const answered = await fetch(endpoint).then(
      ({ ok }) => ok,
      () => false,
    );
    if (answered) return;
    await delay(100);
  }
  throw new Error('the S3 server (radosgw) did not answer');
}

function configuration(folder: string, fsid: string, address: string, gateway: number): string {
  return `[global]
fsid = ${fsid}
mon host = ${address}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush update on start = false
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 0
paxos propose interval = 0.01
paxos min wait = 0.01
mon data = ${folder}/mon
osd data = ${folder}/osd
osd objectstore = memstore
memstore device bytes = ${MEMORY_BYTES}
run dir = ${folder}
admin socket = ${folder}/$name.$pid.asok
pid file =
log file = ${folder}/$name.log
log to stderr = false
keyring = ${folder}/keyring
[client.rgw]
rgw data = ${folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:${gateway}
`;
}
