/**
 * A rollout on real nodes, with what goes wrong in one: does it end right, and is its status true all the time?
 *
 *     sudo node bench/rollout.ts [--agents 24] [--rate 50mbit] [--size MB] [--wave 10%,50%,100%] [--down 2] [--zones 3]
 *                                [--limit BYTES-PER-SECOND] [--transports libp2p,tcp] [--folder DIR] [--json]
 *
 * An origin and agents as real processes in network namespaces whose links run at --rate both ways (needs root). --down agents are
 * killed (SIGKILL); then a rollout of an image of --size is begun for all. When the second wave is half-way the origin is killed (SIGKILL) and
 * started again, and one of the agents that are down comes back. The status is asked for all the time and held against what the agents
 * themselves say: a node that is told `done` holds every blob, nobody of a wave that has not begun has fetched a byte, a
 * wave begins when those before it have reported, nothing that was told is taken back. In the end each agent's copy is
 * read and its sha256 checked, and the bytes that the agents say the origin gave them are held against those that the origin says
 * it gave: at most 1 % apart. With --limit the rollout has a rate, and what all nodes receive together is held against it.
 *
 * Prints a table of what is claimed and what was seen; exit code 1 when a claim does not hold.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { numberOf, readOptions } from './measure/options.ts';
import { runRollout } from './rollout/run.ts';

const values = readOptions(import.meta.filename, {
  agents: { type: 'string', default: '24' },
  rate: { type: 'string', default: '50mbit' },
  size: { type: 'string', default: '200' },
  wave: { type: 'string', default: '10%,50%,100%' },
  down: { type: 'string', default: '2' },
  zones: { type: 'string', default: '3' },
  limit: { type: 'string' },
  transports: { type: 'string', default: 'libp2p,tcp' },
  folder: { type: 'string', default: os.tmpdir() },
  json: { type: 'boolean', default: false },
});

const folder = await mkdtemp(path.join(values.folder, 'shoal-rollout-'));
try {
  const { claims, figures } = await runRollout({
    agents: numberOf('agents', values.agents, 3),
    rate: values.rate,
    size: Math.round(numberOf('size', values.size, 1) * 1e6),
    waves: values.wave,
    down: numberOf('down', values.down),
    zones: numberOf('zones', values.zones, 1),
    bytesPerSecond: values.limit === undefined ? undefined : numberOf('limit', values.limit, 1),
    transports: values.transports,
    folder,
  });
  if (values.json) console.log(JSON.stringify({ figures, claims }));
  else {
    for (const [name, figure] of Object.entries(figures)) console.log(`${name.padEnd(44)} ${figure}`);
    console.table(claims.map(({ claim, holds, seen }) => ({ claim, holds, seen })));
  }
  if (claims.some(({ holds }) => !holds)) process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
