/**
 * The content-addressed store on disk. A blob is either complete (its sha256 was checked, and its
 * file is known to be unchanged since) or partial (verified pieces of a download). What was
 * acknowledged survives kill -9 and power loss; a file that changed behind our back is set aside
 * before a byte of it is served.
 */
export { BlobStoreError, type BlobStoreErrorCode } from './errors.ts';
export type {
  BlobInfo,
  BlobReader,
  BlobStore,
  BlobWriter,
  DownloadStore,
  PartialBlob,
  SharedAs,
} from './port.ts';
export type { S3Options } from './s3/bucket.ts';
export { openS3BlobStore } from './s3/store.ts';
export { openBlobStore } from './store.ts';
