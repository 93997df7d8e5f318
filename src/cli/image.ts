/** Fetches all blobs of an image, a few at a time as containerd does, each checked by its digest. */
import { createHash } from 'node:crypto';
import { type Digest, digestAlgorithm, type ImageReference, type ManifestDescriptor } from '#oci';
import type { FileSink, Layout } from './layout.ts';
import { type FetchedManifest, fetchImage, type Registry } from './registry.ts';

/** containerd's default of concurrent layer downloads. */
const PARALLEL_BLOBS = 3;

/** What happens during a pull, for progress bars and JSON lines. */
export interface PullObserver {
  manifest?(image: FetchedManifest): void;
  /** `from` bytes were there before; `from` equal to the size means that nothing has to be fetched. */
  begin?(blob: ManifestDescriptor, from: number): void;
  bytes?(blob: ManifestDescriptor, count: number): void;
  done?(blob: ManifestDescriptor, seconds: number): void;
}

export interface PulledImage {
  readonly image: FetchedManifest;
  readonly blobs: readonly ManifestDescriptor[];
  /** Bytes of all its blobs. */
  readonly size: number;
  /** Bytes that came over the network. */
  readonly received: number;
  readonly seconds: number;
}

export async function pullImage(options: {
  readonly registry: Registry;
  readonly image: ImageReference;
  readonly platform: string;
  /** Where the image is kept; without one its bytes are only checked. */
  readonly layout?: Layout | undefined;
  readonly observer?: PullObserver;
  readonly signal?: AbortSignal;
}): Promise<PulledImage> {
  const { registry, image, layout, observer = {}, signal } = options;
  const started = performance.now();
  const fetched = await fetchImage(registry, image, options.platform, signal);
  observer.manifest?.(fetched);
  const blobs = distinct(fetched.manifest.blobs);
  let received = 0;
  const pullBlob = async (descriptor: ManifestDescriptor): Promise<void> => {
    const begun = performance.now();
    if (await layout?.holds(descriptor)) {
      observer.begin?.(descriptor, descriptor.size);
    } else {
      const sink = await layout?.sink(descriptor.digest);
      try {
        observer.begin?.(descriptor, sink?.prefix ?? 0);
        await registry.blob({
          image,
          descriptor,
          sink: sink ?? discard(descriptor.digest),
          onBytes: (count) => {
            received += count;
            observer.bytes?.(descriptor, count);
          },
          ...(signal && { signal }),
        });
        await sink?.finish();
      } catch (error) {
        await closeQuietly(sink);
        throw error;
      }
    }
    observer.done?.(descriptor, (performance.now() - begun) / 1000);
  };
  await inParallel(blobs, PARALLEL_BLOBS, pullBlob);
  await layout?.put(fetched.digest, fetched.bytes);
  return {
    image: fetched,
    blobs,
    size: blobs.reduce((sum, blob) => sum + blob.size, 0),
    received,
    seconds: (performance.now() - started) / 1000,
  };
}

/** A layer may stand twice in an image; it is one blob. */
export function distinct(blobs: readonly ManifestDescriptor[]): ManifestDescriptor[] {
  return [...new Map(blobs.map((blob) => [blob.digest, blob])).values()];
}

/** Runs `work` over the items, `width` at a time. After a failure nothing new is begun, and what runs is awaited. */
async function inParallel<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items[Symbol.iterator]();
  let failed = false;
  const lane = async (): Promise<void> => {
    for (const item of queue) {
      if (failed) return;
      try {
        await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: width }, lane));
  const rejected = results.find((result) => result.status === 'rejected');
  if (rejected) throw rejected.reason;
}

/** Only hashes. */
function discard(digest: Digest): {
  prefix: number;
  hash: ReturnType<typeof createHash>;
  write(): Promise<void>;
  restart(): Promise<void>;
} {
  return { prefix: 0, hash: createHash(digestAlgorithm(digest)), async write() {}, async restart() {} };
}

async function closeQuietly(sink: FileSink | undefined): Promise<void> {
  await sink?.close().catch(() => undefined);
}
