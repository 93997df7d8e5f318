/**
 * One fastify set-up for every listener of Shoal. It owns the socket, TLS, the request id and log
 * line, the health and metrics routes, the error bodies and the drain. Routes are the programs'.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import { OciError, type OciErrorCode } from '#oci';
import type { Logger, Metrics } from '#telemetry';
import { formatHostPort, type HostPort } from './host-port.ts';
import { inheritedListener } from './inherited.ts';
import { ProblemError } from './problem.ts';

/** Paths of PEM files. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface HttpServerOptions {
  readonly listen: HostPort;
  readonly tls?: TlsFiles | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Why the program is not ready to serve, or undefined when it is. Answers /readyz. */
  readonly notReady?: () => string | undefined | Promise<string | undefined>;
}

export interface HttpServer {
  /** Register routes here before `start`. Bodies of every content type arrive as raw streams. */
  readonly app: FastifyInstance;
  /**
   * Binds the listener, or takes the one that systemd hands over, and answers with the address, the port chosen when it was 0.
   * @throws Error when that one is at another address
   */
  start(): Promise<HostPort>;
  /** Stops accepting, lets running responses finish for `deadlineMs`, then cuts them. */
  close(deadlineMs?: number): Promise<void>;
}

/** How long the rest of a body that was not read is thrown away, so that the client sees the answer. */
const LINGER_MS = 10_000;
/** What scrapers, trackers' clients and heartbeats ask all day would drown the lines of pulls. */
const ROUTINE = /^\/(?:metrics|healthz|readyz|announce|scrape)(?:\?|$)|^\/api\/v1\/agents\//;
/** A connection without a byte in either direction for this long is closed. */
const IDLE_SOCKET_MS = 60_000;
const DRAIN_MS = 30_000;
const ENTITY_HEADERS = ['content-length', 'content-range', 'etag', 'docker-content-digest'] as const;
const DRAIN_STEP_MS = 100;
/** How long a drain waits for the first request of a connection that was accepted just before. */
const LATE_REQUEST_MS = 500;
const LATE_STEP_MS = 10;

export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { log, metrics } = options;
  const limits = { headersTimeout: 20_000, requestTimeout: 0, keepAliveTimeout: 72_000 };
  const secure = options.tls && {
    cert: await readFile(options.tls.certFile),
    key: await readFile(options.tls.keyFile),
    minVersion: 'TLSv1.2' as const,
  };
  const app: FastifyInstance = Fastify({
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: requestId,
    routerOptions: { maxParamLength: 1024 },
    forceCloseConnections: 'idle',
    // A request that was on its way when the drain began is answered like any other.
    return503OnClosing: false,
    exposeHeadRoutes: false,
    frameworkErrors: (error, request, reply) => void answerError(log, error, request, reply),
    serverFactory: (handler) =>
      (secure
        ? https.createServer({ ...limits, ...secure }, handler)
        : http.createServer(limits, handler)) as http.Server,
  });
  app.server.setTimeout(IDLE_SOCKET_MS);
  const unasked = watchUnasked(app.server, secure !== undefined);

  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));

  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
  app.addHook('onResponse', async (request, reply) => {
    boundUnreadBody(request.raw);
    const level = ROUTINE.test(request.url) ? 'debug' : 'info';
    // A tracker answers thousands of these a second.
    if (!log.isLevelEnabled(level)) return;
    const line = {
      reqId: request.id,
      method: request.method,
      url: withoutSecrets(request.url),
      status: reply.statusCode,
      ms: Math.round(reply.elapsedTime * 10) / 10,
      remote: request.ip,
    };
    log[level](line, 'request');
  });
  app.setErrorHandler((error: FastifyError, request, reply) => answerError(log, error, request, reply));
  app.setNotFoundHandler((request, reply) =>
    answerError(
      log,
      new ProblemError(404, 'Not Found', `there is nothing at ${request.url}`),
      request,
      reply,
    ),
  );

  app.get('/healthz', async () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const reason = await options.notReady?.();
    return reason === undefined
      ? { status: 'ready' }
      : reply.status(503).send({ status: 'not ready', reason });
  });
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()));

  return {
    app,
    async start() {
      const { host, port } = options.listen;
      const fd = inheritedListener();
      await app.listen({ host, port, ...(fd !== undefined && { fd }) });
      const address = app.server.address() as AddressInfo;
      if (fd !== undefined) checkInherited(address, options.listen);
      return { host, port: address.port };
    },
    async close(deadlineMs = DRAIN_MS) {
      const cut = setTimeout(() => app.server.closeAllConnections(), deadlineMs);
      if (app.server.listening) {
        // http.Server's own close would also end connections whose first request is still on its way.
        net.Server.prototype.close.call(app.server);
        await unasked.settled(LATE_REQUEST_MS);
      }
      // A connection whose answer ends while we drain would be kept alive for the next request.
      const idle = setInterval(() => app.server.closeIdleConnections(), DRAIN_STEP_MS);
      await app.close().finally(() => {
        clearTimeout(cut);
        clearInterval(idle);
      });
    },
  };
}

