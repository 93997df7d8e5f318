/**
 * Tells one origin of the account: what changed, as often as the origin wants to hear it. An agent whose account stands
 * still says nothing. What was not taken is told again; an origin that keeps no accounts is asked now and then.
 */
import type { z } from 'zod';
import { type Endpoint, endpointClient } from '#endpoints';
import type { HttpClient } from '#http';
import { type AccountRow, type accounts, accountsAnswer, MAX_ACCOUNT_ROWS } from '#orders';
import type { Logger } from '#telemetry';
import { backoffMs, createPause, createTurnstile } from '#waiting';

export interface Telling {
  /** These rows are others than those that were told. */
  changed(rows: readonly AccountRow[]): void;
  /** Tells what is left, once, and ends. */
  close(): Promise<void>;
}

const DEADLINE_MS = 10_000;
/** While the agent stops. */
const LAST_DEADLINE_MS = 2_000;
const NONE_HERE_MS = 5 * 60_000;
const FIRST_BACKOFF_MS = 1_000;
const MOST_BACKOFF_MS = 60_000;
const MAX_ANSWER_BYTES = 4_096;

export function tellOrigin(options: {
  readonly origin: Endpoint;
  readonly node: string;
  readonly http: HttpClient;
  readonly log: Logger;
}): Telling {
  const { node, log } = options;
  const http = endpointClient(options.http, options.origin);
  const origin = options.origin.name;
  const url = `${options.origin.url}/api/v1/agents/${node}/accounts`;
  const stop = new AbortController();
  const turnstile = createTurnstile();
  const pause = createPause();
  /** The newest state of each row that was not taken yet, by its name. */
  const untold = new Map<string, AccountRow>();

  const post = async (
    rows: readonly AccountRow[],
    signal: AbortSignal,
  ): Promise<z.infer<typeof accountsAnswer> | undefined> => {
    const said: z.infer<typeof accounts> = { rows: [...rows] };
    const response = await http.request(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(said),
      signal,
    });
    const text = (await http.read(response, MAX_ANSWER_BYTES)).toString('utf8');
    if (response.status === 404) return undefined;
    if (response.status !== 200)
      throw new Error(`accounts answered ${response.status}: ${text.slice(0, 200)}`);
    return accountsAnswer.parse(JSON.parse(text));
  };

  /** How long to wait before the next; what was taken is forgotten. */
  const tell = async (signal: AbortSignal): Promise<number> => {
    let waitMs = 0;
    while (untold.size > 0) {
      const batch = [...untold].slice(0, MAX_ACCOUNT_ROWS);
      const taken = await post(
        batch.map(([, row]) => row),
        signal,
      );
      if (taken === undefined) return NONE_HERE_MS;
      // What changed meanwhile is told again.
      for (const [name, row] of batch) if (untold.get(name) === row) untold.delete(name);
      for (const [name, { day }] of untold) if (day < taken.oldestDay) untold.delete(name);
      waitMs = taken.nextSeconds * 1000;
    }
    return waitMs;
  };

  const run = async (): Promise<void> => {
    let failures = 0;
    while (!stop.signal.aborted) {
      if (untold.size === 0) await turnstile.wait(undefined, stop.signal);
      if (stop.signal.aborted) return;
      let waitMs: number;
      try {
        // Spread, so that those who fetch the same image do not tell of it in the same moment.
        waitMs = (await tell(AbortSignal.any([stop.signal, AbortSignal.timeout(DEADLINE_MS)]))) * spread();
        failures = 0;
      } catch (error) {
        if (stop.signal.aborted) return;
        failures += 1;
        if (failures === 1) log.debug({ origin, reason: String(error) }, 'the account was not told');
        waitMs = backoffMs(failures, FIRST_BACKOFF_MS, MOST_BACKOFF_MS);
      }
      await pause.wait(waitMs, stop.signal);
    }
  };
  const running = run().catch((error: unknown) => log.error({ err: error }, 'telling the account ended'));

  return {
    changed(rows) {
      for (const row of rows) untold.set(`${row.day} ${row.repository ?? ''} ${row.image ?? ''}`, row);
      turnstile.open();
    },
    async close() {
      stop.abort();
      await running;
      await tell(AbortSignal.timeout(LAST_DEADLINE_MS)).catch((error: unknown) =>
        log.debug({ origin, reason: String(error) }, 'the last of the account was not told'),
      );
    },
  };
}

const spread = (): number => 0.8 + Math.random() * 0.2;
