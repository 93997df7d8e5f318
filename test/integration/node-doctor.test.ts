/** Faults planted one at a time beside a real origin and agents: the doctor finds each and names its cure. */
import { execFile } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import path from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { checkDisk, type Finding, openTree, planContainerd, planSetup } from '#daemon/node';
import { agentHere, makeFolder, originHere, type TestAgent, until } from '../support/in-process.ts';
import { listenHere } from '../support/listen.ts';
import { runShoal } from '../support/shoal.ts';

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;

interface Node {
  readonly origin: string;
  readonly agent: TestAgent;
  /** Below it containerd pulls through the agent. */
  readonly root: string;
}

/** A healthy node: origin, agent, and containerd's configuration. */
async function healthyNode(t: Test): Promise<Node> {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const root = await makeFolder(t);
  mkdirSync(path.join(root, 'var/lib'), { recursive: true });
  const wanted = { agent: agent.url, registries: 'all' } as const;
  const setup = await planSetup({
    tree: openTree(root),
    subject: 'containerd',
    plan: (view) => planContainerd(view, '/etc/containerd/config.toml', wanted),
  });
  await setup.apply();
  await known(origin.url, 1);
  return { origin: origin.url, agent, root };
}

async function known(origin: string, agents: number): Promise<void> {
  await until(async () => {
    const answer = (await (await fetch(`${origin}/api/v1/agents`)).json()) as { agents: unknown[] };
    return answer.agents.length === agents;
  });
}

interface Diagnosis {
  readonly code: number;
  readonly findings: readonly Finding[];
  /** What is wrong, a line each with its cure. */
  readonly wrong: string;
}

async function doctor(
  t: Test,
  node: Node,
  changes: Readonly<Record<string, unknown>> = {},
): Promise<Diagnosis> {
  const listen = new URL(node.agent.url).host;
  const settings = { listen, origin: node.origin, data: node.agent.data, ...changes };
  const file = path.join(await makeFolder(t), 'agent.yaml');
  // JSON is YAML.
  writeFileSync(file, JSON.stringify(settings));
  const flags = ['--config', file, '--root', node.root, '--client', 'containerd'];
  const { code, stdout, stderr } = await runShoal(['node', 'doctor', '--json', ...flags]);
  const findings = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Finding);
  const wrong = findings.filter(({ state }) => state === 'wrong');
  t.equal(stderr, '');
  t.equal(code, wrong.length > 0 ? 1 : 0, 'the exit code says whether something is wrong');
  return {
    code,
    findings,
    wrong: wrong.map((each) => `${each.check}: ${each.text} => ${each.cure}`).join('\n'),
  };
}

/** What stands between the agent's node and its origin: passes on, and lets `change` do harm. */
async function proxyBefore(
  t: Test,
  origin: string,
  change: (request: IncomingMessage, answer: ServerResponse) => boolean,
): Promise<string> {
  const { hostname, port } = new URL(origin);
  const server = http.createServer((request, answer) => {
    if (change(request, answer)) return;
    const { method, headers, url: where } = request;
    const onward = http.request({ hostname, port, method, headers, path: where }, (back) => {
      const given = Object.fromEntries(
        Object.entries(back.headers).filter(([name]) => !answer.hasHeader(name)),
      );
      answer.writeHead(back.statusCode ?? 502, given);
      back.pipe(answer);
    });
    request.pipe(onward);
  });
  return listenHere(t, server);
}

t.test('a healthy node: nothing is wrong, and the command says so', async (t) => {
  const node = await healthyNode(t);
  const { code, wrong, findings } = await doctor(t, node);
  t.strictSame([code, wrong], [0, '']);
  const checks = findings.map(({ check }) => check);
  for (const check of ['agent', 'mirror', 'origin', 'clock', 'tracker', 'peers', 'data folder', 'disk']) {
    t.ok(checks.includes(check), check);
  }
  const file = path.join(await makeFolder(t), 'agent.yaml');
  const listen = new URL(node.agent.url).host;
  writeFileSync(file, JSON.stringify({ listen, origin: node.origin, data: node.agent.data }));
  const flags = ['--config', file, '--root', node.root, '--client', 'containerd'];
  t.match(await runShoal(['node', 'doctor', ...flags]), { code: 0, stdout: /\nNothing is wrong\.\n$/ });
});

t.test('the agent: down, or another program has its port', async (t) => {
  const node = await healthyNode(t);
  await node.agent.close();
  const down = await doctor(t, node);
  t.match(down.wrong, /^agent: nothing listens at 127\.0\.0\.1:\d+ => systemctl start shoal-agent/);
  t.match(
    down.findings.map(({ check }) => check).join(),
    /origin.*tracker/,
    'the rest is looked at all the same',
  );
  const other = await listenHere(
    t,
    http.createServer((_request, answer) => answer.end('hello')),
  );
  const taken = await doctor(t, node, { listen: new URL(other).host });
  t.match(
    taken.wrong,
    new RegExp(`port: process ${process.pid} \\(.*\\) has the agent's address .* => stop it, or give`),
  );
});

