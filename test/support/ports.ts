/**
 * Ports for programs that must be told theirs before they start, or that must come back on the same one.
 * A port that the system chose a moment ago may meanwhile be the source of anybody's connection, so
 * these lie below the ports that it chooses from, in blocks: who listens on a block's first port has
 * the others to itself, and gives all of them back by ending, however it ends.
 */
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';

/** Linux chooses from 32,768 on (ip_local_port_range). */
const FIRST = 12_000;
const LAST = 32_000;
const BLOCK = 50;
const BLOCKS = (LAST - FIRST) / BLOCK;

let ours: number[] = [];
/** In use by this process as long as it runs. */
const claims: Server[] = [];

/** A port that no other caller is given while this process runs. Throws when every block is taken. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = ours.pop();
    if (port === undefined) ours = await claimBlock();
    // A program that knows nothing of the blocks may sit on it.
    else if (await listening(port, '0.0.0.0').then(closed)) return port;
  }
}

async function claimBlock(): Promise<number[]> {
  const start = Math.floor(Math.random() * BLOCKS);
  for (let n = 0; n < BLOCKS; n += 1) {
    const first = FIRST + ((start + n) % BLOCKS) * BLOCK;
    const claim = await listening(first, '127.0.0.1');
    if (claim === undefined) continue;
    claims.push(claim.unref());
    return Array.from({ length: BLOCK - 1 }, (_, index) => first + 1 + index);
  }
  throw new Error(`every block of ports between ${FIRST} and ${LAST} is taken`);
}

async function closed(server: Server | undefined): Promise<boolean> {
  if (server === undefined) return false;
  server.close();
  await once(server, 'close');
  return true;
}

/** Undefined when somebody else listens there. */
async function listening(port: number, host: string): Promise<Server | undefined> {
  const server = createServer().listen({ port, host, exclusive: true });
  return await once(server, 'listening').then(
    () => server,
    () => undefined,
  );
}
