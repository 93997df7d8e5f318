import t, { type Test } from 'tap';
import type { OriginConfig } from '#origin';
import { parseMetainfo } from '#torrent';
import { needs } from '../support/debian.ts';
import { type DockerRegistry, dockerRegistry } from '../support/docker-registry.ts';
import { type PushedImage, pushImage, someBytes } from '../support/in-process.ts';
import { type TestOrigin, testOrigin } from '../support/origin.ts';

await needs(t, ['docker-registry']);

type Upstream = NonNullable<OriginConfig['upstreams']>[number];

function upstreamAt(url: string, more: Partial<Upstream> = {}): Upstream {
  return { name: 'hub.test', url, staleMs: 3_600_000, timeoutMs: 5_000, isPublic: false, ...more };
}

async function setUp(
  t: Test,
  more: Partial<Upstream> = {},
  config: Partial<OriginConfig> = {},
): Promise<{ registry: DockerRegistry; origin: TestOrigin; image: PushedImage; layer: Buffer }> {
  const registry = await dockerRegistry(t);
  const layer = someBytes(700_000);
  const image = await pushImage(registry.url, 'team/app', 'v1', [layer]);
  const origin = await testOrigin(t, { ...config, upstreams: [upstreamAt(registry.url, more)] });
  return { registry, origin, image, layer };
}

t.test('an image is had by ns and by path, each blob once, and by digest without the upstream', async (t) => {
  const { registry, origin, image, layer } = await setUp(t);
  const [digest = ''] = image.layers;

  const byNs = await origin.call('GET', '/v2/team/app/manifests/v1?ns=hub.test');
  t.equal(byNs.status, 200);
  t.same(byNs.body, image.manifest);
  t.equal(byNs.headers['docker-content-digest'], image.digest);
  t.equal(byNs.headers['oci-namespace'], 'hub.test');
  const byPath = await origin.call('GET', '/v2/hub.test/team/app/manifests/v1');
  t.same(byPath.body, image.manifest);
  t.equal((await origin.call('GET', '/v2/team/app/manifests/v1')).status, 404, 'it is no image of our own');

  const size = await origin.call('HEAD', `/v2/team/app/blobs/${digest}?ns=hub.test`);
  t.equal(size.headers['content-length'], String(layer.length));
  const answers = await Promise.all(
    ['/v2/team/app/blobs/', '/v2/hub.test/team/app/blobs/'].flatMap((where) =>
      Array.from({ length: 6 }, () => origin.call('GET', `${where}${digest}?ns=hub.test`)),
    ),
  );
  for (const { body } of answers) t.ok(body.equals(layer));
  const part = await origin.call('GET', `/v2/hub.test/team/app/blobs/${digest}`, {
    headers: { range: 'bytes=1000-1999' },
  });
  t.equal(part.status, 206);
  t.ok(part.body.equals(layer.subarray(1000, 2000)));
  t.equal(registry.requests('GET', 200, /^\/v2\/team\/app\/blobs\//), 1);
  t.equal(await origin.metric('shoal_upstream_bytes_total', { upstream: 'hub.test' }), layer.length);

  const torrent = await origin.call('GET', `/v2/team/app/_shoal/torrents/${digest}?ns=hub.test`);
  t.equal(parseMetainfo(torrent.body).digest, digest, 'it is seeded like a pushed one');
  await registry.stop();
  t.equal((await origin.call('GET', `/v2/team/app/manifests/${image.digest}?ns=hub.test`)).status, 200);
  t.ok((await origin.call('GET', `/v2/team/app/blobs/${digest}?ns=hub.test`)).body.equals(layer));
  const again = await origin.restart();
  t.ok((await again.call('GET', `/v2/team/app/blobs/${digest}?ns=hub.test`)).body.equals(layer));
});
