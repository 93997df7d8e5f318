/**
 * Pushing a blob (distribution-spec, "Pushing blobs"): in one request, POST then PUT, in chunks, or
 * by mounting it from another repository. Bytes go to disk as they come and are hashed on the way.
 * A 201 is sent when the blob and its link to the repository would survive a power cut.
 */
import type { IncomingMessage } from 'node:http';
import type { BlobWriter } from '#blobs';
import { receiveBody } from '#http';
import {
  type Digest,
  digestAlgorithm,
  OciError,
  parseDigest,
  parseDigestAlgorithm,
  parseRepositoryName,
  type RepositoryName,
} from '#oci';
import { asOciError } from '../store-error.ts';
import type { Call, Registry, Verb } from './call.ts';

/** POST /v2/<name>/blobs/uploads/: begins an upload, or completes it when `digest` or `mount` say how. */
export const beginUpload: Verb<'uploads'> = async (registry, call) => {
  const { reply, path, query } = call;
  const digest = query.get('digest');
  if (digest !== null) return pushWhole(registry, call, parseDigest(digest));
  const mount = mountOf(query);
  if (
    mount &&
    call.admitted.may('pull', mount.from) &&
    (await mountBlob(registry, path.name, mount.from, mount.digest))
  ) {
    return created(call, path.name, mount.digest);
  }
  const algorithm = query.get('digest-algorithm');
  const id = await registry.uploads.begin(
    path.name,
    algorithm === null ? undefined : parseDigestAlgorithm(algorithm),
  );
  return reply
    .status(202)
    .headers(progress(path.name, id, 0))
    .send();
};

/** GET /v2/<name>/blobs/uploads/<session>: how much has come, to resume from. */
export const uploadStatus: Verb<'upload'> = async (registry, { reply, path }) => {
  const size = await registry.uploads.size(path.name, path.session);
  return reply
    .status(204)
    .headers(progress(path.name, path.session, size))
    .send();
};

/** PATCH: a chunk with Content-Range, or all that comes without one. What the answer's Range counts is on the disk. */
export const appendChunk: Verb<'upload'> = async (registry, { request, reply, path }) => {
  const { name, session } = path;
  const size = await registry.uploads.use(name, session, request.raw, async (writer) => {
    await receiveChunk(registry, request.raw, name, writer);
    await writer.sync();
    return writer.size;
  });
  return reply
    .status(202)
    .headers(progress(name, session, size))
    .send();
};

/** PUT ?digest=: the last chunk, or the whole blob, or nothing more; then the upload becomes a blob. */
export const finishUpload: Verb<'upload'> = async (registry, call) => {
  const { name, session } = call.path;
  const digest = digestOf(call.query);
  await registry.uploads.use(name, session, call.request.raw, async (writer) => {
    await receiveChunk(registry, call.request.raw, name, writer);
    await commit(registry, name, writer, digest);
    await registry.uploads.end(session);
  });
  return created(call, name, digest);
};

/** DELETE: gives the upload up. */
export const cancelUpload: Verb<'upload'> = async (registry, { request, reply, path }) => {
  await registry.uploads.use(path.name, path.session, request.raw, async (writer) => {
    await writer.cancel();
    await registry.uploads.end(path.session);
  });
  return reply.status(204).send();
};

/** POST ?digest=: nobody learns this session's name, so a failure leaves nothing behind. */
async function pushWhole(registry: Registry, call: Call<'uploads'>, digest: Digest): Promise<unknown> {
  const { name } = call.path;
  const id = await registry.uploads.begin(name, digestAlgorithm(digest));
  await registry.uploads.use(name, id, call.request.raw, async (writer) => {
    try {
      await receive(registry, call.request.raw, name, writer);
      await commit(registry, name, writer, digest);
      await registry.uploads.end(id);
    } catch (error) {
      await giveUp(registry, writer);
      throw error;
    }
  });
  return created(call, name, digest);
}

/** What is to be mounted; undefined also when that can be nothing here: then an upload begins instead. */
function mountOf(query: URLSearchParams): { digest: Digest; from: RepositoryName } | undefined {
  try {
    const [digest, from] = [query.get('mount'), query.get('from')];
    return digest && from ? { digest: parseDigest(digest), from: parseRepositoryName(from) } : undefined;
  } catch {
    return undefined;
  }
}

