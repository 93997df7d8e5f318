/** The options of finding members without a tracker. */
import t from 'tap';
import { resolveOptions } from '#config';
import { agentConfig, agentOptions } from '#daemon/options';

const PEER = '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp';

const configured = (flags: Readonly<Record<string, readonly string[]>>) =>
  agentConfig(resolveOptions(agentOptions, { flags: { origin: ['http://127.0.0.1:5000'], ...flags } }).values)
    .discovery;

t.test('off by default', async (t) => {
  t.equal(configured({}), undefined);
});

t.test('DHT, mDNS, and whom to begin with', async (t) => {
  const bootstrap = [`/ip4/10.0.0.7/tcp/4002/p2p/${PEER}`, 'agents.cluster.local:4002', '[fd00::7]:4002'];
  t.strictSame(configured({ 'discovery-dht': ['on'], 'discovery-bootstrap': bootstrap }), {
    dht: true,
    mdns: undefined,
    bootstrap,
  });
  t.strictSame(configured({ 'discovery-mdns': ['on'] }), { dht: false, mdns: { port: 5353 }, bootstrap: [] });
});

t.test('what cannot be used is refused', async (t) => {
  const on = { 'discovery-dht': ['on'] };
  for (const member of [
    `/tcp/4002/p2p/${PEER}`,
    '/ip4/10.0.0.7/tcp/4002',
    'node7',
    'node7:0',
    '/ip4/1.2.3.4/udp/1',
  ]) {
    t.throws(() => configured({ ...on, 'discovery-bootstrap': [member] }), /discovery-bootstrap/, member);
  }
  t.throws(
    () => configured({ 'discovery-bootstrap': ['node7:4002'] }),
    /discovery\.bootstrap: .*--discovery-dht on/,
  );
  t.throws(() => configured({ ...on, 'swarm-transports': ['tcp'] }), /discovery\.dht: needs libp2p/);
  t.throws(() => configured({ 'discovery-dht': ['yes'] }), /expected 'on' or 'off'/);
});
