/** What the doctor says of one thing that it looked at. */
export interface Finding {
  /** What was looked at, in a word or two. */
  readonly check: string;
  /** `unknown`: it could not be looked at, and the text says why. */
  readonly state: 'ok' | 'wrong' | 'unknown';
  readonly text: string;
  /** What to do about it; only for what is wrong. */
  readonly cure?: string;
}

export function ok(check: string, text: string): Finding {
  return { check, state: 'ok', text };
}

export function wrong(check: string, text: string, cure: string): Finding {
  return { check, state: 'wrong', text, cure };
}

export function unknown(check: string, text: string): Finding {
  return { check, state: 'unknown', text };
}

/** The words of a failed request or dial; undici and dual-stack dials hide them in causes. */
export function codeOf(error: unknown): string {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; depth += 1) {
    const { code } = at as { code?: unknown };
    if (at instanceof AggregateError && at.errors.length > 0) at = at.errors[0];
    else if (typeof code === 'string' && code !== 'ABORT_ERR') return code;
    else if (at.cause === undefined) return at.name === 'TimeoutError' ? 'ETIMEDOUT' : at.message;
    else at = at.cause;
  }
  return String(error);
}
