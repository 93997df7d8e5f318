import t from 'tap';
import {
  besideListener,
  decideAdmission,
  printSettings,
  resolveOptions,
  spokenUnder,
  tlsFiles,
} from '#config';
import { agentConfig, agentOptions } from '#daemon/options';
import { originConfig, originOptions } from '#origin/options';
import { trackerConfig, trackerOptions } from '#tracker/options';

t.test('members are told apart as soon as one listener is beyond the loopback', async (t) => {
  const near = { host: '127.0.0.1', port: 1 };
  const far = { host: '0.0.0.0', port: 1 };
  const open = { admission: 'open', exposed: undefined };
  t.same(decideAdmission(undefined, { listen: near, 'udp.listen': 'off' }), open);
  t.same(decideAdmission(undefined, { listen: { host: '::1', port: 1 } }), open);
  t.match(decideAdmission('open', { listen: far }), { admission: 'open' });
  t.match(decideAdmission('token', { listen: near }), { admission: 'token' });
  t.match(decideAdmission(undefined, { listen: near, 'bittorrent.listen': far }), {
    admission: 'token',
    exposed: 'bittorrent.listen',
  });
  const name = { host: '127.0.0.1.example.org', port: 1 };
  t.match(decideAdmission(undefined, { listen: name }), { admission: 'token', exposed: 'listen' });
});

t.test('plain BitTorrent is off where members are told apart, unless its listener is named', async (t) => {
  const both = ['libp2p', 'tcp'] as const;
  t.same(spokenUnder('open', both, 'off'), both);
  t.same(spokenUnder('token', both, 'off'), ['libp2p']);
  t.same(spokenUnder('token', both, { host: '10.0.0.1', port: 6881 }), both);
  const origin = (flags: Readonly<Record<string, readonly string[]>>) =>
    originConfig(resolveOptions(originOptions, { flags }).values).bittorrentListen;
  t.match(origin({ listen: ['10.0.0.1:5000'] }), 'off');
  t.match(origin({ 'peer-listen': ['10.0.0.1:4001'] }), 'off');
  t.match(origin({ listen: ['[::1]:5000'] }), { host: '::1', port: 6881 });
  t.match(origin({ admission: ['token'] }), 'off');
  t.match(origin({ listen: ['10.0.0.1:5000'], admission: ['open'] }), { host: '10.0.0.1', port: 6881 });
  t.match(origin({ admission: ['token'], 'bittorrent-listen': ['10.0.0.1:1'] }), {
    host: '10.0.0.1',
    port: 1,
  });
});

t.test('TLS needs both files', async (t) => {
  t.strictSame(tlsFiles({ 'tls.cert': 'c', 'tls.key': 'k' }), { certFile: 'c', keyFile: 'k' });
  t.equal(tlsFiles({ 'tls.cert': undefined, 'tls.key': undefined }), undefined);
  t.throws(() => tlsFiles({ 'tls.cert': 'c', 'tls.key': undefined }), /^tls\.key: /);
});

t.test('a listener beside another one follows its host, and takes a free port with it', async (t) => {
  const beside = besideListener('listen', 6881);
  t.equal(
    beside(() => '127.0.0.1:5000'),
    '127.0.0.1:6881',
  );
  t.equal(
    beside(() => '[::1]:5000'),
    '[::1]:6881',
  );
  t.equal(
    beside(() => '127.0.0.1:0'),
    '127.0.0.1:0',
  );
});

t.test('the origin: defaults are on the loopback, and every flag arrives', async (t) => {
  t.match(originConfig(resolveOptions(originOptions, {}).values), {
    listen: { host: '127.0.0.1', port: 5000 },
    transports: ['libp2p', 'tcp'],
    peerListen: { host: '127.0.0.1', port: 4001 },
    bittorrentListen: { host: '127.0.0.1', port: 6881 },
  });
  const flags = {
    listen: ['0.0.0.0:443'],
    data: ['/srv/o'],
    'peer-listen': ['0.0.0.0:4009'],
    'bittorrent-listen': ['off'],
    'udp-listen': ['0.0.0.0:6969'],
    advertise: ['o.example'],
    'public-url': ['https://o.example'],
    'upload-rate': ['8Mbit/s'],
    'gc-mode': ['dry-run'],
    'gc-interval': ['5m'],
    'gc-lease': ['1h'],
    'gc-untagged': ['7d'],
    'gc-keep-last': ['ci/**=10,app=3'],
    'gc-max-age': ['ci/**=30d'],
    'rollout-on-push': ['team/**:v*=zone=eu1/*,name=db'],
    'preheat-drivers': ['kraken'],
    'report-keep': ['30d'],
    'tls-cert': ['c.pem'],
    'tls-key': ['k.pem'],
    admission: ['open'],
  };
  t.strictSame(originConfig(resolveOptions(originOptions, { flags }).values), {
    listen: { host: '0.0.0.0', port: 443 },
    data: '/srv/o',
    transports: ['libp2p', 'tcp'],
    peerListen: { host: '0.0.0.0', port: 4009 },
    bittorrentListen: 'off',
    udpListen: { host: '0.0.0.0', port: 6969 },
    advertise: 'o.example',
    publicUrl: 'https://o.example',
    uploadRateBytesPerSecond: 1_000_000,
    collection: {
      leaseMs: 3_600_000,
      intervalMs: 300_000,
      untaggedMs: 7 * 86_400_000,
      keepLast: [
        { pattern: 'ci/**', count: 10 },
        { pattern: 'app', count: 3 },
      ],
      maxAge: [{ pattern: 'ci/**', ageMs: 30 * 86_400_000 }],
      dryRun: true,
    },
    triggers: {
      pushRules: [{ repository: 'team/**', tag: 'v*', selector: 'zone=eu1/*,name=db' }],
      preheatDrivers: ['kraken'],
      preheatNodes: '*',
    },
    keepAccountsMs: 30 * 86_400_000,
    tls: { certFile: 'c.pem', keyFile: 'k.pem' },
    admission: 'open',
    membershipLifetimeMs: 3_600_000,
  });
});

