/**
 * The error codes of the OCI distribution specification (section "Error Codes"), with the status and
 * the message that Shoal answers, plus the few that registries share beyond it.
 */
const table = {
  BLOB_UNKNOWN: [404, 'blob unknown to registry'],
  BLOB_UPLOAD_INVALID: [400, 'blob upload invalid'],
  BLOB_UPLOAD_UNKNOWN: [404, 'blob upload unknown to registry'],
  DIGEST_INVALID: [400, 'provided digest did not match uploaded content'],
  MANIFEST_BLOB_UNKNOWN: [404, 'manifest references a manifest or blob unknown to registry'],
  MANIFEST_INVALID: [400, 'manifest invalid'],
  MANIFEST_UNKNOWN: [404, 'manifest unknown to registry'],
  NAME_INVALID: [400, 'invalid repository name'],
  NAME_UNKNOWN: [404, 'repository name not known to registry'],
  SIZE_INVALID: [400, 'provided length did not match content length'],
  TAG_INVALID: [400, 'manifest tag did not match the pattern'],
  UNAUTHORIZED: [401, 'authentication required'],
  DENIED: [403, 'requested access to the resource is denied'],
  UNSUPPORTED: [405, 'the operation is unsupported'],
  RANGE_INVALID: [416, 'the requested range is not satisfiable'],
  PAGINATION_NUMBER_INVALID: [400, 'invalid number of results requested'],
  UNAVAILABLE: [503, 'the content cannot be fetched now'],
  NO_SPACE: [507, 'no space left on the device (ENOSPC)'],
  UNKNOWN: [500, 'unknown error'],
} as const satisfies Record<string, readonly [number, string]>;

export type OciErrorCode = keyof typeof table;

/** A refusal in the terms of the distribution specification; the HTTP edge turns it into the envelope. */
export class OciError extends Error {
  readonly code: OciErrorCode;
  readonly status: number;
  readonly detail: unknown;
  /** Headers that belong to the answer, for example Content-Range beside a 416. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: OciErrorCode,
    message?: string,
    detail?: unknown,
    extra: {
      readonly status?: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message ?? table[code][1], extra.cause === undefined ? undefined : { cause: extra.cause });
    this.name = 'OciError';
    this.code = code;
    this.status = extra.status ?? table[code][0];
    this.detail = detail;
    this.headers = extra.headers ?? {};
  }

  /** The response body. */
  envelope(): { errors: [{ code: OciErrorCode; message: string; detail?: unknown }] } {
    const error = { code: this.code, message: this.message };
    return { errors: [this.detail === undefined ? error : { ...error, detail: this.detail }] };
  }
}
