/** README's table of metrics against what each program really exposes. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { createMetrics } from '#telemetry';
import { startTracker } from '#tracker';
import { makeCluster } from '../support/cluster.ts';
import { agentHere, makeFolder, originHere } from '../support/in-process.ts';
import { readme } from '../support/readme-tables.ts';
import { log } from '../support/tracker.ts';

/** The programs of each metric, as README has them. */
function listed(): Map<string, string[]> {
  const rows = readFileSync(readme, 'utf8').matchAll(/^\| (`shoal_[^|]*`) +\| ([a-z, ]+?) +\|/gm);
  return new Map(
    [...rows].flatMap(([, names = '', programs = '']) =>
      [...names.matchAll(/`(shoal_\w+)/g)].map(([, name = '']) => [name, programs.split(', ')] as const),
    ),
  );
}

const namesIn = (text: string): string[] =>
  [...text.matchAll(/^# TYPE (shoal_\w+) /gm)].map(([, name = '']) => name).sort();

t.test('README lists the metrics of every program, no more and no less', async (t) => {
  // With admission and trackerless discovery, which have metrics of their own.
  const cluster = await makeCluster(t);
  const joinTokenFile = await cluster.joinToken();
  const origin = await originHere(t, { admission: 'token', clusterKeyFile: cluster.keyFile });
  const discovery = { dht: true, mdns: undefined, bootstrap: [] };
  const agent = await agentHere(t, [origin.url], { admission: 'token', joinTokenFile, discovery });
  const metrics = createMetrics();
  const tracker = await startTracker(
    {
      ...{ listen: { host: '127.0.0.1', port: 0 }, origins: [origin.url] },
      ...{ admission: 'token', joinTokenFile, data: await makeFolder(t) },
    },
    { log, metrics },
  );
  t.teardown(() => tracker.close());
  const exposed: Readonly<Record<string, string>> = {
    origin: await (await fetch(`${origin.url}/metrics`)).text(),
    agent: await (await fetch(`${agent.url}/metrics`)).text(),
    tracker: await metrics.text(),
  };
  const table = listed();
  for (const [program, text] of Object.entries(exposed)) {
    const promised = [...table].filter(([, programs]) => programs.includes(program)).map(([name]) => name);
    t.same(promised.sort(), namesIn(text), program);
  }
});
