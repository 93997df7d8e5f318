/**
 * Work that many events ask for and that is done once, when the events at hand were handled: a
 * choke that crosses sixteen requests is answered by sixteen refusals, and each piece that is
 * stored asks who may be served now.
 */
export interface Soon {
  /** Does the work before the next events; asking again until then changes nothing. */
  ask(): void;
  /** What was asked for is not done, nor anything that is asked for from now on. */
  close(): void;
}

export function createSoon(work: () => void): Soon {
  let asked: NodeJS.Immediate | undefined;
  let closed = false;
  return {
    ask() {
      if (closed) return;
      asked ??= setImmediate(() => {
        asked = undefined;
        work();
      });
    },
    close() {
      closed = true;
      clearImmediate(asked);
    },
  };
}
