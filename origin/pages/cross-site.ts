/**
 * Requests that another site has a browser send. Browsers add the log-in of this origin to them, so one that changes
 * something is refused; programs that are no browsers send neither header, and are not concerned.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { ProblemError } from '#http';

const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Whether a browser sends this on behalf of another site (Fetch Metadata; on plain HTTP only `Origin` tells). */
export function isCrossSite(headers: IncomingHttpHeaders, publicUrl: string | undefined): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site !== 'same-origin' && site !== 'none';
  const { origin } = headers;
  if (origin === undefined) return false;
  if (!URL.canParse(origin)) return true;
  const { host } = new URL(origin);
  return host !== headers.host && !(publicUrl !== undefined && host === new URL(publicUrl).host);
}

export function refuseCrossSite(app: FastifyInstance, publicUrl: string | undefined): void {
  app.addHook('onRequest', async ({ method, headers }) => {
    if (SAFE.has(method) || !isCrossSite(headers, publicUrl)) return;
    throw new ProblemError(403, 'Forbidden', 'another site may not change anything here');
  });
}
