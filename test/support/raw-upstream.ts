/** A registry that a test writes by hand, to misbehave as real ones do at the wrong moment. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Test } from 'tap';
import { listenHere } from './listen.ts';

export interface RawUpstream {
  readonly url: string;
  /** Method and path of each request, in order. */
  readonly seen: string[];
  /** Range and Authorization of each request, in the same order. */
  readonly headers: { readonly range: string | undefined; readonly authorization: string | undefined }[];
}

/** `answer` gets each request and the number of requests of its kind before it (same method and path). */
export async function rawUpstream(
  t: Test,
  answer: (request: IncomingMessage, response: ServerResponse, before: number) => void,
): Promise<RawUpstream> {
  const seen: string[] = [];
  const headers: RawUpstream['headers'] = [];
  const server = createServer((request, response) => {
    const what = `${request.method} ${request.url}`;
    const before = seen.filter((each) => each === what).length;
    seen.push(what);
    headers.push({ range: request.headers.range, authorization: request.headers.authorization });
    response.on('error', () => undefined);
    answer(request, response, before);
  });
  return { url: await listenHere(t, server), seen, headers };
}

/** The whole of `bytes`, or what the request's open Range asks for. */
export function sendBlob(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? -1);
  if (from < 0) {
    response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
    return;
  }
  const range = `bytes ${from}-${bytes.length - 1}/${bytes.length}`;
  response.writeHead(206, { 'content-length': bytes.length - from, 'content-range': range });
  response.end(bytes.subarray(from));
}
