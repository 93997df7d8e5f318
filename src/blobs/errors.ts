const messages = {
  'not-found': 'the blob is not in the store',
  'digest-mismatch': 'the content does not have the expected digest',
  'no-space': 'no space left on the device (ENOSPC)',
  unavailable: 'the object storage cannot be used now',
  foreign: 'the object storage belongs to somebody else',
  busy: 'another operation on the same upload or download is running',
  'too-large': 'the content is larger than allowed',
  closed: 'the store or the blob is closed',
  invalid: 'the request does not fit the blob',
} as const;

export type BlobStoreErrorCode = keyof typeof messages;

/** An expected failure of the store; anything else that it throws is a fault of the file system. */
export class BlobStoreError extends Error {
  readonly code: BlobStoreErrorCode;

  constructor(code: BlobStoreErrorCode, detail?: string, options?: ErrorOptions) {
    super(detail === undefined ? messages[code] : `${messages[code]}: ${detail}`, options);
    this.name = 'BlobStoreError';
    this.code = code;
  }
}

/** Turns a full disk into 'no-space', and leaves every other error as it is. */
export function asStoreError(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT'
    ? new BlobStoreError('no-space', undefined, { cause: error })
    : error;
}
