/**
 * Feeds of state as server-sent events (WHATWG HTML, 9.2). A feed is read at most once a period, for all who listen
 * together, and not at all while nobody does. Each key knows when it changed last, so that a listener who is slow, or
 * comes back, is told what is new since what it has: the newest state, never a queue.
 *
 *     event: all      every key; the listener forgets what it had
 *     event: changes  keys that changed since; null: gone
 *     event: gone     there is no such thing any more
 */
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';

/** What a feed is about now; undefined: it is gone. */
export type ReadState = () => Iterable<readonly [string, unknown]> | undefined;

export interface Feeds {
  /**
   * The stream of one listener, who has heard of `lastEventId`; undefined when there are too many. It ends by itself
   * after a while, so that the rights of who listens are looked at again.
   */
  listen(name: string, read: ReadState, lastEventId?: string): Readable | undefined;
  /** Listeners now. */
  readonly size: number;
  /** Ends every stream; nobody is let in any more. */
  close(): void;
}

const PERIOD_MS = 1_000;
/** Connections without a byte are closed after a minute. */
const HEARTBEAT_MS = 15_000;
const MOST_LISTENERS = 100;
const STREAM_MS = 10 * 60_000;
/** How long a browser waits before it comes back. */
const RETRY = 'retry: 2000\n\n';

interface Entry {
  json: string;
  version: number;
}

interface Listener {
  /** Tells what is new if the listener can take it. */
  offer(): void;
  beat(): void;
  end(): void;
}

export function createFeeds(limits: { readonly periodMs?: number; readonly listeners?: number } = {}): Feeds {
  const periodMs = limits.periodMs ?? PERIOD_MS;
  const most = limits.listeners ?? MOST_LISTENERS;
  const feeds = new Map<string, ReturnType<typeof createFeed>>();
  let size = 0;
  let closed = false;

  return {
    listen(name, read, lastEventId) {
      if (closed || size >= most) return undefined;
      const feed = feeds.get(name) ?? createFeed(read, periodMs, () => feeds.delete(name));
      feeds.set(name, feed);
      size += 1;
      return feed.listen(lastEventId, () => {
        size -= 1;
      });
    },
    get size() {
      return size;
    },
    close() {
      closed = true;
      for (const feed of [...feeds.values()]) feed.end();
    },
  };
}

function createFeed(read: ReadState, periodMs: number, onEmpty: () => void) {
  /** Versions of another life of this feed mean nothing here. */
  const life = randomBytes(4).toString('hex');
  const state = new Map<string, Entry>();
  const listeners = new Set<Listener>();
  /** Messages of this version, by the version that the listener has. */
  const messages = new Map<number, string>();
  let version = 0;
  let isGone = false;

  const update = (): void => {
    const now = read();
    if (now === undefined) {
      isGone = true;
      for (const listener of [...listeners]) listener.end();
      return;
    }
    const next = version + 1;
    let changed = false;
    const missing = new Set(state.keys());
    for (const [key, value] of now) {
      missing.delete(key);
      const json = JSON.stringify(value);
      const entry = state.get(key);
      if (entry?.json === json) continue;
      state.set(key, { json, version: next });
      changed = true;
    }
    for (const key of missing) {
      if (state.get(key)?.json === 'null') continue;
      state.set(key, { json: 'null', version: next });
      changed = true;
    }
    if (!changed) return;
    version = next;
    messages.clear();
    for (const listener of listeners) listener.offer();
  };
  const since = (known: number): string => {
    const made = messages.get(known);
    if (made !== undefined) return made;
    const entries: string[] = [];
    for (const [key, { json, version: at }] of state) {
      if (at > known) entries.push(`${JSON.stringify(key)}:${json}`);
    }
    const event = known === 0 ? 'all' : 'changes';
    const message = `id: ${life}.${version}\nevent: ${event}\ndata: {${entries.join(',')}}\n\n`;
    messages.set(known, message);
    return message;
  };

  update();
  const timer = setInterval(update, periodMs);
  const heart = setInterval(() => {
    for (const listener of listeners) listener.beat();
  }, HEARTBEAT_MS);

  return {
    listen(lastEventId: string | undefined, onEnd: () => void): Readable {
      const [theirs, number] = lastEventId?.split('.') ?? [];
      let known = theirs === life && Number(number) <= version ? Number(number) : 0;
      let ready = false;
      let ended = false;
      const push = (text: string | null): void => {
        ready = false;
        stream.push(text);
      };
      const listener: Listener = {
        offer() {
          if (!ready || ended || known === version) return;
          const message = since(known);
          known = version;
          push(message);
        },
        beat() {
          if (ready && !ended) push(':\n\n');
        },
        end() {
          if (ended) return;
          if (isGone) stream.push('event: gone\ndata:\n\n');
          ended = true;
          stream.push(null);
        },
      };
      const stream = new Readable({
        highWaterMark: 1,
        read() {
          ready = true;
          listener.offer();
        },
        destroy(error, done) {
          ended = true;
          clearTimeout(late);
          if (listeners.delete(listener)) onEnd();
          if (listeners.size === 0) {
            clearInterval(timer);
            clearInterval(heart);
            onEmpty();
          }
          done(error);
        },
      });
      const late = setTimeout(listener.end, STREAM_MS);
      listeners.add(listener);
      stream.push(RETRY);
      if (isGone) listener.end();
      return stream;
    },
    end() {
      for (const listener of [...listeners]) listener.end();
    },
  };
}
