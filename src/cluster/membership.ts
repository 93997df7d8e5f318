/**
 * Our own membership: asked for with a join token, kept on the disk, and renewed at half of its life with
 * nothing but itself, so that the token may be gone by then. While no origin answers it counts for the rest
 * of its life. The token's file is read anew each time that it is needed.
 */
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { ConfigError } from '#config';
import { writeDurably } from '#durable';
import { type Endpoint, type Endpoints, endpointClient } from '#endpoints';
import type { HttpClient } from '#http';
import type { Identity } from '#swarm';
import type { Logger } from '#telemetry';
import { withMembership } from './client.ts';
import { type Cluster, createCluster } from './cluster.ts';
import { isClusterId, signingKey } from './keys.ts';
import { bodyHash, PROOF_HEADER, signProof } from './proof.ts';
import {
  type JoinToken,
  type Member,
  type MemberRole,
  parseJoinToken,
  StatementError,
} from './statements.ts';

/** The proof that a joiner holds the key of its token; beside that of its own key. */
export const JOIN_PROOF_HEADER = 'shoal-join-proof';
export const JOIN_PATH = '/api/v1/cluster/join';
export const RENEW_PATH = '/api/v1/cluster/renew';
export const REVOCATIONS_PATH = '/api/v1/cluster/revocations';

export interface Membership {
  readonly cluster: Cluster;
  /** Our membership, while it counts. */
  credential(): string | undefined;
  /** Why we are no member now, in words; undefined: we are. */
  problem(): string | undefined;
  /** Until when we are one, in milliseconds since the epoch. */
  expiresAt(): number | undefined;
  /** A client that shows our membership. It does not own `http`. */
  readonly http: HttpClient;
  /** Resolves when we are a member, or `signal` aborts. */
  joined(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface MembershipOptions {
  readonly identity: Identity;
  readonly role: MemberRole;
  /** Folder of the program. */
  readonly data: string;
  readonly joinTokenFile: string | undefined;
  /** Asked in this order. */
  readonly origins: Endpoints;
  /** Not closed here. */
  readonly http: HttpClient;
  readonly log: Logger;
  /** How often the list of revocations is asked for unprompted; undefined: when an answer says that it changed. */
  readonly pollMs?: number;
  readonly now?: () => number;
}

const KEPT_FILE = 'membership.json';
const MAX_TOKEN_BYTES = 4_096;
const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_REVOCATIONS_BYTES = 16 * 1024 * 1024;
const DEADLINE_MS = 5_000;
const FIRST_BACKOFF_MS = 250;
const MOST_BACKOFF_MS = 30_000;
/** Of a membership's life: when it is renewed, give or take the jitter, so that a cluster does not come all at once. */
const RENEW_AT = 0.5;
const JITTER = 0.1;

const kept = z.object({ cluster: z.string().refine(isClusterId), membership: z.string().max(2_048) });
const answer = z.object({ membership: z.string().max(2_048) });
const problem = z.object({ detail: z.string() });
const revocations = z.object({ revocations: z.array(z.string().max(2_048)).max(20_000) });

interface Held extends Member {
  readonly text: string;
}

/** Where a program stands at its start: the cluster that it belongs to, or means to join. */
interface Standing {
  readonly id: string;
  readonly before: z.infer<typeof kept> | undefined;
}

/**
 * What a start needs, before anything is made.
 * @throws ConfigError without a token and anything kept, or for a token that is none
 */
export async function checkStanding(
  options: Pick<MembershipOptions, 'data' | 'joinTokenFile'>,
): Promise<Standing> {
  const { data, joinTokenFile } = options;
  const before = await readKept(path.join(data, KEPT_FILE));
  const token = joinTokenFile === undefined ? undefined : await readToken(joinTokenFile);
  if (token instanceof Error && before === undefined) throw token;
  const id = (token instanceof Error ? undefined : token?.clusterId) ?? before?.cluster;
  if (id !== undefined) return { id, before };
  throw new ConfigError([
    "admission: token needs --join-token-file FILE, with what 'shoal cluster join-token' prints at the origin; " +
      'or --admission open, on a network where everybody may take part',
  ]);
}

/**
 * Reads what is kept and goes on from there in the background.
 * @throws ConfigError without a token and anything kept, or for a token that is none
 */
export async function openMembership(options: MembershipOptions): Promise<Membership> {
  const { identity, role, origins, log, joinTokenFile } = options;
  const now = options.now ?? Date.now;
  const file = path.join(options.data, KEPT_FILE);
  const key = signingKey(identity);
  const { id, before } = await checkStanding(options);
  const cluster = createCluster(id, now);
  const stop = new AbortController();
  let held: Held | undefined;
  let reason: string | undefined = 'it has not joined yet';
  let waiting = Promise.withResolvers<void>();
  let hurry = new AbortController();

  const take = async (text: string): Promise<Held> => {
    const member = await cluster.member(text);
    if (member.peerId !== identity.peerId) throw new StatementError('it is of another peer');
    held = { ...member, text };
    reason = undefined;
    waiting.resolve();
    return held;
  };
  if (before?.cluster === id) {
    await take(before.membership).catch((error: unknown) => {
      reason = `the membership that was kept does not count: ${wordsOf(error)}`;
    });
  } else if (before !== undefined) {
    log.warn(
      { cluster: id, before: before.cluster },
      'the join token is of another cluster: leaving the old one',
    );
  }

  const credential = (): string | undefined =>
    held !== undefined && held.expiresAt > now() && !cluster.isRevoked(identity.peerId)
      ? held.text
      : undefined;

  /** Servers by the list of revocations that they said they have. */
  const told = new WeakMap<Endpoint, string>();
  const onRevocations = (from: Pick<Endpoint, 'url' | 'address'>, version: string): void => {
    const server = origins
      .current()
      .find(({ url, address }) => address === from.address && from.url.startsWith(url));
    if (server === undefined || told.get(server) === version) return;
    told.set(server, version);
    void learnRevocations(server);
  };
  const http = withMembership(options.http, { key, credential, onRevocations, now });

  const learnRevocations = async (server: Endpoint): Promise<void> => {
    try {
      const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(DEADLINE_MS)]);
      const client = endpointClient(http, server);
      const response = await client.request(`${server.url}${REVOCATIONS_PATH}`, { signal });
      const body = await http.read(response, MAX_REVOCATIONS_BYTES);
      if (response.status !== 200) throw new Error(`answered ${response.status}`);
      for (const statement of revocations.parse(JSON.parse(body.toString('utf8'))).revocations) {
        await cluster.revoke(statement).catch((error: unknown) => {
          log.warn({ server: server.name, reason: wordsOf(error) }, 'a revocation was not taken');
        });
      }
    } catch (error) {
      told.delete(server);
      if (!stop.signal.aborted) {
        log.debug(
          { server: server.name, reason: wordsOf(error) },
          'the list of revocations could not be read',
        );
      }
    }
  };

