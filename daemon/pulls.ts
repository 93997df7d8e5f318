/** The accounts of the newest blob fetches, and `/api/v1/pulls`, where they are read. Kept in memory only. */
import type { FastifyInstance } from 'fastify';
import { type Digest, parseDigest } from '#oci';
import { createPullAccount, type PullAccount, type PullReport } from './pull-account.ts';
import { formatRepository, type Repository } from './repository.ts';
import type { Serves } from './serves.ts';

/** Fetches that are remembered; the oldest goes first. */
const REMEMBERED = 256;

export interface Pulls {
  begin(repository: Repository, digest: Digest): PullAccount;
  /** The newest first; of one digest, or of all. */
  reports(digest?: Digest): PullReport[];
}

export function createPulls(): Pulls {
  const accounts: { readonly digest: Digest; readonly account: PullAccount }[] = [];
  return {
    begin(repository, digest) {
      const account = createPullAccount({
        digest,
        repository: formatRepository(repository),
        startedAt: new Date(),
        at: performance.now(),
      });
      accounts.push({ digest, account });
      if (accounts.length > REMEMBERED) accounts.shift();
      return account;
    },
    reports(digest) {
      const now = performance.now();
      return accounts
        .filter((entry) => digest === undefined || entry.digest === digest)
        .map(({ account }) => account.report(now))
        .reverse();
    },
  };
}

/** The newest first, of one digest or of all: its fetches, what clients were given of it, manifests. */
function accounts(pulls: Pulls, serves: Serves, digest?: Digest): unknown {
  return {
    pulls: pulls.reports(digest),
    serves: serves.serves(digest),
    lazyReads: serves.lazyReads(digest),
    manifests: serves.manifests(digest),
  };
}

/** `GET /api/v1/pulls` and `/api/v1/pulls/<digest>`; nothing remembered is an empty list. */
export function registerPulls(app: FastifyInstance, pulls: Pulls, serves: Serves): void {
  app.get('/api/v1/pulls', async () => accounts(pulls, serves));
  app.get<{ Params: { digest: string } }>('/api/v1/pulls/:digest', async (request) =>
    accounts(pulls, serves, parseDigest(request.params.digest)),
  );
}
