/** One upstream, as the options describe it. */

export interface UpstreamConfig {
  /** The registry host that images are named by, lower-case: `docker.io`, `registry.test:5000`. */
  readonly name: string;
  /** Scheme, host and port of its API, without a path. */
  readonly url: string;
  /** Files only; they are read when they are needed, so that a renewed secret counts. */
  readonly credentials?:
    | { readonly authFile: string }
    | { readonly username: string; readonly passwordFile: string }
    | undefined;
  /** PEM of authorities that are trusted for it, beside the system's. */
  readonly caFile?: string | undefined;
  /** How long a tag is served as it was last confirmed, while the upstream cannot be asked. Milliseconds. */
  readonly staleMs: number;
  /** Longest wait for an answer, and for the next bytes of a blob. Milliseconds. */
  readonly timeoutMs: number;
  /** What its credentials open may be read by whoever may pull here, also without a log-in. */
  readonly isPublic: boolean;
}
