/** The progress of a rollout: a table that redraws itself on a terminal, lines elsewhere, JSON lines with --json. */
import { setTimeout as delay } from 'node:timers/promises';
import { CommandError, explain, Refusal } from './errors.ts';
import { describe, hasEnded, type RolloutView, summary } from './rollout-view.ts';

type Output = Pick<NodeJS.WriteStream, 'write' | 'isTTY' | 'columns' | 'rows'>;

const POLL_MS = 1_000;
/** A log wants fewer lines than a terminal, except of what happens. */
const LINE_MS = 5_000;
/** An origin that starts again with very many blobs takes less. */
const PATIENCE_MS = 5 * 60_000;

/**
 * Follows a rollout until it ends, or stops and waits for somebody's word, or `signal` is aborted. Answers with its last view. An
 * origin that does not answer for a while is asked again: the rollout goes on when it is back.
 * @throws what `read` throws at first, when the origin refuses, and when it does not answer for minutes
 */
export async function follow(
  read: () => Promise<RolloutView>,
  out: Output,
  format: 'json' | 'text',
  signal: AbortSignal,
): Promise<RolloutView | undefined> {
  const show = format === 'json' ? jsonLines(out) : out.isTTY ? table(out) : lines(out);
  const aborted = new Promise<undefined>((resolve) => {
    signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
  let last: RolloutView | undefined;
  let answeredAt = 0;
  while (!signal.aborted) {
    try {
      const view = await Promise.race([read(), aborted]);
      if (view === undefined) break;
      last = view;
      answeredAt = performance.now();
      show(view, undefined);
      if (hasEnded(view) || view.state === 'stopped') break;
    } catch (error) {
      const refused = error instanceof Refusal ? error.status < 500 : error instanceof CommandError;
      if (last === undefined || refused || performance.now() - answeredAt > PATIENCE_MS) throw error;
      show(last, explain(error).join('; '));
    }
    await delay(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
  return last;
}

/** `problem`: why there is nothing newer than this view. */
type Show = (view: RolloutView, problem: string | undefined) => void;

function jsonLines(out: Output): Show {
  return (view, problem) => {
    if (problem === undefined) out.write(`${JSON.stringify(view)}\n`);
  };
}

function table(out: Output): Show {
  let drawn: readonly string[] = [];
  return (view, problem) => {
    const columns = out.columns || 80;
    const height = Math.max(4, (out.rows || 24) - 2);
    const rows = describe(view, { width: columns - 1, height });
    if (problem !== undefined)
      rows.push(`no answer from the origin, asking again: ${problem}`.slice(0, columns - 1));
    // In a window that was made narrower since, a row takes several lines.
    const up = drawn.reduce((sum, row) => sum + Math.max(1, Math.ceil(row.length / columns)), 0);
    out.write(`${up === 0 ? '' : `\x1b[${up}A\r\x1b[J`}${rows.join('\n')}\n`);
    drawn = rows;
  };
}

function lines(out: Output): Show {
  let last = { line: '', what: '', at: Number.NEGATIVE_INFINITY };
  return (view, problem) => {
    const what = `${view.state} ${view.wave} ${view.nodes.failed} ${view.nodes.away} ${problem === undefined}`;
    const line =
      problem === undefined
        ? summary(view)
        : `${view.id}  no answer from the origin, asking again: ${problem}`;
    const at = performance.now();
    if (what === last.what && (line === last.line || at - last.at < LINE_MS)) return;
    out.write(`${line}\n`);
    last = { line, what, at };
  };
}
