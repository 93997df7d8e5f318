/**
 * What a rollout costs its origin: thousands of agents that take orders and report, and fetch nothing.
 *
 *     node bench/rollout-scale.ts [--agents 1000] [--wave 5%,25%,50%,100%] [--fetch SECONDS] [--limit BYTES-PER-SECOND] [--page] [--json]
 *
 * One process of bin/shoal as the origin, and in this one the conversations about orders that real agents hold
 * (daemon/orders), each with a name, a zone and a peer id of its own, over the loopback. In place of a download each pretends: its
 * bytes grow for --fetch seconds, half as long or half as long again, and are reported as those of a real one are. A rollout of
 * --wave for all is begun, and watched once a second as `shoal rollout status --watch` does. Prints the processor time and memory
 * of the origin, idle and in the rollout, how soon the agents start and what a status costs.
 * With --page the rollout's page is open in Debian's Chromium meanwhile: its transfer, and its frames.
 * Bars: a thousand agents take at most a quarter of a core; the first starts within a second of `create`.
 */
import { randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { resolveEndpoints } from '#endpoints';
import { createHttpClient, type HttpClient } from '#http';
import { createLogger } from '#telemetry';
import { type Conversation, converse } from '../daemon/orders/conversation.ts';
import { median } from './measure/median.ts';
import { numberOf, readOptions } from './measure/options.ts';
import { cpuSeconds, memoryMib, startMeasured } from './measure/program.ts';
import { pushBlob, pushImage } from './measure/push.ts';
import { type WatchedPage, watchPage } from './rollout/page.ts';
import { pretend } from './rollout/pretend.ts';

const values = readOptions(import.meta.filename, {
  agents: { type: 'string', default: '1000' },
  wave: { type: 'string', default: '5%,25%,50%,100%' },
  fetch: { type: 'string', default: '10' },
  limit: { type: 'string' },
  page: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
});
const count = numberOf('agents', values.agents, 1);
const fetchSeconds = numberOf('fetch', values.fetch, 0.1);
const limit = values.limit === undefined ? undefined : numberOf('limit', values.limit, 1);
const SIZE = 200_000_000;
const IDLE_SECONDS = 15;
const DEADLINE_MS = 600_000;
const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
const CPU_BAR = 0.25;
const START_BAR_MS = 1_000;

interface View {
  readonly id: string;
  readonly state: string;
  readonly wave: number;
  readonly waveCount: number;
  readonly nodes: Readonly<Record<'nodes' | 'done', number>>;
}

/** As a peer id looks; nobody proves one in an open cluster. */
function somePeerId(): string {
  return `12D3KooW${Array.from({ length: 44 }, () => BASE58[randomInt(BASE58.length)]).join('')}`;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const from = performance.now(); performance.now() - from < DEADLINE_MS; await delay(100)) {
    if (await holds()) return;
  }
  throw new Error(`waited in vain for ${what}`);
}