t.test('containerd: not set up, or with a file that it ignores in silence', async (t) => {
  const node = await healthyNode(t);
  const hosts = path.join(node.root, 'etc/containerd/certs.d/_default/hosts.toml');
  writeFileSync(hosts, '[host."https://elsewhere.test"]\n');
  t.match(
    (await doctor(t, node)).wrong,
    /^mirror: containerd does not pull through .* => shoal node setup containerd --agent http/,
  );
  writeFileSync(hosts, '[host."http://127.0.0.1:5001"\n');
  t.match(
    (await doctor(t, node)).wrong,
    /^mirror: .*_default\/hosts\.toml:1 is not valid TOML.* => mend that file/,
  );
});

t.test('the origin: not there, not known by name, no registry, behind a certificate of nobody', async (t) => {
  const node = await healthyNode(t);
  const at = async (origin: string): Promise<string> => (await doctor(t, node, { origin })).wrong;
  t.match(await at('http://127.0.0.1:1'), /^origin: .*nothing listens there.* => start the origin/);
  t.match(
    await at('http://nowhere.invalid:5000'),
    /^origin: .*nowhere\.invalid cannot be resolved.* => .*getent hosts/m,
  );
  const other = await listenHere(
    t,
    http.createServer((_request, answer) => answer.end('hello')),
  );
  t.match(await at(other), /^origin: .* is no registry => 'origin' in the agent's configuration must be/);
  t.match(await at(node.origin.replace('http:', 'https:')), /^origin: .* => .*http:\/\//m);
});

t.test('the clock is wrong', async (t) => {
  const node = await healthyNode(t);
  const origin = await proxyBefore(t, node.origin, (_request, answer) => {
    answer.setHeader('date', new Date(Date.now() - 3_600_000).toUTCString());
    return false;
  });
  t.match(
    (await doctor(t, node, { origin })).wrong,
    /^clock: this node's clock is (?:3599|360\d) s ahead of .* => .*timedatectl set-ntp true/,
  );
});

t.test('the tracker is hidden by a proxy, or does not know the agent', async (t) => {
  const node = await healthyNode(t);
  const hidden = await proxyBefore(t, node.origin, (request, answer) => {
    if (request.url?.startsWith('/v2/')) return false;
    answer.writeHead(404).end();
    return true;
  });
  t.match(
    (await doctor(t, node, { origin: hidden })).wrong,
    /^tracker: .*does not answer: status 404 => a proxy before the origin/,
  );
  const second = await originHere(t);
  t.match((await doctor(t, node, { origin: second.url })).wrong, /^tracker: .* does not know this agent/);
});

t.test('other agents cannot be reached, or cannot reach this one', async (t) => {
  const node = await healthyNode(t);
  // It listens on 127.0.0.1 and says that it is elsewhere.
  await agentHere(t, [node.origin], { advertise: '127.0.0.77' });
  await known(node.origin, 2);
  t.match(
    (await doctor(t, node)).wrong,
    /^peers: 1 of 1 agents cannot be reached: 127\.0\.0\.77:\d+: ECONNREFUSED => open their peer\.listen/,
  );
  t.match(
    (await doctor(t, node, { origin: 'http://nowhere.invalid:5000' })).wrong,
    /listeners: .* on the loopback only => set peer\.listen and bittorrent\.listen/,
  );
});

t.test("the data folder: not the user's, missing", { skip: !isRoot && 'needs root' }, async (t) => {
  const node = await healthyNode(t);
  const data = await makeFolder(t);
  // An agent of another user, whose listener the kernel shows with that user.
  t.match((await doctor(t, node, { data: path.join(data, 'none') })).wrong, /^data folder: .*\(ENOENT\) => /);
  mkdirSync(path.join(data, 'blobs'));
  chownSync(data, 12_345, 12_345);
  const found = await checkDisk({ data, cacheSizeBytes: undefined, uid: 12_345 });
  t.match(found[0], {
    state: 'wrong',
    text: /blobs belongs to user 0 .* runs as user 12345/,
    cure: /^chown -R 12345: /,
  });
  chmodSync(path.join(data, 'blobs'), 0o755);
});

t.test('the disk: full, or smaller than the cache', { skip: !isRoot && 'needs root' }, async (t) => {
  const node = await healthyNode(t);
  const data = await makeFolder(t);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=24m,nr_inodes=500', 'tmpfs', data]);
  t.teardown(() => run('umount', [data]));
  writeFileSync(path.join(data, 'filler'), Buffer.alloc(20 << 20));
  const { wrong } = await doctor(t, node, { data });
  t.match(wrong, /^disk: 4 MiB of 24 MiB are free at .* => free some/m);
  t.match(wrong, /^inodes: \d+ inodes are free/m);
  t.match(
    (await doctor(t, node, { cache: { size: '1000TB' } })).wrong,
    /^disk: cache\.size is .* => free some, set cache\.size/,
  );
});

t.test('the configuration has a mistake; the agent that runs is an older one', async (t) => {
  const node = await healthyNode(t);
  t.match(
    (await doctor(t, node, { cach: { size: '1GiB' } })).wrong,
    /^configuration: .*unknown key 'cach'.* => correct /,
  );
  const old = await listenHere(
    t,
    http.createServer((_request, answer) =>
      answer.end(JSON.stringify({ program: 'agent', version: '0.0.1' })),
    ),
  );
  t.match(
    (await doctor(t, node, { listen: new URL(old).host })).wrong,
    /^version: the agent that runs is 0\.0\.1, installed is .* => systemctl restart shoal-agent/m,
  );
});