t.test('the agent and the tracker need an origin', async (t) => {
  t.throws(() => agentConfig(resolveOptions(agentOptions, {}).values), /^origin: /);
  t.throws(() => trackerConfig(resolveOptions(trackerOptions, {}).values), /^origin: /);
});

t.test('the agent: every flag arrives', async (t) => {
  const flags = {
    origin: ['http://a:5000', 'http://b:5000/'],
    zone: ['eu1/rack7'],
    'cache-size': ['10GiB'],
    'download-rate': ['1MB/s'],
    'ca-file': ['ca.pem'],
    'max-requests': ['7'],
    'node-name': ['web-7'],
    data: ['d'],
  };
  t.strictSame(agentConfig(resolveOptions(agentOptions, { flags }).values), {
    lazy: { maxRangeBytes: 4 * 1024 ** 2, memoryBytes: 64 * 1024 ** 2, wholeAfterShare: 0.25 },
    origins: ['http://a:5000', 'http://b:5000'],
    originOrder: 'spread',
    resolveMs: 30_000,
    listen: { host: '127.0.0.1', port: 5001 },
    data: 'd',
    transports: ['libp2p', 'tcp'],
    peerListen: { host: '127.0.0.1', port: 4002 },
    bittorrentListen: { host: '127.0.0.1', port: 6882 },
    nodeName: 'web-7',
    zone: 'eu1/rack7',
    cacheSizeBytes: 10 * 1024 ** 3,
    downloadRateBytesPerSecond: 1_000_000,
    caFile: 'ca.pem',
    rights: { mode: 'client', verdictMs: 60_000, staleMs: 3_600_000 },
    maxConnections: 500,
    maxRequests: 7,
    maxDownloads: 200,
  });
  const named = { origin: ['DNS+https://origin.svc:5000/'], 'origins-resolve': ['5s'] };
  t.match(agentConfig(resolveOptions(agentOptions, { flags: named }).values), {
    origins: ['dns+https://origin.svc:5000'],
    resolveMs: 5_000,
  });
  t.throws(
    () => resolveOptions(agentOptions, { flags: { ...flags, 'max-downloads': ['0'] } }),
    /whole number/,
  );
  const rights = { 'rights-mode': ['agent'], 'rights-verdict': ['5s'], 'rights-stale': ['1d'] };
  t.match(agentConfig(resolveOptions(agentOptions, { flags: { ...flags, ...rights } }).values), {
    rights: { mode: 'agent', verdictMs: 5_000, staleMs: 86_400_000 },
  });
});

t.test('transports: in the order given, and only what is spoken listens', async (t) => {
  const origin = ['http://a'];
  const agent = (flags: Readonly<Record<string, readonly string[]>>, environment = {}) =>
    agentConfig(resolveOptions(agentOptions, { flags: { origin, ...flags }, environment }).values);
  t.match(agent({ 'swarm-transports': ['tcp,libp2p'] }), { transports: ['tcp', 'libp2p'] });
  t.match(agent({ 'swarm-transports': ['tcp', 'libp2p'] }), { transports: ['tcp', 'libp2p'] });
  t.match(agent({}, { SHOAL_SWARM_TRANSPORTS: 'libp2p' }), {
    transports: ['libp2p'],
    peerListen: { host: '127.0.0.1', port: 4002 },
    bittorrentListen: 'off',
  });
  t.match(agent({ 'swarm-transports': ['tcp'], listen: ['127.0.0.1:0'] }), {
    transports: ['tcp'],
    peerListen: 'off',
    bittorrentListen: { host: '127.0.0.1', port: 0 },
  });
  t.throws(() => agent({ 'swarm-transports': ['tcp,tcp'] }), /^swarm\.transports: .* twice/);
  t.throws(() => agent({ 'swarm-transports': [''] }), /^swarm\.transports: name libp2p/);
  t.throws(() => agent({ 'swarm-transports': ['quic'] }), /^swarm\.transports: 'quic' .*one of libp2p, tcp/);
  t.throws(
    () => agent({ 'swarm-transports': ['tcp'], 'peer-listen': ['127.0.0.1:4002'] }),
    /^peer\.listen: libp2p is not among swarm\.transports/,
  );
  t.match(
    printSettings('agent', agentOptions, resolveOptions(agentOptions, { flags: { origin } }).settings),
    /transports:\n\s+- libp2p # default\n\s+- tcp # default/,
  );
});

t.test('the tracker: UDP follows the HTTP listener', async (t) => {
  const { values } = resolveOptions(trackerOptions, {
    flags: { origin: ['http://a'], listen: ['127.0.0.2:80'] },
  });
  t.match(trackerConfig(values), { origins: ['http://a'], udpListen: { host: '127.0.0.2', port: 6969 } });
});