const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-rollout-scale-'));
const origin = await startMeasured('origin', ['--data', folder, '--admission', 'open']);
const clients: HttpClient[] = [];
const conversations: Conversation[] = [];
let page: WatchedPage | undefined;
try {
  const ask = async <T>(where: string, body?: object): Promise<T> => {
    const answer = await fetch(`${origin.url}/api/v1/${where}`, {
      ...(body && { method: 'POST', body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${where} answered ${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as T;
  };
  const size = 1_000;
  const digest = await pushBlob(origin.url, 'bench/scale', 1, size);
  await pushImage(origin.url, 'bench/scale', 'v1', { digest, size });

  const log = createLogger({ program: 'agent', level: 'silent' });
  const starts: number[] = [];
  const [endpoint] = await resolveEndpoints(origin.url);
  if (endpoint === undefined) throw new Error('no origin');
  for (let index = 0; index < count; index += 1) {
    const seconds = fetchSeconds * (0.5 + Math.random());
    const http = await createHttpClient({});
    clients.push(http);
    conversations.push(
      converse({
        ...{ origin: endpoint, node: somePeerId(), name: `node-${index}`, http, log },
        zone: `region${index % 3}/zone${index % 9}/rack${index % 200}`,
        start: (order, { onEnd }) => {
          starts.push(performance.now());
          return pretend(order, { size: SIZE, seconds, onEnd });
        },
        onRates: () => undefined,
      }),
    );
  }
  await until('the agents', async () => {
    const { nodes } = await ask<{ nodes: readonly unknown[] }>('nodes');
    return nodes.length === count;
  });

  const idleBefore = await cpuSeconds(origin.pid);
  await delay(IDLE_SECONDS * 1000);
  const idle = ((await cpuSeconds(origin.pid)) - idleBefore) / IDLE_SECONDS;
  const memoryBefore = await memoryMib(origin.pid);

  const cpuBefore = await cpuSeconds(origin.pid);
  const begunAt = performance.now();
  const { id } = await ask<View>('rollouts', {
    ...{ image: 'bench/scale:v1', nodes: '*', waves: values.wave, maxUnavailable: '0' },
    ...(limit !== undefined && { bytesPerSecond: limit }),
  });
  const createMs = performance.now() - begunAt;
  if (values.page) page = await watchPage(`${origin.url}/ui/rollouts/${id}`);
  const statusMs: number[] = [];
  let view: View;
  do {
    await delay(1_000);
    const from = performance.now();
    view = await ask<View>(`rollouts/${id}`);
    statusMs.push(performance.now() - from);
  } while (view.state === 'running' && performance.now() - begunAt < DEADLINE_MS);
  const seconds = (performance.now() - begunAt) / 1000;
  const cpu = (await cpuSeconds(origin.pid)) - cpuBefore;
  const shown = await page?.stop();
  page = undefined;
  const memory = await memoryMib(origin.pid);
  const firstStartMs = Math.min(...starts) - begunAt;
  const claims = {
    'it ends as done, everybody has it': view.state === 'done' && view.nodes.done === count,
    'everybody started once': starts.length === count,
    [`at most ${CPU_BAR} of a core for a thousand agents`]: cpu / seconds / (count / 1000) <= CPU_BAR,
    'the first agent starts within a second': firstStartMs <= START_BAR_MS,
  };
  const figures = {
    agents: count,
    waves: view.waveCount,
    'idle: share of a core': idle.toFixed(3),
    'rollout: share of a core': (cpu / seconds).toFixed(3),
    'rollout: CPU ms an agent': ((1000 * cpu) / count).toFixed(2),
    'memory MiB: before / after / peak': [memoryBefore.now, memory.now, memory.peak]
      .map(Math.round)
      .join(' / '),
    'create answered after ms': createMs.toFixed(0),
    'first agent starts after ms': firstStartMs.toFixed(0),
    'last report after s': seconds.toFixed(1),
    'a status ms: median / worst': `${median(statusMs).toFixed(0)} / ${Math.max(...statusMs).toFixed(0)}`,
    ...(shown && {
      'page: its nodes shown after ms': shown.shownMs.toFixed(0),
      'page: KiB of files, tables; KiB/s live': [shown.loadBytes, shown.feedBytes / shown.seconds]
        .map((bytes) => (bytes / 1024).toFixed(1))
        .join(', '),
      'page: frames a second, longest ms': `${shown.framesPerSecond.toFixed(1)}, ${shown.longestFrameMs.toFixed(0)}`,
    }),
  };
  if (values.json) console.log(JSON.stringify({ figures, claims }));
  else {
    for (const [name, figure] of Object.entries(figures)) console.log(`${name.padEnd(36)} ${figure}`);
    for (const [claim, holds] of Object.entries(claims))
      console.log(`${holds ? 'holds ' : 'FAILS '} ${claim}`);
  }
  if (Object.values(claims).includes(false)) process.exitCode = 1;
} finally {
  await page?.stop();
  await Promise.all(conversations.map((conversation) => conversation.close()));
  await Promise.all(clients.map((client) => client.close()));
  await origin.stop();
  await rm(folder, { recursive: true, force: true });
}
