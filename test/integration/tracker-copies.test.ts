/** An agent that must let blobs go asks how many others of its zone hold them. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { askCopies } from '#discovery';
import { fixedEndpoints } from '#endpoints';
import { createHttpClient } from '#http';
import { log, putInventory, randomInfoHash, trackerHere } from '../support/tracker.ts';

const peerId = (): string => randomBytes(20).toString('hex');

t.test('who else holds a blob, in the zone and in all', async (t) => {
  const [everywhere, here, nobody] = [randomInfoHash(), randomInfoHash(), randomInfoHash()];
  const tracker = await trackerHere(t, new Map());
  const [asker, neighbour, far] = [peerId(), peerId(), peerId()];
  const rack = 'eu1/rack7';
  await putInventory(tracker.url, asker, { port: 7001, zone: rack, blobs: [everywhere, here] });
  await putInventory(tracker.url, neighbour, { port: 7002, zone: rack, blobs: [everywhere] });
  await putInventory(tracker.url, far, { port: 7003, zone: 'eu1/rack8', blobs: [everywhere, nobody] });
  const ask = (agent: string, body: unknown): Promise<Response> =>
    fetch(`${tracker.url}/api/v1/agents/${agent}/copies`, { method: 'POST', body: JSON.stringify(body) });

  const answer = await ask(asker, { blobs: [everywhere, here, nobody] });
  t.same([answer.status, await answer.json()], [200, { zone: [1, 0, 0], all: [2, 0, 1] }]);

  const client = await createHttpClient({});
  t.teardown(() => client.close());
  const options = { client, peerId: asker, log };
  const silent = 'http://127.0.0.1:1';
  const copies = await askCopies({ ...options, trackers: fixedEndpoints([silent, tracker.url]) }, [
    everywhere,
    here,
  ]);
  t.same([copies?.get(everywhere), copies?.get(here)], [1, 0]);
  t.equal(
    await askCopies({ ...options, trackers: fixedEndpoints([silent]) }, [here]),
    undefined,
    'no tracker says it',
  );

  t.equal((await ask(peerId(), { blobs: [] })).status, 404, 'only who has a lease may ask');
  for (const body of [{ blobs: ['x'] }, { blobs: Array(1_001).fill(here) }, {}, { blobs: [1] }, 7]) {
    t.equal((await ask(asker, body)).status, 400);
  }
  t.equal((await ask(asker, { blobs: ['0'.repeat(70_000)] })).status, 413);
});
