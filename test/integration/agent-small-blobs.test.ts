/** The config and other small blobs of an image come with its manifest: a pull that has begun does not need the origin for them. */
import t from 'tap';
import { agentHere, originHere, pull, pushImage, someBytes, until } from '../support/in-process.ts';

t.test('the origin goes away after the manifest: config and small layers are here', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const { config, layers } = await pushImage(origin.url, 'team/app', 'v1', [
    someBytes(3_000_000),
    someBytes(5_000),
  ]);
  const [, small] = layers;
  const url = (digest = ''): string => `${agent.url}/v2/team/app/blobs/${digest}`;
  t.equal((await pull(`${agent.url}/v2/team/app/manifests/v1`)).status, 200);
  // A large one is not fetched before somebody wants it.
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 2);

  await origin.close();
  for (const digest of [config, small]) {
    const got = await pull(url(digest));
    t.equal(got.status, 200);
    t.equal(`sha256:${got.sha256}`, digest);
  }
});

t.test('an image whose config is not there is no harm', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const { config } = await pushImage(origin.url, 'team/app', 'v1', [someBytes(3_000_000)]);
  await pull(`${origin.url}/v2/team/app/blobs/${config}`);
  await fetch(`${origin.url}/v2/team/app/blobs/${config}`, { method: 'DELETE' });
  t.equal((await pull(`${agent.url}/v2/team/app/manifests/v1`)).status, 200);
  t.equal((await pull(`${agent.url}/v2/team/app/blobs/${config}`)).status, 404);
});
