/**
 * Inventories (an API of ours, under /api/v1/agents). An agent tells all that it can seed at once,
 * and then only what changes, so an idle cached blob costs no announce and no timer on either side.
 *
 *     PUT    /api/v1/agents/<peer id>   {"port": 6882, "peer": "/dns/node7/tcp/4002/p2p/12D3…", "host": "node7",
 *                                        "zone": "eu1/rack7", "sequence": 1, "blobs": ["<infohash>", …]}
 *     PATCH  /api/v1/agents/<peer id>   {"sequence": 2, "add": [], "remove": []}
 *                                        also the heartbeat; 404, and 409 for a gap in the sequence: PUT again
 *     DELETE /api/v1/agents/<peer id>   goodbye
 *     GET    /api/v1/agents             the agents that have a lease
 *
 * What an agent asks of the others' is in copies-route.ts.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Guard } from '#cluster';
import { formatHostPort, ProblemError, parseJsonBody, readBody } from '#http';
import { formatMultiaddr, parseMultiaddr } from '#multiaddr';
import { type InfoHash, parseInfoHash } from '#torrent';
import type { AgentRefusal, AgentSelf, Agents } from './agents.ts';
import { isHost, plainIp } from './ip.ts';
import { createResyncBudget } from './resync-budget.ts';

/** A million infohashes of 43 bytes each, and the rest. */
const MAX_BODY_BYTES = 48 * 1024 ** 2;
/** Bodies that are being read at the same time, in all; an agent that is told so tries again later. */
const MAX_BODIES_BYTES = 192 * 1024 ** 2;
const BODY_DEADLINE_MS = 30_000;
const MAX_BLOBS = 1_000_000;
const RETRY_AFTER_SECONDS = 2;

const infoHashes = z.custom<InfoHash[]>(
  (value) =>
    Array.isArray(value) &&
    value.length <= MAX_BLOBS &&
    value.every((entry) => typeof entry === 'string' && /^[0-9a-f]{40}$/.test(entry)),
  `must be at most ${MAX_BLOBS} infohashes of 40 lower-case hex digits`,
);

/** Counts what an agent tells; the same number again is the same change again. */
const sequence = z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional();

const inventory = z.strictObject({
  sequence,
  /** Plain TCP. Without it and `peer` the agent only dials. */
  port: z.int().min(1).max(65_535).optional(),
  /** libp2p, as a multiaddr; without its host the address that we see. */
  peer: z
    .string()
    .max(400)
    .transform((text, context) => {
      const address = parseMultiaddr(text);
      if (address !== undefined && (address.host === undefined || isHost(address.host))) return address;
      context.addIssue({ code: 'custom', message: 'must be like /ip4/10.0.0.7/tcp/4002/p2p/12D3…' });
      return z.NEVER;
    })
    .optional(),
  host: z
    .string()
    .max(253)
    .refine(isHost, 'must be an IP address or a DNS name')
    .transform((text) => plainIp(text))
    .optional(),
  zone: z
    .string()
    .max(511)
    .regex(/^[\w.-]{1,63}(?:\/[\w.-]{1,63}){0,7}$/, 'must be like eu1/rack7')
    .optional(),
  blobs: infoHashes,
});

const change = z.strictObject({
  sequence,
  add: infoHashes.default([]),
  remove: infoHashes.default([]),
});

const refusals: Readonly<Record<AgentRefusal, readonly [number, string, string]>> = {
  unknown: [404, 'Not Found', 'no agent with this peer id has a lease here; PUT its whole inventory'],
  foreign: [403, 'Forbidden', 'an agent at another address has this peer id; its lease must end first'],
  gap: [
    409,
    'Conflict',
    'a change before this one did not arrive, or one after it did; PUT the whole inventory',
  ],
  full: [507, 'Insufficient Storage', 'the tracker keeps as many agents or blobs as it may'],
};

type Params = { Params: { peerId: string } };

