/** Long lists of infohashes as JSON that is made while it is sent: a million of them are 43 MB. */
import type { InfoHash } from '#torrent';

export interface JsonBody {
  readonly bytes: number;
  /** Makes the text, each time from its beginning. */
  readonly parts: () => Iterable<string>;
}

const PART_ENTRIES = 1_000;
/** Forty digits and two quotes. */
const ENTRY_BYTES = 42;

/** One object: the fields of `head`, and each of `lists` under its name. The lists must not change. */
export function jsonWithLists(
  head: Readonly<Record<string, unknown>>,
  lists: Readonly<Record<string, readonly InfoHash[]>>,
): JsonBody {
  const opening = JSON.stringify(head).slice(0, -1);
  let bytes = Buffer.byteLength(opening) + '}'.length;
  let filled = opening !== '{';
  const named = Object.entries(lists).map(([name, list]) => {
    const start = `${filled ? ',' : ''}${JSON.stringify(name)}:[`;
    filled = true;
    bytes += start.length + list.length * ENTRY_BYTES + Math.max(0, list.length - 1) + ']'.length;
    return { start, list };
  });
  return { bytes, parts: () => partsOf(opening, named) };
}

function* partsOf(
  opening: string,
  lists: readonly { readonly start: string; readonly list: readonly InfoHash[] }[],
): Generator<string> {
  yield opening;
  for (const { start, list } of lists) {
    yield start;
    for (let from = 0; from < list.length; from += PART_ENTRIES) {
      const quoted = list.slice(from, from + PART_ENTRIES).map((infoHash) => `"${infoHash}"`);
      yield (from > 0 ? ',' : '') + quoted.join(',');
    }
    yield ']';
  }
  yield '}';
}
