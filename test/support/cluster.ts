/** Clusters for tests: a key in a folder of its own, join tokens, and members that are not programs of ours. */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Test } from 'tap';
import { type ClusterKey, clusterKeyFile, createJoinToken, initCluster, signMembership } from '#cluster';
import type { Identity, SwarmMembership } from '#swarm';
import { signingKey } from '../../src/cluster/keys.ts';
import { bodyHash, signProof } from '../../src/cluster/proof.ts';
import { makeFolder } from './in-process.ts';

export interface TestCluster {
  readonly key: ClusterKey;
  readonly keyFile: string;
  /** Writes a new join token to a file and answers with its path. */
  joinToken(options?: { readonly lifetimeMs?: number; readonly uses?: number }): Promise<string>;
  membership(
    peerId: string,
    options?: { readonly lifetimeMs?: number; readonly now?: number },
  ): Promise<string>;
}

export async function makeCluster(t: Test): Promise<TestCluster> {
  const folder = await makeFolder(t);
  const keyFile = clusterKeyFile(folder);
  const { key } = await initCluster(keyFile);
  return {
    key,
    keyFile,
    async joinToken({ lifetimeMs = 3_600_000, uses } = {}) {
      const file = path.join(folder, `token-${randomBytes(4).toString('hex')}`);
      const { text } = await createJoinToken(key, { lifetimeMs, uses, now: Date.now() });
      await writeFile(file, `${text}\n`, { mode: 0o600 });
      return file;
    },
    membership: (peerId, { lifetimeMs = 3_600_000, now = Date.now() } = {}) =>
      signMembership(key, { peerId, role: 'agent' }, lifetimeMs, now),
  };
}

/** What a swarm of a test shows and takes. */
export interface TestMembership extends SwarmMembership {
  /** Shown from now on. */
  shown: string | undefined;
  readonly refusals: string[];
  revoke(peerId: string): void;
}

export function testMembership(check: SwarmMembership['check'], shown: string | undefined): TestMembership {
  const listeners: ((peerId: string) => void)[] = [];
  const revoked = new Set<string>();
  const membership: TestMembership = {
    shown,
    refusals: [],
    credential: () => membership.shown,
    async check(text) {
      const member = await check(text);
      if (revoked.has(member.peerId)) throw new Error('revoked');
      return member;
    },
    onRevoked: (listener) => void listeners.push(listener),
    refused: (_peerId, reason) => void membership.refusals.push(reason),
    revoke(peerId) {
      revoked.add(peerId);
      for (const listener of listeners) listener(peerId);
    },
  };
  return membership;
}

/** The headers of a request as a member signs it. */
export function signed(
  identity: Identity,
  statement: string,
  url: string,
  options: { readonly method?: string; readonly body?: string; readonly now?: number } = {},
): Record<string, string> {
  const { method = 'GET', body = '', now = Date.now() } = options;
  const { host, pathname, search } = new URL(url);
  const request = { method, host, target: `${pathname}${search}`, statement };
  const proof = signProof(signingKey(identity), request, bodyHash([body]), now);
  return { 'shoal-membership': statement, 'shoal-proof': proof };
}

/** Status and body of an answer. */
export async function textOf(url: string, init: RequestInit = {}): Promise<{ status: number; text: string }> {
  const response = await fetch(url, init);
  return { status: response.status, text: await response.text() };
}

/** An announce as an ordinary client makes it. */
export async function announceAs(url: string, infoHash: string, passkey?: string): Promise<string> {
  const hash = infoHash.replace(/../g, '%$&');
  const key = passkey === undefined ? '' : `&passkey=${passkey}`;
  const query = `info_hash=${hash}&peer_id=${'-XX0000-abcdefghijkl'}&port=7000&left=1&compact=1${key}`;
  return (await textOf(`${url}/announce?${query}`)).text;
}