export function registerAgents(
  app: FastifyInstance,
  agents: Agents,
  options: {
    readonly leaseMs: number;
    readonly guard?: Guard | undefined;
    /** Of whole inventories; see resync-budget.ts. */
    readonly inventoryBytesPerSecond: number;
    readonly now: () => number;
  },
): void {
  const { guard } = options;
  const budget = createResyncBudget({
    bytesPerSecond: options.inventoryBytesPerSecond,
    burstBytes: Math.max(MAX_BODY_BYTES, options.inventoryBytesPerSecond),
    now: options.now,
  });
  const readAll = createBodyReader();
  const read = async (request: FastifyRequest): Promise<Buffer> => {
    const body = await readAll(request);
    guard?.checkBody(request.raw, body);
    return body;
  };
  /** A member speaks for itself alone: the lease it changes, and the address it tells, are its own. */
  const speaks = async (request: FastifyRequest, peerId: string): Promise<(libp2p?: string) => void> => {
    const member = await guard?.demand(request.raw);
    return (said) => {
      const named = said ?? agents.find(peerId, remoteIp(request))?.libp2p?.peerId;
      if (member === undefined || named === undefined || named === member.peerId) return;
      throw new ProblemError(
        403,
        'Forbidden',
        `peer: ${named} is another member than the one that sends this`,
      );
    };
  };
  const lease = {
    leaseSeconds: options.leaseMs / 1000,
    /** Who dies is forgotten within two heartbeats; one that fails is tried again at once. */
    heartbeatSeconds: options.leaseMs / 2000,
  };

  app.put<Params>('/api/v1/agents/:peerId', async (request, reply) => {
    const peerId = parsePeerId(request.params.peerId);
    const check = await speaks(request, peerId);
    if (!budget.take(Math.min(Number(request.headers['content-length'] ?? 0), MAX_BODY_BYTES))) {
      reply.header('retry-after', RETRY_AFTER_SECONDS);
      throw new ProblemError(503, 'Service Unavailable', 'too many inventories at once; try again');
    }
    const { blobs, sequence, ...said } = parseJsonBody(await read(request), inventory);
    check();
    check(said.peer?.peerId);
    done(agents.put(peerId, remoteIp(request), selfOf(said), blobs, sequence));
    return lease;
  });

  app.patch<Params>('/api/v1/agents/:peerId', async (request) => {
    const peerId = parsePeerId(request.params.peerId);
    const check = await speaks(request, peerId);
    const changed = parseJsonBody(await read(request), change);
    check();
    done(agents.patch(peerId, remoteIp(request), changed));
    return lease;
  });

  app.delete<Params>('/api/v1/agents/:peerId', async (request, reply) => {
    const peerId = parsePeerId(request.params.peerId);
    (await speaks(request, peerId))();
    done(agents.delete(peerId, remoteIp(request)));
    return reply.status(204).send();
  });

  app.get('/api/v1/agents', async () => ({
    agents: Array.from(agents.list(), ({ peerId, host, ip, port, libp2p, zone, blobs, lastSeenAt }) => ({
      peerId,
      address: port === undefined ? null : formatHostPort({ host: host ?? ip, port }),
      peer: libp2p === undefined ? null : formatMultiaddr({ host: host ?? ip, ...libp2p }),
      zone: zone ?? null,
      blobs,
      lastSeen: new Date(lastSeenAt).toISOString(),
    })),
  }));
}

/** A member has one host, on whichever transport. */
function selfOf(said: Omit<z.infer<typeof inventory>, 'blobs' | 'sequence'>): AgentSelf {
  const { port, zone, peer } = said;
  const named = peer?.host === undefined ? undefined : plainIp(peer.host);
  if (named !== undefined && said.host !== undefined && named !== said.host) {
    throw new ProblemError(400, 'Bad Request', 'peer: must name the same host as host');
  }
  const libp2p = peer && { port: peer.port, peerId: peer.peerId };
  return { port, libp2p, host: said.host ?? named, zone };
}

function done(result: AgentRefusal | 'done'): void {
  if (result !== 'done') throw new ProblemError(...refusals[result]);
}

/** A peer id is any 20 bytes, written like an infohash. */
function parsePeerId(text: string): string {
  const peerId = parseInfoHash(text);
  if (peerId === undefined) throw new ProblemError(400, 'Bad Request', 'a peer id is 40 hex digits');
  return peerId;
}

function remoteIp(request: FastifyRequest): string {
  return plainIp(request.raw.socket.remoteAddress ?? '');
}

/** Reads bodies while all that are being read fit the memory that they may take. */
function createBodyReader(): (request: FastifyRequest) => Promise<Buffer> {
  let reading = 0;
  return async ({ raw }) => {
    const length = Number(raw.headers['content-length'] ?? Number.NaN);
    if (!Number.isSafeInteger(length)) {
      throw new ProblemError(411, 'Length Required', 'send the body with a Content-Length');
    }
    if (length > MAX_BODY_BYTES) {
      throw new ProblemError(413, 'Content Too Large', `an inventory has at most ${MAX_BODY_BYTES} bytes`);
    }
    if (reading + length > MAX_BODIES_BYTES) {
      throw new ProblemError(503, 'Service Unavailable', 'too many inventories at once; try again');
    }
    reading += length;
    const late = setTimeout(() => raw.destroy(), BODY_DEADLINE_MS);
    try {
      const body = await readBody(raw, length).catch((error: unknown) => {
        if (raw.destroyed) throw new ProblemError(400, 'Bad Request', 'the body was cut off');
        throw error;
      });
      if (body === undefined) throw new ProblemError(400, 'Bad Request', 'the body is longer than it said');
      return body;
    } finally {
      clearTimeout(late);
      reading -= length;
    }
  };
}
