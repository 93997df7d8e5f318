/**
 * What to fetch ahead of the reads of one blob. Pure. Reads that follow one another, as those of a file
 * system do, form a stream, and each may have its own: the window ahead of a stream doubles with every
 * fetch up to the most, so that random reads cost nothing and a long one soon never waits.
 */
export interface ReadAhead {
  /** A read of the leaves `first` to `last`. Answers up to which leaf to fetch now, `last` at least. */
  read(first: number, last: number): number;
}

interface Stream {
  /** The leaf after the last one that was read. */
  next: number;
  window: number;
  /** What was fetched reaches to this leaf. */
  until: number;
}

/** A snapshotter reads some files of a layer at once. */
const STREAMS = 8;

/** `most`: leaves ahead of a reader. */
export function createReadAhead(most: number): ReadAhead {
  /** The one that was used last stands last. */
  const streams: Stream[] = [];

  function streamAt(first: number): Stream | undefined {
    // A read may begin within the leaf in which the one before ended.
    const at = streams.findIndex(({ next }) => first === next || first === next - 1);
    const [stream] = at < 0 ? [] : streams.splice(at, 1);
    if (stream) streams.push(stream);
    return stream;
  }

  return {
    read(first, last) {
      const stream = streamAt(first);
      if (!stream) {
        streams.push({ next: last + 1, window: 0, until: last });
        if (streams.length > STREAMS) streams.shift();
        return last;
      }
      if (last < stream.next) return last;
      stream.next = last + 1;
      // More at once when half of the window is read: a request for every read would be too many.
      if (stream.until - last > stream.window / 2) return last;
      stream.window = Math.min(most, Math.max(2 * stream.window, 2 * (last - first + 1)));
      stream.until = last + stream.window;
      return stream.until;
    },
  };
}
