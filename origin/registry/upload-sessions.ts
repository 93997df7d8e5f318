/**
 * Uploads in progress. A session belongs to one repository, survives a restart, and is used by one
 * request at a time. When a second request comes while the first still waits for bytes, the first is
 * cut: it is the connection that the client lost and has not told us about, and the client must not
 * wait for its timeout before it can resume.
 *
 * An idle session holds no file; one that was forgotten for a week is removed.
 */
import type { IncomingMessage } from 'node:http';
import type { BlobStore, BlobWriter } from '#blobs';
import { type DigestAlgorithm, OciError, type RepositoryName } from '#oci';
import type { Logger } from '#telemetry';
import { createExclusive } from '../exclusive.ts';
import type { MetadataStore } from '../metadata/port.ts';

const SWEEP_MS = 60_000;
/** Longer than a client pauses between two chunks; a later one pays for hashing the bytes again. */
const IDLE_MS = 5 * 60_000;
const EXPIRE_MS = 7 * 24 * 3_600_000;
/** Open files of sessions that no request uses now. */
const MAX_IDLE_WRITERS = 256;

export interface UploadSessions {
  /** `algorithm`: what the digest will be computed with. */
  begin(name: RepositoryName, algorithm?: DigestAlgorithm): Promise<string>;
  /**
   * Runs `task` with the session's writer, alone.
   * @throws OciError BLOB_UPLOAD_UNKNOWN, also when the session is another repository's
   */
  use<T>(
    name: RepositoryName,
    id: string,
    request: IncomingMessage,
    task: (writer: BlobWriter) => Promise<T>,
  ): Promise<T>;
  /** Bytes received so far; asks without disturbing a request that is sending. */
  size(name: RepositoryName, id: string): Promise<number>;
  /** Forgets a session whose writer was committed or cancelled. Called within `use`. */
  end(id: string): Promise<void>;
  close(): Promise<void>;
}

interface Session {
  writer: BlobWriter | undefined;
  holder: IncomingMessage | undefined;
  idleSince: number;
}

export function createUploadSessions(options: {
  readonly blobs: BlobStore;
  readonly metadata: MetadataStore;
  readonly log: Logger;
}): UploadSessions {
  const { blobs, metadata, log } = options;
  /** Insertion order is order of use: a session that is used again moves to the end. */
  const open = new Map<string, Session>();
  const exclusive = createExclusive();
  let closed = false;

  const touch = (id: string): Session => {
    const session = open.get(id) ?? { writer: undefined, holder: undefined, idleSince: 0 };
    open.delete(id);
    open.set(id, session);
    session.idleSince = Date.now();
    return session;
  };

  const check = async (name: RepositoryName, id: string): Promise<void> => {
    const record = /^[\w-]{1,64}$/.test(id) ? await metadata.upload(id) : undefined;
    if (record?.name !== name)
      throw new OciError('BLOB_UPLOAD_UNKNOWN', undefined, { upload: id.slice(0, 64) });
  };

  const writerOf = async (id: string): Promise<BlobWriter> => {
    const session = touch(id);
    session.writer ??= await blobs.resumeWriter(id);
    if (session.writer !== undefined) return session.writer;
    open.delete(id);
    await metadata.endUpload(id);
    throw new OciError('BLOB_UPLOAD_UNKNOWN', undefined, { upload: id });
  };

  /** Lets go of the session's file, unless a request came in the meantime. */
  const release = (id: string): Promise<void> =>
    exclusive.run(id, async () => {
      const session = open.get(id);
      if (session === undefined || session.holder !== undefined) return;
      open.delete(id);
      await session.writer?.close();
    });

  const closeIdle = async (): Promise<void> => {
    const idle = [...open].filter(([, session]) => session.holder === undefined);
    const excess = idle.length - MAX_IDLE_WRITERS;
    const before = Date.now() - IDLE_MS;
    const old = idle.filter(([, session], index) => index < excess || session.idleSince < before);
    await Promise.all(old.map(([id]) => release(id)));
  };

  const expire = async (): Promise<void> => {
    for await (const { id, startedAt } of metadata.uploads()) {
      if (closed) return;
      if (open.has(id) || Date.now() - startedAt < EXPIRE_MS) continue;
      await exclusive.run(id, async () => {
        await (await blobs.resumeWriter(id))?.cancel();
        await metadata.endUpload(id);
      });
      log.info({ upload: id }, 'forgotten upload removed');
    }
  };

  let sweeping: Promise<void> | undefined;
  const sweep = (): void => {
    sweeping ??= closeIdle()
      .then(expire)
      .catch((error: unknown) => log.warn({ err: error }, 'sweep of uploads failed'))
      .finally(() => {
        sweeping = undefined;
      });
  };
  const timer = setInterval(sweep, SWEEP_MS).unref();

  return {
    async begin(name, algorithm) {
      const writer = await blobs.createWriter({ algorithm });
      await metadata.beginUpload({ id: writer.id, name, startedAt: Date.now() });
      touch(writer.id).writer = writer;
      if (open.size > 2 * MAX_IDLE_WRITERS) sweep();
      return writer.id;
    },
    async use(name, id, request, task) {
      await check(name, id);
      const before = open.get(id)?.holder;
      if (before !== undefined && !before.complete) before.destroy();
      return exclusive.run(id, async () => {
        // The request before may have finished the upload.
        await check(name, id);
        const writer = await writerOf(id);
        const session = touch(id);
        session.holder = request;
        try {
          return await task(writer);
        } catch (error) {
          // A writer whose bytes became a blob that could not be linked has ended: the next request must not meet it.
          session.writer = await blobs.resumeWriter(id).catch(() => undefined);
          throw error;
        } finally {
          session.holder = undefined;
          session.idleSince = Date.now();
        }
      });
    },
    async size(name, id) {
      await check(name, id);
      const running = open.get(id)?.writer;
      if (running !== undefined) return running.size;
      return exclusive.run(id, async () => (await writerOf(id)).size);
    },
    async end(id) {
      open.delete(id);
      await metadata.endUpload(id);
    },
    async close() {
      closed = true;
      clearInterval(timer);
      await sweeping;
      await exclusive.settled();
      await Promise.all([...open.values()].map((session) => session.writer?.close()));
      open.clear();
    },
  };
}
