/**
 * An OCI image layout on disk (image-spec, image-layout.md). Blobs appear under their digest only when
 * they are whole; a half-written one waits as `<hex>.partial` and is continued by the next run.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder, writeDurably } from '#durable';
import { type Digest, digestAlgorithm, digestHex, type ManifestDescriptor } from '#oci';
import { CommandError } from './errors.ts';
import type { BlobSink } from './registry.ts';

export interface FileSink extends BlobSink {
  /** The blob is whole and right: gives it its name, durably. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

export interface Layout {
  /** Whether the blob is there, with the right bytes. */
  holds(descriptor: ManifestDescriptor): Promise<boolean>;
  sink(digest: Digest): Promise<FileSink>;
  /** Writes a small blob whose digest is known to be right. */
  put(digest: Digest, bytes: Uint8Array): Promise<void>;
  /** Names an image in index.json; an entry of the same name is replaced. */
  name(
    descriptor: { readonly mediaType: string; readonly digest: Digest; readonly size: number },
    name: string,
  ): Promise<void>;
}

const REF_NAME = 'org.opencontainers.image.ref.name';
/** As any program writes files; a layout is there to be handed on. */
const FOR_ALL = { mode: 0o666 };

interface Index {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly manifests: readonly { readonly annotations?: Readonly<Record<string, string>> }[];
}

export async function openLayout(folder: string): Promise<Layout> {
  // The folder of sha256 is a part of every layout; another algorithm's is made with its first blob.
  await mkdir(path.join(folder, 'blobs', 'sha256'), { recursive: true });
  await writeDurably(path.join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}\n', FOR_ALL);
  const fileOf = (digest: Digest): string =>
    path.join(folder, 'blobs', digestAlgorithm(digest), digestHex(digest));
  const roomFor = async (digest: Digest): Promise<string> => {
    const file = fileOf(digest);
    const made = await mkdir(path.dirname(file), { recursive: true });
    if (made !== undefined) await syncFolder(path.dirname(made));
    return file;
  };
  return {
    async holds({ digest, size }) {
      const file = fileOf(digest);
      const info = await stat(file).catch(() => undefined);
      return info?.size === size && (await hashFile(file, digest)).digest('hex') === digestHex(digest);
    },
    sink: async (digest) => openSink(await roomFor(digest), digest),
    async put(digest, bytes) {
      await writeDurably(await roomFor(digest), bytes, FOR_ALL);
    },
    async name(descriptor, name) {
      const file = path.join(folder, 'index.json');
      const index = await readIndex(file);
      const others = index.manifests.filter((entry) => entry.annotations?.[REF_NAME] !== name);
      const entry = { ...descriptor, annotations: { [REF_NAME]: name } };
      await writeDurably(
        file,
        `${JSON.stringify({ ...index, manifests: [...others, entry] }, null, 2)}\n`,
        FOR_ALL,
      );
    },
  };
}

async function openSink(final: string, digest: Digest): Promise<FileSink> {
  const partial = `${final}.partial`;
  const prefix = await stat(partial).then(
    (info) => info.size,
    () => 0,
  );
  const hash = prefix > 0 ? await hashFile(partial, digest) : createHash(digestAlgorithm(digest));
  const file: FileHandle = await open(partial, 'a');
  return {
    prefix,
    hash,
    write: async (bytes) => {
      await file.appendFile(bytes);
    },
    restart: () => file.truncate(0),
    async finish() {
      await file.sync();
      await file.close();
      await rename(partial, final);
      await syncFolder(path.dirname(final));
    },
    close: () => file.close(),
  };
}

async function hashFile(file: string, digest: Digest): Promise<Hash> {
  const hash = createHash(digestAlgorithm(digest));
  for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 }))
    hash.update(chunk as Buffer);
  return hash;
}

async function readIndex(file: string): Promise<Index> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) {
    return { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [] };
  }
  try {
    const index = JSON.parse(text) as Index;
    if (Array.isArray(index.manifests)) return index;
  } catch {
    // Said below, for both ways of being wrong.
  }
  throw new CommandError(`${file} is no OCI index: choose an empty folder for --oci-layout`);
}