/** Links a blob of `source` into `name`; false when `source` does not have it. */
function mountBlob(
  registry: Registry,
  name: RepositoryName,
  source: RepositoryName,
  digest: Digest,
): Promise<boolean> {
  return registry.perDigest.run(digest, async () => {
    const held = await registry.metadata.hasBlob(source, digest);
    if (!held || (await registry.blobs.stat(digest)) === undefined) return false;
    await registry.metadata.linkBlob(name, digest);
    return true;
  });
}

/** @throws OciError DIGEST_INVALID; the upload stays usable */
async function commit(
  registry: Registry,
  name: RepositoryName,
  writer: BlobWriter,
  digest: Digest,
): Promise<void> {
  await registry.perDigest.run(digest, async () => {
    // Bytes that a crash leaves without a repository are found by this note.
    await registry.metadata.collection.expectBlob(digest);
    await writer.commit(digest).catch((error: unknown) => {
      throw asOciError(error);
    });
    await registry.metadata.linkBlob(name, digest);
  });
  registry.torrents.prepare(digest);
}

/**
 * Takes the request's body into the upload.
 * @throws OciError RANGE_INVALID when the chunk does not start where the upload ends, SIZE_INVALID
 * when it is not as long as its Content-Range says. The bytes that belong to the upload are kept.
 */
async function receive(
  registry: Registry,
  request: IncomingMessage,
  name: RepositoryName,
  writer: BlobWriter,
): Promise<void> {
  const range = contentRange(request.headers['content-range']);
  const expected = range && range.end - range.start + 1;
  const declared = request.headers['content-length'];
  if (expected !== undefined && declared !== undefined && Number(declared) !== expected) {
    throw new OciError('SIZE_INVALID', 'Content-Length does not agree with Content-Range');
  }
  if (range && range.start !== writer.size) {
    throw new OciError('RANGE_INVALID', 'the chunk does not start where the upload ends', undefined, {
      headers: progress(name, writer.id, writer.size),
    });
  }
  let received = 0;
  let excess = false;
  let cut = false;
  async function* bounded(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of receiveBody(request)) {
        const part = expected === undefined ? chunk : chunk.subarray(0, expected - received);
        received += part.length;
        registry.countPayload('in', part.length);
        await registry.space.check(part.length);
        if (part.length > 0) yield part;
        excess = part.length < chunk.length;
        if (excess) return;
      }
    } catch (error) {
      cut = !(error instanceof OciError);
      throw error;
    }
  }
  await writer.append(bounded()).catch((error: unknown) => {
    throw cut ? new OciError('BLOB_UPLOAD_INVALID', 'the body was cut off') : asOciError(error);
  });
  if (expected !== undefined && (excess || received !== expected)) {
    throw new OciError('SIZE_INVALID', 'the chunk is not as long as its Content-Range says');
  }
}

/** As `receive`; on a full disk half a blob would keep everybody else from pushing, so it goes. */
async function receiveChunk(...given: Parameters<typeof receive>): Promise<void> {
  const [registry, , , writer] = given;
  try {
    await receive(...given);
  } catch (error) {
    if (error instanceof OciError && error.code === 'NO_SPACE') await giveUp(registry, writer);
    throw error;
  }
}

async function giveUp(registry: Registry, writer: BlobWriter): Promise<void> {
  await writer.cancel();
  await registry.uploads.end(writer.id);
}

/** `<start>-<end>` as the specification has it; `bytes` before and `/size` after are let pass. */
function contentRange(header: string | undefined): { start: number; end: number } | undefined {
  if (header === undefined) return undefined;
  const match = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\d{1,15}|\*))?$/i.exec(header.trim());
  const start = Number(match?.[1]);
  const end = Number(match?.[2]);
  if (match === null || end < start) {
    throw new OciError('BLOB_UPLOAD_INVALID', 'Content-Range is malformed', { range: header.slice(0, 100) });
  }
  return { start, end };
}

function digestOf(query: URLSearchParams): Digest {
  const digest = query.get('digest');
  if (digest === null) throw new OciError('DIGEST_INVALID', 'the digest parameter is missing');
  return parseDigest(digest);
}

/** Where the upload is and how far; relative, so that it works behind any proxy. */
function progress(name: RepositoryName, id: string, size: number): Record<string, string> {
  return {
    location: `/v2/${name}/blobs/uploads/${id}`,
    range: `0-${Math.max(0, size - 1)}`,
    'docker-upload-uuid': id,
  };
}

function created({ reply }: Pick<Call, 'reply'>, name: RepositoryName, digest: Digest): unknown {
  return reply
    .status(201)
    .headers({ location: `/v2/${name}/blobs/${digest}`, 'docker-content-digest': digest })
    .send();
}
