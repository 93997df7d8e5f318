/**
 * Rounds of the fuzz: hostile sessions against a seed and against a download, over real sockets, while an
 * honest seed serves the download. After each round the download must be complete and right; nothing
 * that is stored or served may have a wrong byte.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createSwarm, type PieceStore, type Swarm } from '#swarm';
import { type Metainfo, pieceCount, pieceHash } from '#torrent';
import {
  countingObserver,
  LOOPBACK,
  makeBlob,
  memoryStore,
  quiet,
  type TestBlob,
  until,
} from '../integration/swarm-support.ts';
import { type BlobShape, mutate, type Session, type Step, willingness } from './fuzz-sessions.ts';
import { message } from './raw-peer.ts';

/** Six pieces, the last of them short. */
const BLOB_BYTES = 5 * 262_144 + 20_000;

/** Honest sides that hang are found out after this. */
const PATIENCE_MS = 60_000;

/** A message is cut into so many writes at most: each costs turns of the event loop. */
const MOST_WRITES = 40;

export interface FuzzCounts {
  sessions: number;
  /** Messages and handshakes that were sent while the connection was open. */
  messages: number;
  /** Of these, mutated ones, and blocks that are not what was asked for. */
  mutated: number;
  /** Blocks that the hostile members got from us, all of them right. */
  served: number;
  downloads: number;
  rejectedPieces: number;
}

export interface Fuzz {
  readonly shape: BlobShape;
  readonly counts: FuzzCounts;
  /** One round; rejects when something was wrong. */
  round(towardsSeed: readonly Session[], towardsDownload: readonly Session[]): Promise<void>;
  /** Waits until every hostile connection is over, and rejects when one is not. */
  quiet(): Promise<void>;
  close(): Promise<void>;
}

export async function createFuzz(): Promise<Fuzz> {
  const blob = makeBlob(BLOB_BYTES);
  const { metainfo } = blob;
  const counts: FuzzCounts = {
    sessions: 0,
    messages: 0,
    mutated: 0,
    served: 0,
    downloads: 0,
    rejectedPieces: 0,
  };
  const shape = { pieces: pieceCount(metainfo), pieceLength: metainfo.pieceLength };
  const observed = countingObserver();
  const wrong: string[] = [];
  const member = (seeds: boolean): Promise<Swarm> =>
    createSwarm({
      listen: LOOPBACK,
      lookup: async (infoHash) =>
        seeds && infoHash === metainfo.infoHash
          ? { metainfo, store: memoryStore(metainfo, Buffer.from(blob.bytes)) }
          : undefined,
      observer: observed.observer,
      log: quiet,
    });
  const [honest, seed, leech] = [await member(true), await member(true), await member(false)];

  async function round(towardsSeed: readonly Session[], towardsDownload: readonly Session[]): Promise<void> {
    const store = checkedStore(metainfo, wrong);
    const download = leech.download({ metainfo, store });
    const context = { blob, shape, counts, wrong };
    const hostile = [
      ...towardsSeed.map((session) => play(session, portOf(seed), false, context)),
      ...towardsDownload.map((session) => play(session, portOf(leech), true, context)),
    ];
    // Half of a download's pieces may come from the hostile members before the honest one is met.
    const helped = Promise.race([...hostile.slice(towardsSeed.length), turns(60)]).then(() =>
      download.addPeers([{ host: '127.0.0.1', port: portOf(honest) }]),
    );
    await withPatience(Promise.all([...hostile, helped, download.completed]), 'the round');
    await download.close();
    if (!store.bytes.equals(blob.bytes)) wrong.push('a download has other bytes than its blob');
    counts.downloads += 1;
    counts.rejectedPieces += observed.rejected.splice(0).length;
    if (observed.unreadable.length > 0) wrong.push('a seed was given up');
    if (wrong.length > 0) throw new Error(wrong.join('; '));
  }

  return {
    shape,
    counts,
    round,
    quiet: () => until(() => observed.connected === 0, 'the connections to end', PATIENCE_MS),
    async close() {
      await Promise.all([honest.close(), seed.close(), leech.close()]);
    },
  };
}

function portOf(swarm: Swarm): number {
  if (swarm.address === undefined) throw new Error('does not listen');
  return swarm.address.port;
}

