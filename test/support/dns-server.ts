/** A name server on a loopback address of its own, for one program, that can fall silent. Needs root (port 53). */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Test } from 'tap';

export interface DnsServer {
  /** `silent`: no answer; `unknown`: NXDOMAIN; `answers`: every name has these addresses. */
  mode: 'silent' | 'unknown' | 'answers';
  /** By default 127.0.0.1. */
  addresses: readonly string[];
  /** Questions that came. */
  asked: number;
  /** Runs a program with this as its only name server. */
  readonly prefix: readonly string[];
}

export async function dnsServer(t: Test, folder: string): Promise<DnsServer> {
  const host = `127.53.${randomInt(1, 255)}.${randomInt(1, 255)}`;
  const socket = createSocket('udp4');
  socket.bind(53, host);
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  const file = path.join(folder, 'resolv.conf');
  await writeFile(file, `nameserver ${host}\n`);
  const mount = `mount --bind '${file}' /etc/resolv.conf && exec "$@"`;
  const server: DnsServer = {
    mode: 'silent',
    addresses: ['127.0.0.1'],
    asked: 0,
    prefix: ['unshare', '-m', 'sh', '-c', mount, 'sh'],
  };
  socket.on('message', (query, from) => {
    server.asked += 1;
    if (server.mode === 'silent') return;
    const answer = answerTo(query, server.mode === 'answers' ? server.addresses : undefined);
    socket.send(answer, from.port, from.address);
  });
  return server;
}

/** RFC 1035, section 4.1. An A question gets the addresses, any other an empty answer. */
function answerTo(query: Buffer, addresses: readonly string[] | undefined): Buffer {
  let end = 12;
  while ((query[end] ?? 0) !== 0) end += (query[end] ?? 0) + 1;
  const question = query.subarray(12, end + 5);
  const records = (query.readUInt16BE(end + 1) === 1 ? (addresses ?? []) : []).map((address) =>
    Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...address.split('.').map(Number)]),
  );
  const head = Buffer.alloc(12);
  query.copy(head, 0, 0, 2);
  head.writeUInt16BE(addresses ? 0x8180 : 0x8183, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  return Buffer.concat([head, question, ...records]);
}
