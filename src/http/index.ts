/**
 * HTTP as every program serves and speaks it: one fastify set-up (TLS, request ids, a log line a
 * request, health and metrics routes, error bodies, draining) and one client set-up (custom CA,
 * deadlines, the request id passed on).
 */

export { parseJsonBody, readBody, receiveBody } from './body.ts';
export {
  createHttpClient,
  type HttpClient,
  type HttpRequestOptions,
  type HttpResponse,
  restAfterFailure,
} from './client.ts';
export { isFromHere } from './from-here.ts';
export { formatHostPort, type HostPort, parseHostPort } from './host-port.ts';
export { ProblemError } from './problem.ts';
export { type ByteSource, sendBody } from './send.ts';
export {
  createHttpServer,
  type HttpServer,
  type HttpServerOptions,
  type TlsFiles,
} from './server.ts';
export type { HttpBody, HttpStream } from './stream.ts';