async function withPatience<T>(work: Promise<T>, what: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what} hangs`)), PATIENCE_MS);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** A store that looks at the hash of what it is given: no bad piece may come so far. */
function checkedStore(metainfo: Metainfo, wrong: string[]): PieceStore & { readonly bytes: Buffer } {
  const store = memoryStore(metainfo);
  return {
    bytes: store.bytes,
    has: store.has,
    read: store.read,
    async write(piece, bytes, source) {
      const hash = createHash('sha1').update(bytes).digest();
      if (!hash.equals(pieceHash(metainfo, piece))) wrong.push(`a bad piece ${piece} was stored`);
      await store.write(piece, bytes, source);
    },
  };
}

interface Context {
  readonly blob: TestBlob;
  readonly shape: BlobShape;
  readonly counts: FuzzCounts;
  readonly wrong: string[];
}

/** Each hostile member has an address and a name of its own: a ban of one must not keep the next from trying. */
let members = 0;
function nextAddress(): string {
  members += 1;
  return `127.${1 + ((members >> 16) % 250)}.${(members >> 8) & 0xff}.${members & 0xff}`;
}

/** Plays one session; resolves when the connection is over. */
async function play(session: Session, port: number, serves: boolean, context: Context): Promise<void> {
  const { counts } = context;
  const socket = connect({ port, host: '127.0.0.1', localAddress: nextAddress() });
  socket.setNoDelay(true).on('error', () => undefined);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const requests: Request[] = [];
  listen(socket, context, requests);
  counts.sessions += 1;
  await Promise.race([once(socket, 'connect').catch(() => undefined), closed]);

  let chunk = Number.POSITIVE_INFINITY;
  async function send(bytes: Buffer, mutated: boolean): Promise<void> {
    if (socket.destroyed) return;
    counts.messages += 1;
    if (mutated) counts.mutated += 1;
    const part = Math.max(chunk, Math.ceil(bytes.length / MOST_WRITES));
    for (let at = 0; at < bytes.length && !socket.destroyed; at += part) {
      socket.write(bytes.subarray(at, Math.min(bytes.length, at + part)));
      // Lets the other side read it, and end the connection, before more is sent and counted.
      await turns(2);
    }
  }

  const greeting = Buffer.concat([
    Buffer.from('\x13BitTorrent protocol', 'latin1'),
    session.reserved,
    Buffer.from(context.blob.metainfo.infoHash, 'hex'),
    Buffer.from(`-XX0000-${randomBytes(6).toString('hex')}`),
  ]);
  await send(mutate(greeting, session.greetingMutations), session.greetingMutations.length > 0);
  if (session.willing) await send(willingness(context.shape, serves), false);
  for (const step of session.steps) {
    if (socket.destroyed) break;
    if (step.kind === 'send') await send(step.bytes, step.mutated);
    else if (step.kind === 'cut') chunk = step.bytes;
    else if (step.kind === 'wait') await turns(step.turns);
    else {
      for (let turn = 0; turn < 30 && requests.length === 0 && !socket.destroyed; turn++) await turns(1);
      for (const request of requests.splice(0, step.count)) {
        for (const bytes of answers(request, step, context.blob)) await send(bytes, step.how !== 'right');
      }
    }
  }
  await turns(10);
  socket.end();
  setTimeout(() => socket.destroy(), 1_000).unref();
  await closed;
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
}

interface Request {
  readonly piece: number;
  readonly offset: number;
  readonly length: number;
}

function answers(
  request: Request,
  { how, at }: Step & { kind: 'answer' },
  { bytes, metainfo }: TestBlob,
): Buffer[] {
  const { piece, offset, length } = request;
  const from = piece * metainfo.pieceLength + offset;
  const block = Buffer.from(bytes.subarray(from, from + length));
  const right = message(7, [piece, offset], block);
  const place = 13 + (at % length);
  switch (how) {
    case 'right':
      return [right];
    case 'twice':
      return [right, right];
    case 'garbage':
      return [message(7, [piece, offset], block.fill(at & 0xff))];
    case 'oneByte':
      right[place] = (right[place] ?? 0) ^ 1;
      return [right];
    case 'moved':
      return [message(7, [(piece + 1) % pieceCount(metainfo), offset], block)];
    case 'short':
      return [message(7, [piece, offset], block.subarray(0, 1 + (at % length)))];
    case 'reject':
      return [message(16, [piece, offset, length])];
  }
}

/** Reads what we are sent: requests are kept, blocks must be right. */
function listen(socket: Socket, { blob, counts, wrong }: Context, requests: Request[]): void {
  const { bytes, metainfo } = blob;
  let pending: Buffer = Buffer.alloc(0);
  let greeted = false;
  socket.on('data', (data: Buffer) => {
    pending = pending.length === 0 ? data : Buffer.concat([pending, data]);
    if (!greeted && pending.length < 68) return;
    if (!greeted) pending = pending.subarray(68);
    greeted = true;
    while (pending.length >= 4) {
      const length = pending.readUInt32BE(0);
      if (pending.length < 4 + length) return;
      const body = pending.subarray(4, 4 + length);
      pending = pending.subarray(4 + length);
      if (body[0] === 6) {
        requests.push({
          piece: body.readUInt32BE(1),
          offset: body.readUInt32BE(5),
          length: body.readUInt32BE(9),
        });
      } else if (body[0] === 7) {
        counts.served += 1;
        const at = body.readUInt32BE(1) * metainfo.pieceLength + body.readUInt32BE(5);
        const block = body.subarray(9);
        if (!block.equals(bytes.subarray(at, at + block.length)))
          wrong.push(`a bad block at ${at} was served`);
      }
    }
  });
}
