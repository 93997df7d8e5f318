/** kill -9 of an agent and of the origin while a blob still arrives from its upstream. */
import t from 'tap';
import { sha256DigestOf } from '#oci';
import { someBytes, until } from '../support/in-process.ts';
import { startProgram } from '../support/shoal.ts';
import { slowRegistry } from '../support/slow-registry.ts';

const MIB = 1024 * 1024;
/** What the origin gathers before it writes, and a piece that is not whole. */
const UNWRITTEN = 2 * MIB;

/** Reads a blob until it ends or is cut. */
function read(url: string): { received: () => number; done: Promise<Buffer> } {
  const chunks: Uint8Array[] = [];
  let received = 0;
  const run = async (): Promise<Buffer> => {
    for await (const chunk of (await fetch(url)).body ?? []) {
      chunks.push(chunk);
      received += chunk.length;
    }
    return Buffer.concat(chunks);
  };
  const done = run();
  done.catch(() => undefined);
  return { received: () => received, done };
}

t.test('an agent and then the origin are killed half-way: what was verified is kept', async (t) => {
  const layer = someBytes(12 * MIB);
  const upstream = await slowRegistry(t, layer);
  const origin = await startProgram(t, 'origin', ['--upstream', `hub.test=${upstream.url}`]);
  const agents = [
    await startProgram(t, 'agent', ['--origin', origin.url]),
    await startProgram(t, 'agent', ['--origin', origin.url]),
  ] as const;
  const urlAt = (agent: { readonly url: string }): string =>
    `${agent.url}/v2/team/app/blobs/${sha256DigestOf(layer)}?ns=hub.test`;
  const [doomed, other] = agents;
  const half = 6 * MIB;
  upstream.allow(half);
  const [cut, steady] = [read(urlAt(doomed)), read(urlAt(other))];
  await until(() => [cut, steady].every(({ received }) => received() >= half - UNWRITTEN));

  await doomed.signal('SIGKILL');
  await t.rejects(cut.done);
  await doomed.restart();
  const again = read(urlAt(doomed));
  // No piece may come: neither from the origin, which has no more, nor from the other agent, which has the same.
  await until(() => again.received() >= half - UNWRITTEN);
  const fetched = await doomed.metric('shoal_fetch_bytes_total');
  t.ok(fetched <= UNWRITTEN, `${fetched} bytes came again`);

  await origin.signal('SIGKILL');
  upstream.allow(layer.length);
  await origin.restart();
  for (const { done } of [again, steady]) t.ok((await done).equals(layer));
  for (const agent of agents) await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  t.equal(upstream.asked, 2, 'once by each run of the origin');
});
