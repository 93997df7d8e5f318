/**
 * Simulated agents: each with a connection of its own, an inventory, heartbeats that tell a few
 * changes, and announces of blobs that it downloads. The real protocol, over HTTP.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Connection, openConnection } from './connection.ts';

export interface SimulatedAgents {
  /** Every agent tells its whole inventory. Answers with the seconds that it took. */
  tellAll(): Promise<number>;
  /** Starts the heartbeats, one an agent each `everyMs`, spread evenly. */
  beat(everyMs: number): void;
  /** Asks for peers so often for so long; answers with the latencies in milliseconds, sorted. */
  query(perSecond: number, seconds: number): Promise<Float64Array>;
  /** Heartbeats that were answered with 200, and requests that were answered otherwise. */
  counts(): { readonly beats: number; readonly failures: number };
  close(): void;
}

interface Agent {
  readonly peerId: string;
  readonly port: number;
  readonly zone: string;
  readonly connection: Connection;
  /** Places in the list of blobs. */
  readonly blobs: Uint32Array;
  sequence: number;
  busy: boolean;
}

/** Connections for announces, so that no query waits for a heartbeat; one each would be more than a process may open. */
const ASKING = 1_000;
/** Inventories that are under way at the same time. */
const TELLING = 16;
const STEP_MS = 5;

export function simulateAgents(options: {
  readonly port: number;
  readonly agents: number;
  readonly blobsEach: number;
  /** How many blobs there are; the first are held by nearly everybody. */
  readonly blobs: number;
  /** Every agent has blobs that no other has. */
  readonly distinct: boolean;
}): SimulatedAgents {
  const { port, blobsEach, distinct } = options;
  const names = distinct ? [] : Array.from({ length: options.blobs }, () => randomBytes(20).toString('hex'));
  const agents = Array.from({ length: options.agents }, (_, number): Agent => {
    const blobs = new Set<number>();
    while (!distinct && blobs.size < blobsEach) blobs.add(Math.floor(names.length * Math.random() ** 3));
    return {
      peerId: randomBytes(20).toString('hex'),
      port: 1_024 + number,
      zone: `region${number % 3}/zone${number % 9}/rack${number % 200}`,
      connection: openConnection(port),
      blobs: Uint32Array.from(blobs),
      ...{ sequence: 0, busy: false },
    };
  });
  const asking = Array.from({ length: ASKING }, () => openConnection(port));
  let [beats, failures] = [0, 0];
  let beating: NodeJS.Timeout | undefined;

  const send = (agent: Agent, method: string, body: string): Promise<number> =>
    agent.connection.request(
      `${method} /api/v1/agents/${agent.peerId} HTTP/1.1\r\nhost: tracker\r\ncontent-type: application/json\r\n` +
        `content-length: ${body.length}\r\n\r\n${body}`,
    );
  const tell = async (agent: Agent): Promise<void> => {
    const { port, zone } = agent;
    agent.sequence += 1;
    const blobs = distinct
      ? Array.from({ length: blobsEach }, () => randomBytes(20).toString('hex'))
      : Array.from(agent.blobs, (place) => names[place]);
    const status = await send(agent, 'PUT', JSON.stringify({ port, zone, sequence: agent.sequence, blobs }));
    if (status === 200) return;
    if (status !== 503) throw new Error(`an inventory was answered with ${status}`);
    await delay(500 + Math.random() * 1_000);
    await tell(agent);
  };
  /** One in ten tells of a blob that came and one that went. */
  const beat = async (agent: Agent): Promise<void> => {
    if (agent.busy) return;
    agent.busy = true;
    const change: { sequence: number; add: string[]; remove: string[] } = {
      ...{ sequence: agent.sequence + 1, add: [], remove: [] },
    };
    const place = Math.floor(Math.random() * agent.blobs.length);
    const next = Math.floor(Math.random() * names.length);
    if (!distinct && Math.random() < 0.1 && !agent.blobs.includes(next)) {
      change.remove = [names[agent.blobs[place] ?? 0] ?? ''];
      change.add = [names[next] ?? ''];
      agent.blobs[place] = next;
    }
    const status = await send(agent, 'PATCH', JSON.stringify(change)).catch(() => 0);
    agent.sequence += 1;
    if (status === 200) beats += 1;
    else failures += 1;
    agent.busy = false;
  };
  const ask = async (agent: Agent, connection: Connection): Promise<number> => {
    const blob = distinct
      ? randomBytes(20).toString('hex')
      : (names[Math.floor(names.length * Math.random() ** 3)] ?? '');
    const path =
      `/announce?info_hash=${percent(blob)}&peer_id=${percent(agent.peerId)}&port=${agent.port}&uploaded=0` +
      `&downloaded=0&left=${1 + Math.floor(Math.random() * 1e8)}&compact=0&numwant=50&event=started`;
    const from = performance.now();
    const status = await connection.request(`GET ${path} HTTP/1.1\r\nhost: tracker\r\n\r\n`).catch(() => 0);
    if (status !== 200) failures += 1;
    return performance.now() - from;
  };

  return {
    async tellAll() {
      const from = performance.now();
      let next = 0;
      const work = async (): Promise<void> => {
        for (let agent = agents[next++]; agent !== undefined; agent = agents[next++]) await tell(agent);
      };
      await Promise.all(Array.from({ length: TELLING }, work));
      return (performance.now() - from) / 1000;
    },
    beat(everyMs) {
      const startedAt = performance.now();
      let sent = 0;
      beating = setInterval(() => {
        const due = Math.floor(((performance.now() - startedAt) / everyMs) * agents.length);
        for (; sent < due; sent += 1) {
          const agent = agents[sent % agents.length];
          if (agent !== undefined) void beat(agent);
        }
      }, STEP_MS);
    },
    async query(perSecond, seconds) {
      const took: Promise<number>[] = [];
      const free = [...asking];
      const from = performance.now();
      for (;;) {
        const at = performance.now() - from;
        const due = Math.min(perSecond * seconds, Math.floor((at / 1000) * perSecond));
        while (took.length < due) {
          const agent = agents[Math.floor(Math.random() * agents.length)];
          const connection = free.pop();
          if (agent === undefined || connection === undefined)
            throw new Error('no query is answered in time');
          took.push(ask(agent, connection).finally(() => free.push(connection)));
        }
        if (took.length >= perSecond * seconds) break;
        await delay(1);
      }
      return Float64Array.from(await Promise.all(took)).sort();
    },
    counts: () => ({ beats, failures }),
    close() {
      clearInterval(beating);
      for (const { connection } of agents) connection.close();
      for (const connection of asking) connection.close();
    },
  };
}

export function percent(hex: string): string {
  return hex.replace(/../g, '%$&');
}