  const ask = async (
    origin: Endpoint,
    path: typeof JOIN_PATH | typeof RENEW_PATH,
    init: Parameters<HttpClient['request']>[1],
  ): Promise<string> => {
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(DEADLINE_MS)]);
    // Renewals go signed, joins have proofs of their own.
    const client = endpointClient(path === RENEW_PATH ? http : options.http, origin);
    const response = await client.request(`${origin.url}${path}`, { ...init, signal });
    const body = await client.read(response, MAX_ANSWER_BYTES);
    if (response.status === 200) return answer.parse(JSON.parse(body.toString('utf8'))).membership;
    throw new Error(`${origin.url}${path} answered ${response.status}: ${detailOf(body)}`);
  };
  const join = (origin: Endpoint, { statement, privateKey }: JoinToken): Promise<string> => {
    const body = JSON.stringify({ token: statement, peerId: identity.peerId, role });
    const { host, pathname } = new URL(`${origin.url}${JOIN_PATH}`);
    const request = { method: 'POST', host, target: pathname, statement };
    const headers = {
      'content-type': 'application/json',
      [PROOF_HEADER]: signProof(key, request, bodyHash([body]), now()),
      [JOIN_PROOF_HEADER]: signProof(privateKey, request, bodyHash([body]), now()),
    };
    return ask(origin, JOIN_PATH, { method: 'POST', headers, body });
  };

  /** From the first origin that gives one. @throws Error with the reasons of all */
  const obtain = async (): Promise<Held> => {
    const joinWith = credential() === undefined ? await tokenNow() : undefined;
    const failures: string[] = [];
    const unknown = origins.problem();
    if (unknown !== undefined) failures.push(unknown);
    for (const origin of origins.current()) {
      try {
        const text = await (joinWith === undefined
          ? ask(origin, RENEW_PATH, { method: 'POST' })
          : join(origin, joinWith));
        const member = await take(text);
        await writeDurably(file, `${JSON.stringify({ cluster: id, membership: text })}\n`);
        return member;
      } catch (error) {
        if (stop.signal.aborted) throw error;
        origins.doubt(origin);
        failures.push(wordsOf(error));
      }
    }
    throw new Error(failures.join('; '));
  };
  const tokenNow = async (): Promise<JoinToken> => {
    if (cluster.isRevoked(identity.peerId)) throw new Error('this peer id was revoked');
    if (joinTokenFile === undefined) throw new Error('a new join token is needed: --join-token-file FILE');
    const read = await readToken(joinTokenFile);
    if (read instanceof Error) throw read;
    if (read.clusterId !== id)
      throw new Error(`${joinTokenFile} is of another cluster: restart to go over to it`);
    return read;
  };

  const run = async (): Promise<void> => {
    let failures = 0;
    await origins.resolved(AbortSignal.any([stop.signal, AbortSignal.timeout(DEADLINE_MS)]));
    while (!stop.signal.aborted) {
      const left = held === undefined ? 0 : held.expiresAt - now();
      const life = held === undefined ? 0 : held.expiresAt - held.issuedAt;
      const early = life * (1 - RENEW_AT + (JITTER * randomInt(-1_000, 1_000)) / 1_000);
      if (failures === 0 && credential() !== undefined && left > early) {
        await pause(left - early, AbortSignal.any([stop.signal, hurry.signal]));
        hurry = new AbortController();
        if (stop.signal.aborted) return;
      }
      const wasMember = credential() !== undefined;
      try {
        const { expiresAt } = await obtain();
        if (!wasMember || failures > 0)
          log.info({ cluster: id, until: new Date(expiresAt) }, 'member of the cluster');
        failures = 0;
      } catch (error) {
        if (stop.signal.aborted) return;
        const ended = credential() === undefined;
        if (ended && reason === undefined) waiting = Promise.withResolvers();
        const words = wordsOf(error);
        if (ended) {
          const wording = held === undefined ? 'not a member of the cluster' : 'the membership has run out';
          if (reason !== words) log.error({ cluster: id, reason: words }, wording);
          reason = words;
        } else if (failures === 0) {
          log.warn(
            { cluster: id, until: new Date(held?.expiresAt ?? 0), reason: words },
            'membership not renewed',
          );
        }
        failures += 1;
        const rest = Math.min(MOST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures, 10));
        // Short lives have short pauses, and the end of one is noticed when it comes.
        const soon = ended
          ? rest
          : Math.min(rest, Math.max(FIRST_BACKOFF_MS, (held?.expiresAt ?? 0) - now()));
        await pause(soon, stop.signal);
      }
    }
  };
  cluster.onRevoked((subject) => {
    if (subject !== identity.peerId) return;
    log.error({ cluster: id }, 'this member was revoked');
    hurry.abort();
  });
  const running = run().catch((error: unknown) => log.error({ err: error }, 'membership'));
  const polling = poll(options.pollMs, origins, stop.signal, learnRevocations);

  return {
    cluster,
    credential,
    problem() {
      if (credential() !== undefined) return undefined;
      if (cluster.isRevoked(identity.peerId)) return 'this member was revoked';
      return reason ?? 'the membership has run out';
    },
    expiresAt: () => (credential() === undefined ? undefined : held?.expiresAt),
    http,
    async joined(signal) {
      const gone = new Promise<void>((resolve) =>
        signal.addEventListener('abort', () => resolve(), { once: true }),
      );
      if (!signal.aborted) await Promise.race([waiting.promise, gone]);
    },
    async close() {
      stop.abort();
      await Promise.all([running, polling]);
    },
  };
}

