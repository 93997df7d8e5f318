/**
 * Progress of a pull: bars on a terminal, a line a blob elsewhere (no control characters), JSON lines
 * with --json. All three watch the same events.
 */
import { digestHex } from '#oci';
import type { PullObserver } from './image.ts';
import { formatBytes, formatRate } from './text.ts';

export interface Progress extends PullObserver {
  /** Leaves the terminal as it was found. Must be called, also after a failure. */
  end(): void;
}

type Output = Pick<NodeJS.WriteStream, 'write' | 'isTTY' | 'columns'>;

const REDRAW_MS = 100;
const BAR_WIDTH = 24;

const short = (digest: Parameters<typeof digestHex>[0]): string => digestHex(digest).slice(0, 12);

export function createProgress(out: Output, json: boolean): Progress {
  if (json) return jsonLines(out);
  return out.isTTY ? bars(out) : lines(out);
}

function jsonLines(out: Output): Progress {
  const sizes = new Map<string, number>();
  const line = (event: string, fields: object): void => {
    out.write(`${JSON.stringify({ event, ...fields })}\n`);
  };
  return {
    manifest: ({ digest, manifest }) => line('manifest', { digest, mediaType: manifest.mediaType }),
    begin(blob, from) {
      sizes.set(blob.digest, from);
      line('begin', { digest: blob.digest, size: blob.size, from });
    },
    done: (blob, seconds) =>
      line('blob', { digest: blob.digest, size: blob.size, from: sizes.get(blob.digest) ?? 0, seconds }),
    end() {},
  };
}

function lines(out: Output): Progress {
  return {
    done: (blob, seconds) => {
      out.write(`${short(blob.digest)}  ${formatBytes(blob.size)}  ${formatRate(blob.size, seconds)}\n`);
    },
    end() {},
  };
}

function bars(out: Output): Progress {
  const running = new Map<string, { readonly size: number; have: number; readonly since: number }>();
  let drawn = 0;
  const clear = (): string => (drawn === 0 ? '' : `\x1b[${drawn}A\x1b[J`);
  const draw = (): void => {
    const rows = [...running].map(([digest, { size, have, since }]) => {
      const filled = size === 0 ? BAR_WIDTH : Math.round((have / size) * BAR_WIDTH);
      const bar = '='.repeat(filled).padEnd(BAR_WIDTH, '.');
      const rate = formatRate(have, (performance.now() - since) / 1000);
      const row = `${digest}  [${bar}]  ${formatBytes(have)} of ${formatBytes(size)}  ${rate}`;
      return row.slice(0, Math.max(20, (out.columns || 80) - 1));
    });
    out.write(clear() + rows.map((row) => `${row}\n`).join(''));
    drawn = rows.length;
  };
  const timer = setInterval(draw, REDRAW_MS);
  return {
    begin: (blob, from) => {
      running.set(short(blob.digest), { size: blob.size, have: from, since: performance.now() });
    },
    bytes: (blob, count) => {
      const bar = running.get(short(blob.digest));
      if (bar) bar.have = Math.min(bar.size, bar.have + count);
    },
    done: (blob, seconds) => {
      running.delete(short(blob.digest));
      out.write(
        `${clear()}${short(blob.digest)}  ${formatBytes(blob.size)}  ${formatRate(blob.size, seconds)}\n`,
      );
      drawn = 0;
      draw();
    },
    end: () => {
      clearInterval(timer);
      out.write(clear());
      drawn = 0;
    },
  };
}
