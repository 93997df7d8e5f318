/** Lists of nodes, in pages, as tables show them: chosen by state and text, sorted, from an offset on. */
import { z } from 'zod';
import { ProblemError } from '#http';

const MOST = 1_000;

const whole = z
  .string()
  .regex(/^\d{1,7}$/, 'must be a whole number')
  .transform(Number);
const listQuery = z.object({
  /** Entries in one answer; without it all. */
  n: whole.transform((n) => Math.min(n, MOST)).optional(),
  offset: whole.default(0),
  /** A column, with a minus for the largest first. */
  sort: z
    .string()
    .regex(/^-?[a-zA-Z]{1,20}$/, 'must be a column, such as name or -seconds')
    .optional(),
  /** States, split by commas. */
  state: z.string().max(100).optional(),
  /** A part of the name or the zone, or the start of an id. */
  q: z.string().max(200).optional(),
});

export interface Listed {
  readonly id: string;
  readonly name: string;
  readonly zone: string | null;
  readonly state: string;
}

export interface Listing<T> {
  readonly nodes: readonly T[];
  /** How many are chosen, on all pages. */
  readonly total: number;
  readonly next: number | null;
}

/**
 * `columns`: what can be sorted by. Equal ones stay in the order given.
 * @throws ProblemError 400 for a malformed query
 */
export function listNodes<T extends Listed>(
  all: readonly T[],
  query: unknown,
  columns: Readonly<Record<string, (node: T) => string | number>>,
): Listing<T> {
  const parsed = listQuery.safeParse(query);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw malformed(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  const { offset, q = '', sort, state } = parsed.data;
  const states = state === undefined ? undefined : new Set(state.split(','));
  const text = q.toLowerCase();
  let chosen = all.filter(
    (node) =>
      (states === undefined || states.has(node.state)) &&
      (text === '' ||
        node.name.toLowerCase().includes(text) ||
        (node.zone ?? '').toLowerCase().includes(text) ||
        node.id.startsWith(q)),
  );
  if (sort !== undefined) {
    const falling = sort.startsWith('-');
    const name = falling ? sort.slice(1) : sort;
    const column = Object.hasOwn(columns, name) ? columns[name] : undefined;
    if (column === undefined) throw malformed(`sort: one of ${Object.keys(columns).join(', ')}`);
    chosen = chosen.toSorted((a, b) =>
      falling ? compare(column(b), column(a)) : compare(column(a), column(b)),
    );
  }
  const n = parsed.data.n ?? chosen.length;
  const next = offset + n < chosen.length ? offset + n : null;
  return { nodes: chosen.slice(offset, offset + n), total: chosen.length, next };
}

function compare(a: string | number, b: string | number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function malformed(detail: string): ProblemError {
  return new ProblemError(400, 'Bad Request', detail);
}
