/**
 * Counts tests in TAP 14 text and keeps the failures for printing.
 *
 * A test is a `t.test` without a `t.test` inside, or a file that has none at all. A parent or a file that
 * fails by itself (a failed hook, a timeout) counts as one failed test. What carries `# SKIP` or `# TODO`
 * is skipped.
 */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface TapCounter {
  /** One line without its end. */
  line(text: string): void;
  counts(): Counts;
}

export interface TapEvents {
  /** A failed point: where it stands (`file > test > point`) and its diagnostics. */
  failure?(where: string, diagnostics: readonly string[]): void;
  /** A test file has ended. */
  file?(name: string, ok: boolean, counts: Counts): void;
}

interface Open {
  readonly name: string;
  readonly depth: number;
  hasTests: boolean;
  assertions: number;
  skips: number;
  failedInside: boolean;
}

const INDENT = 4;

export function createTapCounter(events: TapEvents = {}): TapCounter {
  const open: Open[] = [];
  let total = { passed: 0, failed: 0, skipped: 0 };
  let before = total;
  /** The failure whose diagnostics may follow, and the end mark of the block once it has begun. */
  let failure: { readonly where: string; readonly lines: string[] } | undefined;
  let blockEnd: string | undefined;

  const reportFailure = (): void => {
    if (failure) events.failure?.(failure.where, failure.lines);
    failure = undefined;
  };
  const count = (what: keyof Counts): void => {
    total = { ...total, [what]: total[what] + 1 };
  };

  const onPoint = (depth: number, ok: boolean, name: string, directive: string | undefined): void => {
    const top = open.at(-1);
    const closes = top !== undefined && top.depth === depth && top.name === name ? open.pop() : undefined;
    const parent = open.at(-1);
    const path = [...open.map((each) => each.name), name].join(' > ');
    if (directive !== undefined && !closes) {
      count('skipped');
      if (parent) parent.skips += 1;
    } else if (closes) {
      if (parent) parent.hasTests = true;
      if (!ok && parent) parent.failedInside = true;
      const onlySkips = closes.skips > 0 && closes.assertions === 0;
      if (!closes.hasTests && !(ok && onlySkips)) count(ok ? 'passed' : 'failed');
      else if (!ok && !closes.failedInside) count('failed');
      // The point inside that failed has been reported; a test without one reports itself.
      if (!ok && !closes.failedInside) failure = { where: path, lines: [] };
    } else {
      if (parent) parent.assertions += 1;
      else count(ok ? 'passed' : 'failed');
      if (!ok) {
        if (parent?.hasTests && !parent.failedInside) count('failed');
        if (parent) parent.failedInside = true;
        failure = { where: path, lines: [] };
      }
    }
    if (depth === 0) {
      const counts = {
        passed: total.passed - before.passed,
        failed: total.failed - before.failed,
        skipped: total.skipped - before.skipped,
      };
      before = total;
      events.file?.(name, ok, counts);
    }
  };

  return {
    line(text) {
      if (blockEnd !== undefined) {
        if (text === blockEnd) {
          blockEnd = undefined;
          reportFailure();
        } else {
          failure?.lines.push(text.slice(blockEnd.length - '...'.length));
        }
        return;
      }
      const block = /^( *)---$/.exec(text);
      if (block) {
        blockEnd = `${block[1]}...`;
        return;
      }
      reportFailure();
      const subtest = /^( *)# Subtest: (.*)$/.exec(text);
      if (subtest) {
        const depth = (subtest[1]?.length ?? 0) / INDENT;
        open.push({
          name: subtest[2] ?? '',
          depth,
          hasTests: false,
          assertions: 0,
          skips: 0,
          failedInside: false,
        });
        return;
      }
      const point = /^( *)(not )?ok \d+(?: - (.*?))?(?: # (SKIP|TODO|time=)\b.*)?$/i.exec(text);
      if (!point) return;
      const directive = /^(SKIP|TODO)$/i.test(point[4] ?? '') ? point[4] : undefined;
      onPoint((point[1]?.length ?? 0) / INDENT, point[2] === undefined, point[3] ?? '', directive);
    },
    counts() {
      reportFailure();
      return total;
    },
  };
}
