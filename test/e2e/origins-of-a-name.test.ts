/**
 * Two origins behind one name, at 127.0.0.x addresses with the same port, and a name server that the test speaks for: one is
 * killed in the middle of a pull, the name loses and gains addresses, and cannot be resolved at all when an agent starts.
 */
import { createHash, randomInt } from 'node:crypto';
import t from 'tap';
import { dnsServer } from '../support/dns-server.ts';
import { makeFolder, until } from '../support/in-process.ts';
import { freePort } from '../support/ports.ts';
import { pushBlob } from '../support/registry-client.ts';
import { type Program, startProgram } from '../support/shoal.ts';

const MIB = 1024 * 1024;
const SIZE = 12 * MIB;

interface Status {
  readonly origins: readonly { readonly url: string; readonly address: string | null }[];
}

const statusOf = async ({ url }: Program): Promise<Status> =>
  (await (await fetch(`${url}/api/v1/status`)).json()) as Status;
const addressesOf = async (agent: Program): Promise<readonly (string | null)[]> =>
  (await statusOf(agent)).origins.map(({ address }) => address);
const agentsOf = (origin: Program): Promise<number> => origin.metric('shoal_tracker_agents');

/** The digest of a blob as it comes; `onBytes` hears how many did. */
async function pull(
  agent: Program,
  digest: string,
  onBytes: (bytes: number) => void = () => undefined,
): Promise<string> {
  const answer = await fetch(`${agent.url}/v2/team/app/blobs/${digest}`);
  if (answer.status !== 200 || answer.body === null)
    throw new Error(`answered ${answer.status}: ${await answer.text()}`);
  const hash = createHash('sha256');
  for await (const chunk of answer.body) {
    hash.update(chunk);
    onBytes(chunk.length);
  }
  return `sha256:${hash.digest('hex')}`;
}

t.test(
  'every address of the name is an origin, and pulls go on as they come and go',
  { skip: process.getuid?.() !== 0 && 'port 53 and a mount need root' },
  async (t) => {
    const dns = await dnsServer(t, await makeFolder(t));
    dns.mode = 'answers';
    const net = `127.${randomInt(60, 250)}.${randomInt(1, 250)}`;
    const port = await freePort();
    const start = (host: string): Promise<Program> =>
      startProgram(t, 'origin', ['--upload-rate', '4MiB/s'], host, { port });
    const [one, two] = [`${net}.1`, `${net}.2`];
    const origins = [await start(one), await start(two)] as const;
    const [first, second] = origins;
    const [digest] = await Promise.all(origins.map(({ url }) => pushBlob(url, 'team/app', 71_001, SIZE)));
    if (digest === undefined) throw new Error('nothing was pushed');
    dns.addresses = [two, one];
    const named = ['--origin', `dns+http://origin.shoal.test:${port}`, '--origins-resolve', '1s'];
    const agents = await Promise.all(
      [1, 2, 3].map(() => startProgram(t, 'agent', named, undefined, { prefix: dns.prefix })),
    );
    const [agent, , late] = agents as [Program, Program, Program];
    t.same(await addressesOf(agent), [one, two]);
    t.same(
      (await statusOf(agent)).origins.map(({ url }) => url),
      [one, two].map(() => `http://origin.shoal.test:${port}`),
    );
    for (const origin of origins) await until(async () => (await agentsOf(origin)) === agents.length);
    t.pass('both trackers know every agent');

    let bytes = 0;
    const pulls = agents.slice(0, 2).map((each) => pull(each, digest, (more) => (bytes += more)));
    await until(() => bytes > SIZE / 4);
    await first.signal('SIGKILL');
    t.same(await Promise.all(pulls), [digest, digest], 'one was killed in the middle');

    const only = await pushBlob(second.url, 'team/app', 71_002, MIB);
    dns.addresses = [two];
    await until(async () => (await addressesOf(agent)).join() === two);
    t.equal(await pull(agent, only), only, 'from the one that is left');
    await first.restart();
    dns.addresses = [one, two];
    await until(async () => (await agentsOf(first)) === agents.length);
    t.pass('who is back in DNS knows every agent again');
    const third = await pushBlob(first.url, 'team/app', 71_003, MIB);
    t.equal(await pull(agent, third), third, 'and is asked for what it alone has');

    dns.mode = 'unknown';
    const asked = dns.asked;
    await until(() => dns.asked > asked + 8);
    t.same(await addressesOf(agent), [one, two], 'a name that cannot be resolved keeps its addresses');
    t.equal(await pull(late, only), only);

    const early = startProgram(t, 'agent', named, undefined, { prefix: dns.prefix });
    const before = dns.asked;
    await until(() => dns.asked > before + 20);
    dns.mode = 'answers';
    const started = await early;
    t.match(started.log(), /"a name cannot be resolved"/);
    t.equal(await pull(started, only), only, 'an agent that started without DNS');
  },
);
