/** A rollout's rate at the nodes: each has its share while it fetches, an operator's word comes first, and it goes with the order. */
import t from 'tap';
import { agentHere, originHere, pushImage, someBytes, type TestAgent, until } from '../support/in-process.ts';

const RATE = 1_000_000;
/** Two nodes: the least power of 1.25 that is at least 2 is 2.44. */
const SHARE = Math.floor(RATE / 1.25 ** 4);

interface Limits {
  readonly download: { readonly bytesPerSecond: number | null; readonly because: string };
}

async function limits(agent: TestAgent, body?: object): Promise<Limits['download']> {
  const set = { method: 'PUT', body: JSON.stringify(body) };
  const answer = await fetch(`${agent.url}/api/v1/limits`, body && set);
  return ((await answer.json()) as Limits).download;
}

async function ask<T>(url: string, body?: object): Promise<T> {
  const answer = await fetch(url, { ...(body && { method: 'POST', body: JSON.stringify(body) }) });
  return (await answer.json()) as T;
}

t.test('shares, what is lower at a node, and the end', async (t) => {
  const origin = await originHere(t);
  const free = await agentHere(t, [origin.url], { nodeName: 'free' });
  const slow = await agentHere(t, [origin.url], { nodeName: 'slow', downloadRateBytesPerSecond: 200_000 });
  const api = `${origin.url}/api/v1`;
  await until(async () => (await ask<{ nodes: unknown[] }>(`${api}/nodes`)).nodes.length === 2);
  await pushImage(origin.url, 'team/app', 'v1', [someBytes(2_000_000)]);
  const before = { bytesPerSecond: null, because: 'configuration' };
  t.match(await limits(free), before);

  const wanted = { image: 'team/app:v1', nodes: '*', waves: '100%', bytesPerSecond: RATE };
  const { id } = await ask<{ id: string }>(`${api}/rollouts`, wanted);
  await until(async () => (await limits(free)).because === 'rollout');
  t.match(await limits(free), { bytesPerSecond: SHARE, because: 'rollout' });
  const fetching = async (): Promise<number> =>
    (await ask<{ nodes: { fetching: number } }>(`${api}/rollouts/${id}`)).nodes.fetching;
  await until(async () => (await fetching()) === 2);
  t.match(await limits(slow), { bytesPerSecond: 200_000 }, 'it is never raised');

  t.match(await limits(free, { download: '100kB/s' }), { bytesPerSecond: 100_000, because: 'set' });
  t.match(await limits(free, { download: null }), { bytesPerSecond: SHARE, because: 'rollout' });

  // The last that fetches has it all; the share moves with the number of those who fetch.
  await until(async () => (await ask<{ state: string }>(`${api}/rollouts/${id}`)).state === 'done');
  await until(async () => (await limits(free)).because === 'configuration');
  await until(async () => (await limits(slow)).because === 'configuration');
  t.match(await limits(free), before);
  t.match(await limits(slow), { bytesPerSecond: 200_000 });
});
