/** Waits for a child of a measurement until it serves. */
import type { ChildProcess } from 'node:child_process';
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

const POLL_MS = 5;
const DEADLINE_MS = 60_000;

/** Resolves when `url` answers with 200. @throws Error when the child ends before, or after a minute */
export async function untilReady(child: ChildProcess, url: string): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (performance.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
    if (await answers(url)) return;
    await delay(POLL_MS);
  }
  throw new Error('it was not ready in time');
}

function answers(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = http.get(url, { agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('error', () => resolve(false));
  });
}