/** An address that the configuration does not know would go past its checks of who may reach it. */
function checkInherited(address: AddressInfo, listen: HostPort): void {
  const given = formatHostPort({ host: address.address, port: address.port });
  const same =
    address.address === listen.host || (listen.host === 'localhost' && /^127\.|^::1$/.test(address.address));
  if (same && (listen.port === 0 || listen.port === address.port)) return;
  throw new Error(
    `the socket that systemd handed over listens at ${given}, the configuration says listen: ${formatHostPort(listen)}: make them agree`,
  );
}

/** Connections that have not sent a request yet. */
function watchUnasked(server: http.Server, secure: boolean): { settled(deadlineMs: number): Promise<void> } {
  const sockets = new Set<net.Socket>();
  server.on(secure ? 'secureConnection' : 'connection', (socket: net.Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('request', ({ socket }) => sockets.delete(socket));
  return {
    async settled(deadlineMs) {
      const end = performance.now() + deadlineMs;
      while (sockets.size > 0 && performance.now() < end) await delay(LATE_STEP_MS);
    },
  };
}

/** A passkey in a URL opens what it names: it is no matter for a log. */
function withoutSecrets(url: string): string {
  return url.replace(/([?&](?:passkey|password|token|refresh_token)=)[^&]*/gi, '$1[redacted]');
}

/** What is left of a body after the answer is dropped as it comes; a client that never ends it is cut. */
function boundUnreadBody(request: http.IncomingMessage): void {
  if (request.complete || request.destroyed) return;
  request.resume();
  const cut = setTimeout(() => request.socket.destroy(), LINGER_MS).unref();
  request.once('close', () => clearTimeout(cut));
}

/** A caller's id is kept when it is short and plain, so that one id follows a pull through every hop. */
function requestId(request: { headers: http.IncomingHttpHeaders }): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,64}$/.test(given) ? given : randomUUID();
}

function answerError(
  log: Logger,
  error: (FastifyError | OciError | ProblemError | Error) & { readonly code?: unknown },
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const known = recognise(error);
  if (!known) {
    const clientGone = request.raw.destroyed && !request.raw.complete;
    log[clientGone ? 'debug' : 'error']({ err: error, reqId: request.id }, 'request failed');
  }
  // They were set for the content that the error stands in for.
  for (const name of ENTITY_HEADERS) reply.removeHeader(name);
  const registry = request.url === '/v2' || request.url.startsWith('/v2/');
  if (registry) {
    const oci =
      known instanceof OciError
        ? known
        : new OciError(codeOf(error), known?.message ?? 'internal error', undefined, {
            status: known?.status ?? 500,
          });
    return reply.status(oci.status).headers(oci.headers).type('application/json').send(oci.envelope());
  }
  const problem =
    known instanceof ProblemError
      ? known
      : new ProblemError(
          known?.status ?? 500,
          http.STATUS_CODES[known?.status ?? 500] ?? 'Error',
          known?.message ?? 'internal error',
        );
  return reply.status(problem.status).type('application/problem+json').send(problem.body());
}

/** The router refuses a path that is not valid percent-encoding before the registry sees it. */
function codeOf(error: { readonly code?: unknown }): OciErrorCode {
  return error.code === 'FST_ERR_BAD_URL' ? 'NAME_INVALID' : 'UNKNOWN';
}

/** Errors that an answer may speak of; anything else is a surprise and stays in the log. */
function recognise(
  error: Error & { code?: unknown; statusCode?: unknown },
): OciError | ProblemError | undefined {
  if (error instanceof OciError || error instanceof ProblemError) return error;
  if (error.code === 'ENOSPC' || error.code === 'EDQUOT')
    return new OciError('NO_SPACE', undefined, undefined, { cause: error });
  const status = error.statusCode;
  if (typeof status === 'number' && status >= 400 && status < 500) {
    return new ProblemError(status, http.STATUS_CODES[status] ?? 'Bad Request', error.message);
  }
  return undefined;
}
