/**
 * GET of a small body that somebody waits for, by the shortest way: chunks go from undici's parser to their reader without
 * a stream between, whose turns of the event loop were a good part of such a request's time.
 */
import type { Dispatcher } from 'undici';
import type { HttpBody, HttpStream } from './stream.ts';

/** Bytes that wait for their reader; then the connection waits. */
const MOST_WAITING_BYTES = 256 * 1024;

/** Gets `url` over a kept connection of `dispatcher`, whose deadlines hold. Any status is an answer. */
export function getPromptly(
  dispatcher: Dispatcher,
  url: string,
  options: { readonly headers: Readonly<Record<string, string>>; readonly signal: AbortSignal | undefined },
): Promise<HttpStream> {
  const { headers, signal } = options;
  signal?.throwIfAborted();
  const answer = Promise.withResolvers<HttpStream>();
  const { origin, pathname, search } = new URL(url);
  const waiting: Buffer[] = [];
  let waitingBytes = 0;
  let reader: PromiseWithResolvers<Buffer | undefined> | undefined;
  let controller: Dispatcher.DispatchController | undefined;
  let outcome: 'open' | 'ended' | Error = 'open';
  let givenUp: Error | undefined;

  const giveUp = (reason: Error): void => {
    givenUp ??= reason;
    controller?.abort(givenUp);
  };
  const aborted = (): void => giveUp(signal?.reason as Error);
  signal?.addEventListener('abort', aborted, { once: true });

  function finish(how: 'ended' | Error): void {
    outcome = how;
    signal?.removeEventListener('abort', aborted);
    if (how === 'ended') {
      reader?.resolve(undefined);
    } else {
      answer.reject(how);
      reader?.reject(how);
    }
    reader = undefined;
  }

  function next(): Promise<Buffer | undefined> {
    const chunk = waiting.shift();
    if (chunk !== undefined) {
      waitingBytes -= chunk.length;
      if (waitingBytes < MOST_WAITING_BYTES && controller?.paused === true) controller.resume();
      return Promise.resolve(chunk);
    }
    if (outcome === 'ended') return Promise.resolve(undefined);
    if (outcome !== 'open') return Promise.reject(outcome);
    reader = Promise.withResolvers();
    return reader.promise;
  }

  async function* chunks(): AsyncGenerator<Buffer> {
    try {
      for (let chunk = await next(); chunk !== undefined; chunk = await next()) yield chunk;
    } finally {
      body.destroy();
    }
  }
  const body: HttpBody = {
    [Symbol.asyncIterator]: chunks,
    destroy() {
      if (outcome === 'open') giveUp(new Error('the rest was given up'));
    },
  };

  dispatcher.dispatch(
    { origin, path: `${pathname}${search}`, method: 'GET', headers },
    {
      onRequestStart(started) {
        controller = started;
        if (givenUp) started.abort(givenUp);
      },
      onResponseStart(_controller, status, received) {
        // 1xx answers come before the one that counts.
        if (status >= 200) answer.resolve({ status, headers: joined(received), body });
      },
      onResponseData(from, chunk) {
        if (reader) {
          reader.resolve(chunk);
          reader = undefined;
          return;
        }
        waiting.push(chunk);
        waitingBytes += chunk.length;
        if (waitingBytes >= MOST_WAITING_BYTES) from.pause();
      },
      onResponseEnd: () => finish('ended'),
      onResponseError: (_controller, error) => finish(error),
    },
  );
  return answer.promise;
}

/** Header values as one text each. */
export function joined(
  received: Readonly<Record<string, string | readonly string[] | undefined>>,
): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(received)) {
    if (value !== undefined) headers[name] = typeof value === 'string' ? value : value.join(', ');
  }
  return headers;
}
