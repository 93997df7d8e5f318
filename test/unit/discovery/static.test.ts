import t from 'tap';
import { createStaticDiscovery } from '#discovery';
import { randomInfoHash } from '../../support/tracker.ts';
import { discoveryContract } from './contract.ts';

t.test('a fixed list of members', (t) =>
  discoveryContract(t, async () => ({
    discovery: createStaticDiscovery([
      { host: '127.0.0.1', port: 7001 },
      { host: 'node2.example', port: 7002, zone: 'eu1' },
    ]),
    infoHash: randomInfoHash(),
    expected: ['127.0.0.1:7001', 'node2.example:7002'],
  })),
);