async function poll(
  everyMs: number | undefined,
  origins: Endpoints,
  signal: AbortSignal,
  learn: (server: Endpoint) => Promise<void>,
): Promise<void> {
  while (everyMs !== undefined && !signal.aborted) {
    await Promise.all(origins.current().map(learn));
    await pause(everyMs, signal);
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal, ref: false }).catch(() => undefined);
}

async function readKept(file: string): Promise<z.infer<typeof kept> | undefined> {
  try {
    return kept.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    // It can be had again; who may read the folder is not a matter of this file.
    if (error instanceof SyntaxError || error instanceof z.ZodError) return undefined;
    throw error;
  }
}

async function readToken(file: string): Promise<JoinToken | ConfigError> {
  try {
    const text = await readFile(file, 'utf8');
    if (text.length > MAX_TOKEN_BYTES) throw new StatementError('it is too long for a join token');
    return parseJoinToken(text);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return new ConfigError([
      `join.token-file: ${file}: ${missing ? 'there is no such file' : wordsOf(error)}`,
    ]);
  }
}

function detailOf(body: Buffer): string {
  try {
    return problem.parse(JSON.parse(body.toString('utf8'))).detail.slice(0, 300);
  } catch {
    return 'no reason was given';
  }
}

function wordsOf(error: unknown): string {
  if (error instanceof StatementError) return error.message;
  const cause =
    error instanceof Error ? (error.cause as { message?: string } | undefined)?.message : undefined;
  const message = error instanceof Error ? error.message : String(error);
  return cause === undefined ? message : `${message}: ${cause}`;
}
