/**
 * A hashing thread: reads the files itself, with blocking calls and one buffer, since nothing else
 * runs here. A follower keeps a digest open while its file grows.
 */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { leafHasher } from './leaf-hasher.ts';
import type { Job, JobAnswer, JobMessage, JobResult } from './protocol.ts';

const buffer = Buffer.allocUnsafe(1024 * 1024);

interface Follower {
  readonly fd: number;
  readonly hash: Hash;
  at: number;
}
const followers = new Map<number, Follower>();

function withFile<T>(path: string, use: (fd: number, size: number) => T): T {
  const fd = openSync(path, 'r');
  try {
    return use(fd, fstatSync(fd).size);
  } finally {
    closeSync(fd);
  }
}

/** Gives the bytes from `from` to `to` to `use`, in order; each part is overwritten by the next. */
function readParts(fd: number, from: number, to: number, use: (part: Buffer) => void): void {
  for (let at = from; at < to; ) {
    const read = readSync(fd, buffer, 0, Math.min(buffer.length, to - at), at);
    if (read === 0)
      throw Object.assign(new Error(`the file ends at ${at}, before ${to}`), { code: 'ERR_SHORT_FILE' });
    use(buffer.subarray(0, read));
    at += read;
  }
}

const hashRange = (fd: number, hash: Hash, from: number, to: number): void =>
  readParts(fd, from, to, (part) => hash.update(part));

function hashPiece(fd: number, size: number, pieceLength: number, index: number): Buffer {
  const hash = createHash('sha1');
  const from = index * pieceLength;
  hashRange(fd, hash, from, Math.min(from + pieceLength, size));
  return hash.digest();
}

function advance(follower: Follower, to: number): void {
  if (to <= follower.at) return;
  hashRange(follower.fd, follower.hash, follower.at, to);
  follower.at = to;
}

function following(id: number): Follower {
  const follower = followers.get(id);
  if (!follower) throw new Error('the follower has failed or ended');
  return follower;
}

function end(id: number): void {
  const follower = followers.get(id);
  if (!follower) return;
  followers.delete(id);
  closeSync(follower.fd);
}

function run(job: Job): JobResult {
  switch (job.op) {
    case 'pieces':
      return withFile(job.path, (fd, size) => {
        const pieces = new Uint8Array(20 * Math.ceil(size / job.pieceLength));
        for (let index = 0; index * 20 < pieces.length; index += 1) {
          pieces.set(hashPiece(fd, size, job.pieceLength, index), index * 20);
        }
        return pieces;
      });
    case 'check':
      return withFile(job.path, (fd, size) =>
        job.which.map((index) => {
          if (index * job.pieceLength >= size) return false;
          const expected = job.pieces.subarray(index * 20, index * 20 + 20);
          return hashPiece(fd, size, job.pieceLength, index).equals(expected);
        }),
      );
    case 'leaves':
      return withFile(job.path, (fd, size) => {
        const hasher = leafHasher(size, job.leafLength, job.algorithm);
        readParts(fd, 0, size, (part) => hasher.update(part));
        return hasher.finish();
      });
    case 'sha1':
      return createHash('sha1').update(job.bytes).digest();
    case 'leaves-of': {
      const hasher = leafHasher(job.bytes.length, job.leafLength, 'sha1');
      hasher.update(job.bytes);
      return hasher.finish();
    }
    case 'digest':
      return withFile(job.path, (fd, size) => {
        const hash = createHash(job.algorithm);
        hashRange(fd, hash, 0, size);
        return hash.digest('hex');
      });
    case 'follow':
      followers.set(job.follower, { fd: openSync(job.path, 'r'), hash: createHash(job.algorithm), at: 0 });
      return undefined;
    case 'advance':
      advance(following(job.follower), job.upTo);
      return undefined;
    case 'finish': {
      const follower = following(job.follower);
      advance(follower, job.size);
      return follower.hash.digest('hex');
    }
    case 'abort':
      end(job.follower);
      return undefined;
  }
}

parentPort?.on('message', ({ id, job }: JobMessage) => {
  let answer: JobAnswer;
  try {
    answer = { id, result: run(job) };
    if (job.op === 'finish') end(job.follower);
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    if ('follower' in job) end(job.follower);
    answer = { id, error: { message, code } };
  }
  parentPort?.postMessage(answer);
});
