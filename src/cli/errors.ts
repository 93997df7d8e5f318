/**
 * What a user reads when a command fails: one line that names the fix, without a stack.
 */
import { ConfigError } from '#config';
import { EXIT_FAILED, EXIT_USAGE } from './exit.ts';

/** The command line itself is wrong. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

/** An expected failure whose message already says what to do. */
export class CommandError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'CommandError';
  }
}

/** A server's answer that is no success. */
export class Refusal extends CommandError {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The fields that Node's, undici's and level's errors carry. */
interface SystemError {
  readonly code?: string;
  readonly address?: string;
  readonly port?: number;
  readonly path?: string;
  readonly hostname?: string;
}

const at = (error: SystemError): string =>
  error.address === undefined
    ? 'the address'
    : error.port === undefined
      ? error.address
      : `${error.address}:${error.port}`;

/** Failures of the machine that a user can mend, by code. */
const sentences: Readonly<Record<string, (error: SystemError) => string>> = {
  EADDRINUSE: (error) => `${at(error)} is in use: stop the program that has it or choose another address`,
  EADDRNOTAVAIL: (error) => `${at(error)} is not an address of this machine`,
  EACCES: (error) =>
    error.path === undefined
      ? `no permission to listen on ${at(error)}: choose a port above 1023`
      : `no permission for ${error.path}`,
  EPERM: (error) => `no permission for ${error.path ?? at(error)}`,
  ENOENT: (error) => `there is no ${error.path ?? 'such file'}`,
  ENOTDIR: (error) => `${error.path ?? 'a part of the path'} is not a folder`,
  EISDIR: (error) => `${error.path ?? 'the path'} is a folder`,
  EROFS: (error) => `${error.path ?? 'the file system'} is read-only`,
  ENOSPC: () => 'no space left on the device (ENOSPC): free some, or use another folder',
  ECONNREFUSED: (error) => `nothing listens at ${at(error)}: is the program running, and is the URL right?`,
  ECONNRESET: () => 'the connection was reset by the other side',
  ENOTFOUND: (error) => `the host name ${error.hostname ?? ''} cannot be resolved`,
  EAI_AGAIN: (error) => `the host name ${error.hostname ?? ''} cannot be resolved now`,
  UND_ERR_CONNECT_TIMEOUT: () => 'the connection was not accepted in time',
  UND_ERR_HEADERS_TIMEOUT: () => 'no answer came in time',
  UND_ERR_BODY_TIMEOUT: () => 'the answer stopped half-way',
  UND_ERR_SOCKET: () => 'the connection was closed by the other side',
  DEPTH_ZERO_SELF_SIGNED_CERT: () => 'the certificate is signed by itself: give its authority with --ca-file',
  SELF_SIGNED_CERT_IN_CHAIN: () => 'the certificate has an unknown authority: give it with --ca-file',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: () => 'the certificate has an unknown authority: give it with --ca-file',
  LEVEL_LOCKED: () => 'the data folder is in use by another shoal: stop that one or choose another --data',
};

/** The lines that explain an error to its user. */
export function explain(error: unknown): readonly string[] {
  if (error instanceof ConfigError) return error.problems;
  if (error instanceof CommandError || error instanceof UsageError) return [error.message];
  for (const cause of causes(error)) {
    const { code } = cause as SystemError;
    const sentence = code === undefined ? undefined : sentences[code];
    if (sentence) return [sentence(cause as SystemError)];
  }
  return [error instanceof Error ? (error.message.split('\n', 1)[0] ?? error.name) : String(error)];
}

export function exitCode(error: unknown): number {
  return error instanceof UsageError || error instanceof ConfigError ? EXIT_USAGE : EXIT_FAILED;
}

/** The error, what it was caused by and what it gathers (a refused dual-stack dial is an AggregateError). */
function* causes(error: unknown, depth = 0): Generator<Error> {
  if (!(error instanceof Error) || depth > 5) return;
  yield error;
  yield* causes(error.cause, depth + 1);
  if (error instanceof AggregateError) for (const inner of error.errors) yield* causes(inner, depth + 1);
}
