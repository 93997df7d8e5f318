/**
 * The hands of a bench in one node: a process that, inside the node's network, does what it is told a line,
 * and answers each with a line. It lives as long as its standard input, so its code is compiled by the time it counts.
 */
import { execFile } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { pushBlob, pushImage } from '../measure/push.ts';
import { type Pulled, pullBlob } from './client.ts';

const READY_DEADLINE_MS = 60_000;
const POLL_MS = 20;

/** What a node can be told. */
export interface Orders {
  /** Waits until a program answers. */
  ready(url: string): Promise<void>;
  /** Pushes content of its own seed as an image of one layer; answers with the layer's digest. */
  push(origin: string, repository: string, tag: string, seed: number, size: number): Promise<string>;
  /** Gets an image's manifest and then its layer, as any client of a registry does. */
  pull(from: string, repository: string, tag: string, digest: string): Promise<Pulled>;
  text(url: string): Promise<string>;
  /** Sends JSON; answers with the body. Rejects when the answer is no success. */
  post(url: string, body: object): Promise<string>;
  /** Bytes that the node's programs have given to their connections and that have not arrived (ss). */
  underWay(): Promise<number>;
}

const orders: Orders = {
  async ready(url) {
    for (const deadline = performance.now() + READY_DEADLINE_MS; performance.now() < deadline; ) {
      const answer = await fetch(`${url}/readyz`).catch(() => undefined);
      if (answer?.ok) return;
      await delay(POLL_MS);
    }
    throw new Error(`${url} did not become ready`);
  },
  async push(origin, repository, tag, seed, size) {
    const digest = await pushBlob(origin, repository, seed, size);
    await pushImage(origin, repository, tag, { digest, size });
    return digest;
  },
  async pull(from, repository, tag, digest) {
    const manifest = await fetch(`${from}/v2/${repository}/manifests/${tag}`);
    await manifest.arrayBuffer();
    if (!manifest.ok) throw new Error(`the manifest was answered with ${manifest.status}`);
    return pullBlob(`${from}/v2/${repository}/blobs/${digest}`, digest);
  },
  text: async (url) => (await fetch(url)).text(),
  async post(url, body) {
    const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${text}`);
    return text;
  },
  async underWay() {
    const { stdout } = await promisify(execFile)('ss', ['-tnH', 'state', 'established']);
    return stdout.split('\n').reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[1] ?? 0), 0);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line) as [keyof Orders, ...string[]];
  try {
    const order = orders[name] as (...given: string[]) => Promise<unknown>;
    console.log(JSON.stringify({ result: await order(...args) }));
  } catch (error) {
    console.log(JSON.stringify({ error: (error as Error).message }));
  }
}
