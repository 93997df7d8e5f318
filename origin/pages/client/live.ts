/** A feed's state in a component: kept open while the page is seen, merged as changes come. */
import { useEffect, useState } from 'preact/hooks';
import type { Feed } from './messages.ts';

/** `lost`: what is shown is old, and it is being asked again. */
export type Connection = 'connecting' | 'live' | 'lost' | 'gone';

export interface Live {
  readonly feed: Feed | undefined;
  readonly connection: Connection;
  /** Why there is nothing, in the origin's words. */
  readonly problem: string | undefined;
}

const RETRY_MS = 4_000;
const START: Live = { feed: undefined, connection: 'connecting', problem: undefined };

export function useLive(path: string): Live {
  const [live, setLive] = useState<Live>(START);
  useEffect(() => {
    let feed: Feed = {};
    let source: EventSource | undefined;
    let retry: ReturnType<typeof setTimeout> | undefined;
    const merge = (text: string): void => {
      feed = { ...feed, ...(JSON.parse(text) as Feed) };
      setLive({ feed, connection: 'live', problem: undefined });
    };
    const close = (): void => {
      clearTimeout(retry);
      source?.close();
      source = undefined;
    };
    const open = (): void => {
      close();
      const opened = new EventSource(path);
      source = opened;
      opened.addEventListener('all', (event) => {
        feed = {};
        merge(event.data);
      });
      opened.addEventListener('changes', (event) => merge(event.data));
      opened.addEventListener('gone', () => {
        close();
        setLive((before) => ({ ...before, connection: 'gone' }));
      });
      opened.addEventListener('open', () => setLive((before) => ({ ...before, connection: 'live' })));
      opened.addEventListener('error', () => {
        setLive((before) => ({ ...before, connection: 'lost' }));
        if (opened.readyState !== EventSource.CLOSED || source !== opened) return;
        // The origin refused: an EventSource does not say why.
        void problemOf(path).then((problem) => {
          if (source === opened) setLive((before) => ({ ...before, problem }));
        });
        retry = setTimeout(open, RETRY_MS);
      });
    };
    const onVisible = (): void => {
      if (document.visibilityState === 'hidden') close();
      else if (source === undefined) open();
    };
    setLive(START);
    onVisible();
    document.addEventListener('visibilitychange', onVisible);
    return () => {
      document.removeEventListener('visibilitychange', onVisible);
      close();
    };
  }, [path]);
  return live;
}

async function problemOf(path: string): Promise<string | undefined> {
  const stop = new AbortController();
  try {
    const answer = await fetch(path, { signal: stop.signal });
    return answer.ok ? undefined : await describe(answer);
  } catch {
    return undefined;
  } finally {
    stop.abort();
  }
}

/** What an RFC 9457 problem says. */
export async function describe(answer: Response): Promise<string> {
  const problem = (await answer.json().catch(() => ({}))) as { readonly detail?: string };
  return problem.detail ?? `the origin answered ${answer.status}`;
}

/** The values of keys such as `zone.<name>`, in the order of the keys; what is gone is left out. */
export function valuesOf<T>(feed: Feed, prefix: string): T[] {
  return Object.entries(feed)
    .filter(([key, value]) => key.startsWith(prefix) && value !== null)
    .map(([, value]) => value as T);
}

/** Chunks `<prefix>0`, `<prefix>1`, … */
export function chunksOf<T>(feed: Feed, prefix: string): T[] {
  const chunks: T[] = [];
  for (let at = 0; ; at += 1) {
    const chunk = feed[`${prefix}${at}`];
    if (chunk === undefined || chunk === null) return chunks;
    chunks.push(chunk as T);
  }
}
