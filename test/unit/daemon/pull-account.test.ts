import fc from 'fast-check';
import t from 'tap';
import { createPullAccount, PULL_PHASES } from '../../../daemon/pull-account.ts';
import { parseDigest } from '../../../src/oci/index.ts';

const digest = parseDigest(`sha256:${'a'.repeat(64)}`);
const open = () => createPullAccount({ digest, repository: 'team/app', startedAt: new Date(0), at: 1000 });

t.test('each second belongs to one phase, each byte to one source', async (t) => {
  const account = open();
  account.enter('prepare', 1010);
  account.sized(100, 30);
  account.enter('first-peer', 1030);
  account.met(1050);
  account.met(1060);
  account.arrived('peer', 50, 1100);
  account.arrived('origin-http', 20, 1400);
  account.enter('verify', 1500);
  account.peers([
    { address: 'a', role: 'agent', bytes: 10 },
    { address: 'idle', role: 'agent', bytes: 0 },
    { address: 'b', role: 'origin', bytes: 40 },
  ]);
  account.enter('disk', 1570);
  account.complete(1600);
  account.arrived('peer', 50, 1700);
  const report = account.report(9999);
  t.match(report, { state: 'complete', size: 100, wallMs: 600 });
  t.same(report.phasesMs, {
    metainfo: 10,
    prepare: 20,
    'first-peer': 20,
    'first-piece': 50,
    transfer: 400,
    verify: 70,
    disk: 30,
  });
  t.same(
    report.topPeers.map(({ address }) => address),
    ['b', 'a'],
    'who sent most first, who sent nothing not at all',
  );
  t.same(report.bytesBySource, { peer: 50, 'origin-swarm': 0, 'origin-http': 20, upstream: 0, resumed: 30 });
  t.same(
    report.transferMsBySource,
    { peer: 0, 'origin-swarm': 0, 'origin-http': 300, upstream: 0, resumed: 0 },
    'after the last piece nobody brings anything',
  );
  t.match(report.slowest, /receiving the bytes, most of them from other agents: 400 ms, 67 %/);
});

t.test(
  'the disk: pieces that are written at the same time count once, and a slow one is named',
  async (t) => {
    const account = open();
    account.sized(300, 0);
    account.enter('first-piece', 1000);
    account.wrote(1010, 1100);
    account.arrived('peer', 100, 1100);
    account.wrote(1100, 1400);
    account.wrote(1300, 1500);
    account.arrived('peer', 200, 1500);
    t.equal(account.report(1500).writingMs, 490);
    t.match(
      account.report(1500).slowest,
      /receiving the bytes, as fast as the disk took them, most of them from/,
    );
    account.enter('verify', 2000);
    t.notMatch(account.report(2100).slowest, /disk/, 'half of the transfer is not what held it back');
    account.complete(2100);
    account.wrote(2100, 2200);
    t.equal(account.report(3000).writingMs, 490, 'after the end nothing changes any more');
  },
);

t.test('bytes that came as fast as the origin had them are said to have', async (t) => {
  const slowestWith = (atOrigin: number): string => {
    const account = open();
    account.sized(100, 0);
    account.enter('first-piece', 1000);
    account.arrived('peer', 50, 1100);
    account.arrivedAtOrigin(atOrigin);
    account.arrived('peer', 50, 2100);
    account.complete(2100);
    return account.report(9999).slowest;
  };
  t.match(
    slowestWith(2000),
    /^receiving the bytes, as fast as the origin got them from the upstream, most of/,
  );
  t.match(slowestWith(1300), /^receiving the bytes, most of them from other agents/);
});

t.test('a failure keeps its reason and stops the clock', async (t) => {
  const account = open();
  account.failed('no origin answers', 1250);
  account.complete(2000);
  t.match(account.report(5000), { state: 'failed', error: 'no origin answers', wallMs: 250, size: null });
});

t.test('any order of events adds up', async () => {
  const event = fc.record({
    after: fc.nat(5000),
    phase: fc.option(fc.constantFrom(...PULL_PHASES)),
    source: fc.constantFrom('peer' as const, 'origin-swarm' as const, 'origin-http' as const),
    bytes: fc.nat(4096),
  });
  fc.assert(
    fc.property(fc.array(event), fc.nat(5000), (events, rest) => {
      const account = open();
      let at = 1000;
      let sent = 0;
      for (const { after, phase, source, bytes } of events) {
        at += after;
        if (phase !== null) account.enter(phase, at);
        else {
          account.arrived(source, bytes, at);
          sent += bytes;
        }
      }
      const report = account.report(at + rest);
      const bySource = Object.values(report.bytesBySource).reduce((sum, count) => sum + count, 0);
      return bySource === sent && report.wallMs === at + rest - 1000;
    }),
  );
});
